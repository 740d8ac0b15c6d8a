package api

import (
	"context"
	"net/http"
	"sort"

	"github.com/danielgtaylor/huma/v2"

	"baton/control/engine"
	"baton/control/executor"
	"baton/control/inventory"
	"baton/control/plan"
)

// EngineList is what can be made, and where.
type EngineList struct {
	Engines []EngineOffer `json:"engines"`
}

// EngineOffer is one engine.
type EngineOffer struct {
	Engine   string         `json:"engine"`
	Versions []VersionOffer `json:"versions"`
}

// VersionOffer is one version with the agents on whose hosts it is.
type VersionOffer struct {
	Version string   `json:"version"`
	Hosts   []string `json:"hosts" doc:"agent ids"`
}

// NewNodeRequest is a server to be made.
type NewNodeRequest struct {
	Name     string       `json:"name" minLength:"1" maxLength:"63"`
	Agent    string       `json:"agent" minLength:"1" maxLength:"128" doc:"id or name of the agent on the host"`
	Port     int          `json:"port,omitempty" minimum:"0" maximum:"65535" doc:"0 or missing: a free one"`
	Priority *int         `json:"priority,omitempty" minimum:"0" maximum:"1000"`
	Tags     *TagsRequest `json:"tags,omitempty"`
}

// CreateRequest makes a cluster.
type CreateRequest struct {
	Name               string           `json:"name" minLength:"1" maxLength:"256"`
	Engine             string           `json:"engine" minLength:"1" maxLength:"63"`
	Version            string           `json:"version,omitempty" maxLength:"63" doc:"missing: the version the hosts agree on"`
	Nodes              []NewNodeRequest `json:"nodes" maxItems:"32"`
	MemoryBytes        int64            `json:"memoryBytes,omitempty" doc:"limit of each server; 0 none"`
	Durability         string           `json:"durability,omitempty" maxLength:"16" doc:"async (default) or sync"`
	SyncReplicas       int              `json:"syncReplicas,omitempty" doc:"replicas in step for a write to be taken; with sync at least 1"`
	Failover           string           `json:"failover,omitempty" maxLength:"16" doc:"off, no-loss or bounded-loss; missing: no-loss with sync, else bounded-loss"`
	AllowCIDRs         []string         `json:"allowCidrs,omitempty" maxItems:"64"`
	DeletionProtection bool             `json:"deletionProtection,omitempty"`
	Reason             string           `json:"reason,omitempty" maxLength:"1000"`
}

// CreateAccepted answers a creation. The password is shown here and never again.
type CreateAccepted struct {
	OperationID string             `json:"operationId"`
	Credentials *CredentialsAnswer `json:"credentials"`
	Warnings    []string           `json:"warnings"`
}

// TransformSchema documents which references may be null.
func (CreateAccepted) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	return nullable(s, "credentials")
}

// CredentialsAnswer is a database user with its password.
type CredentialsAnswer struct {
	User     string `json:"user"`
	Password string `json:"password"`
}

// AdoptRequest takes over a primary and its replicas as they run.
type AdoptRequest struct {
	Name     string `json:"name" minLength:"1" maxLength:"256"`
	Primary  string `json:"primary" minLength:"1" maxLength:"300" doc:"host:port"`
	Agent    string `json:"agent" minLength:"1" maxLength:"128" doc:"id or name of the agent that looks"`
	User     string `json:"user,omitempty" maxLength:"256"`
	Password string `json:"password,omitempty" maxLength:"1024"`
	Reason   string `json:"reason,omitempty" maxLength:"1000"`
}

// AdoptPreview is what would be adopted, or what stands against it.
type AdoptPreview struct {
	Nodes    []AdoptNode `json:"nodes"`
	Refusals []Refusal   `json:"refusals"`
}

// AdoptNode is one server found.
type AdoptNode struct {
	Address  string `json:"address"`
	Role     string `json:"role"`
	Version  string `json:"version"`
	LagBytes Int64  `json:"lagBytes"`
	Agent    string `json:"agent" doc:"the agent that would watch it"`
}

// AddNodeRequest adds a replica.
type AddNodeRequest struct {
	NewNodeRequest
	Reason string `json:"reason,omitempty" maxLength:"1000"`
}

// RemoveRequest takes a node out.
type RemoveRequest struct {
	TypedName  string   `json:"typedName" maxLength:"63"`
	Generation Int64    `json:"generation"`
	Wipe       bool     `json:"wipe,omitempty" doc:"remove its data too"`
	Reason     string   `json:"reason,omitempty" maxLength:"1000"`
	Overrides  []string `json:"overrides,omitempty" maxItems:"16"`
}

// DeleteRequest ends a cluster.
type DeleteRequest struct {
	TypedName string `json:"typedName" maxLength:"63"`
	Wipe      bool   `json:"wipe,omitempty" doc:"remove the data too"`
	Reason    string `json:"reason,omitempty" maxLength:"1000"`
}

// ResyncRequest brings a replica in step again.
type ResyncRequest struct {
	Reason    string   `json:"reason,omitempty" maxLength:"1000"`
	Overrides []string `json:"overrides,omitempty" maxItems:"16"`
}

type (
	createInput        struct{ Body CreateRequest }
	adoptInput         struct{ Body AdoptRequest }
	clusterBody[T any] struct {
		ID   string `path:"id" maxLength:"63"`
		Body T
	}
	nodeBody[T any] struct {
		ID   string `path:"id" maxLength:"63"`
		Node string `path:"node" maxLength:"63"`
		Body T
	}
	userInput struct {
		ID   string `path:"id" maxLength:"63"`
		User string `path:"name" maxLength:"63"`
	}
)

// lifeRoutes are the routes of a cluster's life.
func (s *Server) lifeRoutes() {
	add(s, "engines", "GET", "/engines", "What can be made, and on which hosts", s.getEngines)
	add(s, "create-cluster", "POST", "/clusters", "Make a cluster", s.postCluster)
	add(s, "adopt-cluster", "POST", "/clusters/adopt", "Take over a primary and its replicas as they run", s.postAdopt)
	add(s, "adopt-preview", "POST", "/clusters/adopt/preview", "What would be adopted, or what stands against it", s.postAdoptPreview)
	add(s, "delete-cluster", "POST", "/clusters/{id}/delete", "Delete a cluster", s.postDelete)
	add(s, "add-node", "POST", "/clusters/{id}/nodes", "Add a replica", s.postNode)
	add(s, "remove-node", "POST", "/clusters/{id}/nodes/{node}/remove", "Take a replica out", s.postRemove)
	add(s, "resync", "POST", "/clusters/{id}/nodes/{node}/resync", "Bring a replica in step again", s.postResync)
	add(s, "maintenance", "POST", "/clusters/{id}/nodes/{node}/maintenance", "Put a node in maintenance, or end it", s.postMaintenance)
	add(s, "tags", "PUT", "/clusters/{id}/nodes/{node}/tags", "Say what a node may become", s.putTags)
	add(s, "settings", "GET", "/clusters/{id}/settings", "What people decided about the cluster, and what follows", s.getSettings)
	add(s, "put-settings", "PUT", "/clusters/{id}/settings", "Decide about the cluster", s.putSettings)
	add(s, "parameters", "GET", "/clusters/{id}/parameters", "The engine's parameters", s.getParameters)
	add(s, "put-parameters", "PUT", "/clusters/{id}/parameters", "Change the engine's parameters", s.putParameters)
	add(s, "database-users", "GET", "/clusters/{id}/users", "The database's users", s.getDatabaseUsers)
	add(s, "make-database-user", "POST", "/clusters/{id}/users", "Make a user of the database", s.postDatabaseUser)
	add(s, "rotate-database-user", "POST", "/clusters/{id}/users/{name}/rotate", "Give a user of the database a new password", s.postRotate)
	add(s, "drop-database-user", "DELETE", "/clusters/{id}/users/{name}", "Remove a user of the database", s.deleteDatabaseUser)
}

func (s *Server) getEngines(context.Context, *none) (*body[EngineList], error) {
	byEngine := map[string]map[string][]string{}
	for _, r := range s.Monitor.Agents() {
		for _, p := range r.Programs {
			if byEngine[p.Engine] == nil {
				byEngine[p.Engine] = map[string][]string{}
			}
			byEngine[p.Engine][p.Version] = append(byEngine[p.Engine][p.Version], r.Agent)
		}
	}
	out := EngineList{Engines: []EngineOffer{}}
	for name, versions := range byEngine {
		e := EngineOffer{Engine: name}
		for v, hosts := range versions {
			sort.Strings(hosts)
			e.Versions = append(e.Versions, VersionOffer{Version: v, Hosts: hosts})
		}
		sort.Slice(e.Versions, func(i, j int) bool { return e.Versions[i].Version > e.Versions[j].Version })
		out.Engines = append(out.Engines, e)
	}
	sort.Slice(out.Engines, func(i, j int) bool { return out.Engines[i].Engine < out.Engines[j].Engine })
	return &body[EngineList]{out}, nil
}

// agentID is the agent of an id or, where only one has it, a host's name.
func (s *Server) agentID(name string) string {
	id, found := name, 0
	for _, r := range s.Monitor.Agents() {
		switch name {
		case r.Agent:
			return name
		case r.Name:
			id, found = r.Agent, found+1
		}
	}
	if found > 1 {
		return name
	}
	return id
}

func (s *Server) newNode(n NewNodeRequest) plan.NewNode {
	out := plan.NewNode{Name: n.Name, Agent: s.agentID(n.Agent), Port: n.Port, Priority: inventory.DefaultPriority}
	if n.Priority != nil {
		out.Priority = *n.Priority
	}
	return out
}

// policy of a new cluster.
func (r *CreateRequest) policy() inventory.Policy {
	p := inventory.DefaultPolicy()
	p.Failover = inventory.FailoverBoundedLoss
	if r.Durability != "" {
		p.Durability = r.Durability
	}
	if p.SyncReplicas = r.SyncReplicas; p.Durability == inventory.DurabilitySync {
		p.SyncReplicas, p.Failover = max(p.SyncReplicas, 1), inventory.FailoverNoLoss
	}
	if r.Failover != "" {
		p.Failover = r.Failover
	}
	p.AllowCIDRs, p.DeletionProtection = r.AllowCIDRs, r.DeletionProtection
	return p
}

// networksWarning is said where networks are named: the engine has no list.
const networksWarning = "Redis has no list of networks: the cluster's endpoint and the hosts' packet filter keep it. A host without nft, or whose agent is not root, cannot limit direct connections; the settings say which. " +
	"Programs on a host itself are not limited there."

func warnings(networks []string) []string {
	if len(networks) == 0 {
		return []string{}
	}
	return []string{networksWarning}
}

func (s *Server) postCluster(ctx context.Context, in *createInput) (*status[CreateAccepted], error) {
	q := executor.RequestCreate{NewCluster: plan.NewCluster{Name: in.Body.Name, Engine: in.Body.Engine, Version: in.Body.Version, MemoryBytes: in.Body.MemoryBytes},
		Policy: in.Body.policy(), Reason: in.Body.Reason, Who: who(ctx).Who}
	tags := map[string]inventory.Tags{}
	for _, n := range in.Body.Nodes {
		node := s.newNode(n)
		if n.Tags != nil {
			t := n.Tags.tags()
			if n.Priority == nil {
				node.Priority = t.Priority
			}
			t.Priority, tags[n.Name] = node.Priority, t
		}
		q.Nodes = append(q.Nodes, node)
	}
	q.Tags = tags
	id, c, err := s.Executor.Create(ctx, q)
	if err != nil {
		return nil, s.refuseLife(ctx, in.Body.Name, "", "tried to create a cluster", err)
	}
	*who(ctx).recorded = true
	return &status[CreateAccepted]{http.StatusAccepted, CreateAccepted{OperationID: id, Credentials: &CredentialsAnswer{c.User, c.Password}, Warnings: warnings(in.Body.AllowCIDRs)}}, nil
}

func (s *Server) adoptRequest(ctx context.Context, r AdoptRequest) executor.RequestAdopt {
	q := executor.RequestAdopt{Name: r.Name, Primary: r.Primary, Agent: s.agentID(r.Agent), User: r.User, Password: r.Password, Reason: r.Reason, Who: who(ctx).Who, Agents: map[string][]string{}}
	for _, a := range s.Monitor.Agents() {
		q.Agents[a.Agent] = a.Host.Addresses
	}
	return q
}

func (s *Server) postAdopt(ctx context.Context, in *adoptInput) (*status[OperationStarted], error) {
	id, err := s.Executor.Adopt(ctx, s.adoptRequest(ctx, in.Body))
	return s.started(ctx, in.Body.Name, "", "tried to adopt a cluster", id, err)
}

func (s *Server) postAdoptPreview(ctx context.Context, in *adoptInput) (*body[AdoptPreview], error) {
	looked, p := s.Executor.Look(ctx, s.adoptRequest(ctx, in.Body))
	out := AdoptPreview{Nodes: []AdoptNode{}, Refusals: refusals(p.Refusals)}
	for _, l := range looked {
		n := AdoptNode{Address: l.Address, Role: string(engine.RoleUnknown), Agent: l.Agent}
		if f := l.Found; f != nil {
			n.Role, n.Version = string(f.Role), f.Version
			if first := looked[0].Found; first != nil && first.Position > f.Position {
				n.LagBytes = Int64(first.Position - f.Position)
			}
		}
		out.Nodes = append(out.Nodes, n)
	}
	return &body[AdoptPreview]{out}, nil
}

// started answers an operation that began, or its refusal.
func (s *Server) started(ctx context.Context, cluster, node, what, id string, err error) (*status[OperationStarted], error) {
	if err != nil {
		return nil, s.refuseLife(ctx, cluster, node, what, err)
	}
	*who(ctx).recorded = true // its end will be audited
	return &status[OperationStarted]{http.StatusAccepted, OperationStarted{OperationID: id}}, nil
}

func (s *Server) postDelete(ctx context.Context, in *clusterBody[DeleteRequest]) (*status[OperationStarted], error) {
	id, err := s.Executor.Delete(ctx, executor.RequestNode{Cluster: in.ID, TypedName: in.Body.TypedName, Wipe: in.Body.Wipe, Reason: in.Body.Reason, Who: who(ctx).Who})
	return s.started(ctx, in.ID, "", "tried to delete the cluster", id, err)
}

func (s *Server) postNode(ctx context.Context, in *clusterBody[AddNodeRequest]) (*status[OperationStarted], error) {
	id, err := s.Executor.AddNode(ctx, executor.RequestNode{Cluster: in.ID, Node: s.newNode(in.Body.NewNodeRequest), Reason: in.Body.Reason, Who: who(ctx).Who})
	return s.started(ctx, in.ID, in.Body.Name, "tried to add node "+printable(in.Body.Name), id, err)
}

func (s *Server) postRemove(ctx context.Context, in *nodeBody[RemoveRequest]) (*status[OperationStarted], error) {
	generation := uint64(in.Body.Generation)
	id, err := s.Executor.RemoveNode(ctx, executor.RequestNode{Cluster: in.ID, Node: plan.NewNode{Name: in.Node}, TypedName: in.Body.TypedName, Generation: &generation,
		Wipe: in.Body.Wipe, Reason: in.Body.Reason, Overrides: in.Body.Overrides, Who: who(ctx).Who})
	return s.started(ctx, in.ID, in.Node, "tried to remove node "+printable(in.Node), id, err)
}

func (s *Server) postResync(ctx context.Context, in *nodeBody[ResyncRequest]) (*status[OperationStarted], error) {
	id, err := s.Executor.Resync(ctx, executor.RequestNode{Cluster: in.ID, Node: plan.NewNode{Name: in.Node}, Reason: in.Body.Reason, Overrides: in.Body.Overrides, Who: who(ctx).Who})
	return s.started(ctx, in.ID, in.Node, "tried to resynchronize "+printable(in.Node), id, err)
}
