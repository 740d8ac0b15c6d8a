package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"baton/control/agent"
	"baton/control/engine"
	"baton/control/engine/redis"
	"baton/control/executor"
	"baton/control/inventory"
	"baton/control/operation"
)

// TagsRequest are a node's tags, whole.
type TagsRequest struct {
	Priority   *int       `json:"priority,omitempty" minimum:"0" maximum:"1000" doc:"higher is preferred, 0 never automatically; missing: 100"`
	NoFailover bool       `json:"noFailover,omitempty" doc:"never promoted automatically; by hand with a reason"`
	Never      bool       `json:"never,omitempty" doc:"not promoted even by hand"`
	NoSync     bool       `json:"noSync,omitempty" doc:"does not count for synchronous durability"`
	NoBackup   bool       `json:"noBackup,omitempty" doc:"no backup is taken on it"`
	Expires    *time.Time `json:"expires,omitempty" doc:"when the default tags come back"`
}

func (r *TagsRequest) tags() inventory.Tags {
	t := inventory.Tags{Priority: inventory.DefaultPriority, NoFailover: r.NoFailover, Never: r.Never, NoSync: r.NoSync, NoBackup: r.NoBackup, Expires: r.Expires}
	if r.Priority != nil {
		t.Priority = *r.Priority
	}
	return t
}

// MaintenanceRequest puts a node in maintenance.
type MaintenanceRequest struct {
	Minutes int    `json:"minutes" minimum:"0" maximum:"44640" doc:"0 ends it"`
	Reason  string `json:"reason,omitempty" maxLength:"1000"`
}

// PolicyView is what people decided about a cluster.
type PolicyView struct {
	Durability         string     `json:"durability" enum:"async,sync"`
	SyncReplicas       int        `json:"syncReplicas"`
	Failover           string     `json:"failover" enum:"off,no-loss,bounded-loss"`
	MaxLossBytes       int64      `json:"maxLossBytes"`
	MaxLossAgeSeconds  int        `json:"maxLossAgeSeconds"`
	LeaseTTLMs         int        `json:"leaseTtlMs"`
	CoolDownSeconds    int        `json:"coolDownSeconds"`
	Mode               string     `json:"mode" enum:"strict,failsafe,auto"`
	RestartFirst       bool       `json:"restartFirst"`
	Approval           bool       `json:"approval"`
	DeletionProtection bool       `json:"deletionProtection"`
	AllowCIDRs         []string   `json:"allowCidrs"`
	BackupSchedule     string     `json:"backupSchedule"`
	BackupKeep         int        `json:"backupKeep"`
	BackupTarget       string     `json:"backupTarget"`
	DrillSchedule      string     `json:"drillSchedule"`
	MaintenanceUntil   *time.Time `json:"maintenanceUntil"`
}

func policyView(p inventory.Policy) PolicyView {
	v := PolicyView{p.Durability, p.SyncReplicas, p.Failover, p.MaxLossBytes, p.MaxLossAgeSeconds, p.LeaseTTLMs, p.CoolDownSeconds, p.Mode, p.RestartFirst, p.Approval,
		p.DeletionProtection, p.AllowCIDRs, p.BackupSchedule, p.BackupKeep, p.BackupTarget, p.DrillSchedule, nil}
	if v.AllowCIDRs == nil {
		v.AllowCIDRs = []string{}
	}
	if !p.MaintenanceUntil.IsZero() {
		v.MaintenanceUntil = &p.MaintenanceUntil
	}
	return v
}

// PolicyRequest changes some of it; what is missing stays.
type PolicyRequest struct {
	Durability         *string    `json:"durability,omitempty" maxLength:"16"`
	SyncReplicas       *int       `json:"syncReplicas,omitempty"`
	Failover           *string    `json:"failover,omitempty" maxLength:"16"`
	MaxLossBytes       *int64     `json:"maxLossBytes,omitempty"`
	MaxLossAgeSeconds  *int       `json:"maxLossAgeSeconds,omitempty"`
	LeaseTTLMs         *int       `json:"leaseTtlMs,omitempty"`
	CoolDownSeconds    *int       `json:"coolDownSeconds,omitempty"`
	Mode               *string    `json:"mode,omitempty" maxLength:"16"`
	RestartFirst       *bool      `json:"restartFirst,omitempty"`
	Approval           *bool      `json:"approval,omitempty"`
	DeletionProtection *bool      `json:"deletionProtection,omitempty"`
	AllowCIDRs         *[]string  `json:"allowCidrs,omitempty" maxItems:"64"`
	BackupSchedule     *string    `json:"backupSchedule,omitempty" maxLength:"200"`
	BackupKeep         *int       `json:"backupKeep,omitempty"`
	BackupTarget       *string    `json:"backupTarget,omitempty" maxLength:"63"`
	DrillSchedule      *string    `json:"drillSchedule,omitempty" maxLength:"200"`
	MaintenanceUntil   *time.Time `json:"maintenanceUntil,omitempty" doc:"a time in the past ends it"`
	// Revision is what GET answered; with it a change that somebody else made
	// since is not overwritten.
	Revision *Int64 `json:"revision,omitempty"`
	// Overrides are codes of refusals that shall not count.
	Overrides []string `json:"overrides,omitempty" maxItems:"8" enum:"networks.caller,networks.clients"`
}

// over lays the request over a policy.
func (r *PolicyRequest) over(p inventory.Policy, now time.Time) inventory.Policy {
	lay(&p.Durability, r.Durability)
	lay(&p.SyncReplicas, r.SyncReplicas)
	lay(&p.Failover, r.Failover)
	lay(&p.MaxLossBytes, r.MaxLossBytes)
	lay(&p.MaxLossAgeSeconds, r.MaxLossAgeSeconds)
	lay(&p.LeaseTTLMs, r.LeaseTTLMs)
	lay(&p.CoolDownSeconds, r.CoolDownSeconds)
	lay(&p.Mode, r.Mode)
	lay(&p.RestartFirst, r.RestartFirst)
	lay(&p.Approval, r.Approval)
	lay(&p.DeletionProtection, r.DeletionProtection)
	lay(&p.AllowCIDRs, r.AllowCIDRs)
	lay(&p.BackupSchedule, r.BackupSchedule)
	lay(&p.BackupKeep, r.BackupKeep)
	lay(&p.BackupTarget, r.BackupTarget)
	lay(&p.DrillSchedule, r.DrillSchedule)
	lay(&p.MaintenanceUntil, r.MaintenanceUntil)
	if !p.MaintenanceUntil.After(now) {
		p.MaintenanceUntil = time.Time{}
	}
	if r.Durability != nil && r.SyncReplicas == nil { // the word alone is enough
		switch {
		case p.Durability == inventory.DurabilityAsync:
			p.SyncReplicas = 0
		case p.SyncReplicas == 0:
			p.SyncReplicas = 1
		}
		if p.Durability == inventory.DurabilityAsync && p.Failover == inventory.FailoverNoLoss && r.Failover == nil {
			p.Failover = inventory.FailoverBoundedLoss
		}
	}
	return p
}

func lay[T any](into *T, v *T) {
	if v != nil {
		*into = *v
	}
}

// Settings are a cluster's policy and what follows from it.
type Settings struct {
	Policy        PolicyView    `json:"policy"`
	Revision      Int64         `json:"revision" doc:"send it back with a change"`
	Consequences  []string      `json:"consequences"`
	IfPrimaryDies string        `json:"ifPrimaryDies"`
	IfNodeDies    []NodeOutcome `json:"ifNodeDies"`
	Warnings      []string      `json:"warnings"`
	Limits        []HostLimit   `json:"limits" doc:"by host: whether direct connections are limited to the networks"`
	OperationID   *string       `json:"operationId" doc:"set when the change goes on as an operation"`
}

// NodeOutcome is what the loss of one node would mean.
type NodeOutcome struct {
	Node     string `json:"node"`
	Sentence string `json:"sentence"`
}

// ParameterList is the engine's parameters.
type ParameterList struct {
	Parameters []ParameterView `json:"parameters"`
}

// ParameterView is one parameter.
type ParameterView struct {
	Name         string  `json:"name"`
	Value        string  `json:"value" doc:"in force on the primary; empty when it does not answer"`
	Default      string  `json:"default"`
	NeedsRestart bool    `json:"needsRestart"`
	Pending      *string `json:"pending" doc:"the value that the next start of the servers brings"`
	Description  string  `json:"description"`
}

// ParametersRequest changes parameters.
type ParametersRequest struct {
	Values map[string]string `json:"values"`
	Reason string            `json:"reason,omitempty" maxLength:"1000"`
}

// DatabaseUserList are the users of a database.
type DatabaseUserList struct {
	Users []DatabaseUser `json:"users"`
}

// DatabaseUser is one of them.
type DatabaseUser struct {
	Name    string    `json:"name"`
	ACL     string    `json:"acl" enum:"read,readwrite,admin"`
	Enabled bool      `json:"enabled"`
	At      time.Time `json:"at"`
}

// DatabaseUserRequest makes one.
type DatabaseUserRequest struct {
	Name   string `json:"name" minLength:"1" maxLength:"256"`
	Access string `json:"access" maxLength:"16"`
}

// DatabasePassword is a user with its password, shown once.
type DatabasePassword struct {
	Name        string `json:"name"`
	Password    string `json:"password"`
	OperationID string `json:"operationId"`
}

// TransformSchema documents which references may be null.
func (Settings) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema { return s }

// refuseLife records a refused attempt in the life of a cluster.
func (s *Server) refuseLife(ctx context.Context, cluster, node, what string, err error) error {
	return s.refuse(ctx, cluster, node, what, lifeProblem(err))
}

// lifeProblem translates refusals of settings and of the life of clusters; all
// others stay.
func lifeProblem(err error) error {
	var setting *inventory.SettingError
	switch {
	case errors.As(err, &setting):
		return &Problem{Title: "The setting is not valid", Status: 422, Code: CodeBadRequest, Detail: setting.Field + ": " + setting.Why, Fix: setting.Fix}
	case errors.Is(err, inventory.ErrName):
		return &Problem{Title: "The name is not allowed", Status: 422, Code: CodeBadRequest, Detail: err.Error(), Fix: "choose another name"}
	case errors.Is(err, executor.ErrClusterExists):
		return &Problem{Title: "The name is taken", Status: 409, Code: CodeExists, Detail: err.Error(), Fix: "choose another name"}
	case errors.Is(err, executor.ErrNoSecrets):
		return &Problem{Title: "Passwords could not be kept", Status: 503, Code: CodeUnavailable, Detail: err.Error(), Fix: "start the control plane with a master key file"}
	case errors.Is(err, inventory.ErrMoved):
		return &Problem{Title: "The settings changed meanwhile", Status: 409, Code: CodeStaleReport, Detail: "somebody else changed them since you saw them", Fix: "look at them again", Retry: true}
	case errors.Is(err, inventory.ErrNoCluster):
		return executor.ErrUnknownCluster
	case errors.Is(err, inventory.ErrNoMember):
		return &Problem{Title: "No such node", Status: 404, Code: CodeUnknownNode, Detail: err.Error(), Fix: "baton nodes lists them"}
	case errors.Is(err, agent.ErrNotConnected):
		return &Problem{Title: "The node's agent does not answer", Status: 503, Code: CodeUnavailable, Detail: err.Error(), Fix: "start the agent on its host", Retry: true}
	}
	return err
}

// CodeExists: the name is taken.
const CodeExists = "exists"

func (s *Server) putTags(ctx context.Context, in *nodeBody[TagsRequest]) (*body[Node], error) {
	t := in.Body.tags()
	c, _ := s.Inventory.Cluster(in.ID)
	if m, ok := c.Member(in.Node); ok {
		t.Maintenance = m.Tags.Maintenance
	}
	return s.tagged(ctx, in.ID, in.Node, t, "tried to tag "+printable(in.Node))
}

func (s *Server) postMaintenance(ctx context.Context, in *nodeBody[MaintenanceRequest]) (*body[Node], error) {
	c, _ := s.Inventory.Cluster(in.ID)
	m, ok := c.Member(in.Node)
	if !ok && c.ID != "" {
		return nil, s.refuseLife(ctx, in.ID, in.Node, "tried to set maintenance of "+printable(in.Node), inventory.ErrNoMember)
	}
	t := m.Tags
	if t.Maintenance = nil; in.Body.Minutes > 0 {
		t.Maintenance = ptr(s.Now().Add(time.Duration(in.Body.Minutes) * time.Minute))
	}
	return s.tagged(ctx, in.ID, in.Node, t, "tried to set maintenance of "+printable(in.Node))
}

func (s *Server) tagged(ctx context.Context, cluster, node string, t inventory.Tags, what string) (*body[Node], error) {
	if err := s.Inventory.PutTags(ctx, cluster, node, t, who(ctx).Who); err != nil {
		return nil, s.refuseLife(ctx, cluster, node, what, err)
	}
	*who(ctx).recorded = true
	c, _ := s.Inventory.Cluster(cluster)
	f, _ := s.Monitor.Facts(cluster)
	if n := f.Node(node); n != nil {
		return &body[Node]{s.node(&c, &f, n)}, nil
	}
	return nil, s.refuseLife(ctx, cluster, node, what, inventory.ErrNoMember)
}

func (s *Server) getSettings(_ context.Context, in *clusterInput) (*body[Settings], error) {
	out, ok := s.settings(in.ID)
	if !ok {
		return nil, notFoundCluster(in.ID)
	}
	return &body[Settings]{out}, nil
}

func (s *Server) settings(id string) (Settings, bool) {
	c, ok := s.Inventory.Cluster(id)
	if !ok {
		return Settings{}, false
	}
	f, _ := s.Monitor.Facts(id)
	out := Settings{Policy: policyView(c.Policy), Revision: Int64(c.SettingsRevision), Consequences: consequences(&c), IfNodeDies: []NodeOutcome{}, Warnings: warnings(c.Policy.AllowCIDRs), Limits: s.hostLimits(&c)}
	out.IfPrimaryDies, out.IfNodeDies = losses(&c, &f)
	return out, true
}

func (s *Server) putSettings(ctx context.Context, in *clusterBody[PolicyRequest]) (*body[Settings], error) {
	c, ok := s.Inventory.Cluster(in.ID)
	if !ok {
		return nil, s.refuseLife(ctx, in.ID, "", "tried to change settings", executor.ErrUnknownCluster)
	}
	seen := int64(-1)
	if in.Body.Revision != nil {
		seen = int64(*in.Body.Revision)
	}
	id, err := s.Executor.SetPolicy(ctx, in.ID, in.Body.over(c.Policy, s.Now()), seen, who(ctx).Who, in.Body.Overrides...)
	if err != nil {
		return nil, s.refuseLife(ctx, in.ID, "", "tried to change settings", err)
	}
	*who(ctx).recorded = true
	out, _ := s.settings(in.ID)
	if id != "" {
		out.OperationID = &id
	}
	return &body[Settings]{out}, nil
}

func (s *Server) getParameters(ctx context.Context, in *clusterInput) (*body[ParameterList], error) {
	c, ok := s.Inventory.Cluster(in.ID)
	if !ok {
		return nil, notFoundCluster(in.ID)
	}
	out := ParameterList{Parameters: []ParameterView{}}
	if c.Engine != engine.Redis {
		return &body[ParameterList]{out}, nil
	}
	present := s.present(ctx, in.ID)
	for _, p := range redis.Parameters {
		v := ParameterView{Name: p.Name, Value: present[p.Name], Default: p.Default, NeedsRestart: p.NeedsRestart, Description: p.Description}
		if want, ok := c.Parameters[p.Name]; ok && p.NeedsRestart && want != v.Value {
			v.Pending = &want
		}
		out.Parameters = append(out.Parameters, v)
	}
	return &body[ParameterList]{out}, nil
}

// present are the parameters in force on the primary, none when it does not
// answer.
func (s *Server) present(ctx context.Context, cluster string) map[string]string {
	f, _ := s.Monitor.Facts(cluster)
	p := f.Primary()
	if p == nil {
		return nil
	}
	v, err := s.Executor.ReadParameters(ctx, cluster, p.Name)
	if err != nil {
		return nil
	}
	return v
}

func (s *Server) putParameters(ctx context.Context, in *clusterBody[ParametersRequest]) (*status[OperationStarted], error) {
	q := executor.RequestParameters{Cluster: in.ID, Values: map[string]string{}, Former: map[string]string{}, Restart: map[string]string{}, Reason: in.Body.Reason, Who: who(ctx).Who}
	refuse := func(err error) (*status[OperationStarted], error) {
		return s.started(ctx, in.ID, "", "tried to change parameters", "", err)
	}
	if len(in.Body.Values) == 0 {
		return refuse(&inventory.SettingError{Field: "values", Why: "nothing is to be changed", Fix: "name at least one parameter"})
	}
	c, ok := s.Inventory.Cluster(in.ID)
	if !ok {
		return refuse(executor.ErrUnknownCluster)
	}
	if c.Engine != engine.Redis {
		return refuse(&inventory.SettingError{Field: "values", Why: "the parameters of this engine are not Baton's", Fix: "change them where they are"})
	}
	present := s.present(ctx, in.ID)
	restart := map[string]bool{}
	for _, p := range redis.Parameters {
		restart[p.Name] = p.NeedsRestart
	}
	for name, v := range in.Body.Values {
		if err := redis.CheckParameter(name, v); err != nil {
			return refuse(&inventory.SettingError{Field: printable(name), Why: err.Error(), Fix: "baton params " + in.ID + " lists what may be set"})
		}
		if restart[name] {
			q.Restart[name] = v
			continue
		}
		q.Values[name] = v
		if was, ok := present[name]; ok {
			q.Former[name] = was
		}
	}
	id, err := s.Executor.SetParameters(ctx, q)
	return s.started(ctx, in.ID, "", "tried to change parameters", id, err)
}

func (s *Server) getDatabaseUsers(_ context.Context, in *clusterInput) (*body[DatabaseUserList], error) {
	c, ok := s.Inventory.Cluster(in.ID)
	if !ok {
		return nil, notFoundCluster(in.ID)
	}
	out := DatabaseUserList{Users: []DatabaseUser{}}
	for _, u := range c.Users {
		out.Users = append(out.Users, DatabaseUser{Name: u.Name, ACL: u.Access, Enabled: true, At: u.At})
	}
	return &body[DatabaseUserList]{out}, nil
}

// userTime bounds how long a change of a user is waited for.
const userTime = 25 * time.Second

// userDone waits for a change of a user: its password is worth showing only
// when it is in force.
func (s *Server) userDone(ctx context.Context, cluster, what, id string, err error) error {
	if err != nil {
		return s.refuseLife(ctx, cluster, "", what, err)
	}
	*who(ctx).recorded = true
	wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), userTime)
	defer cancel()
	if o := s.Executor.Await(wait, id); o.State != operation.StateDone {
		return &Problem{Title: "The user was not changed", Status: 502, Code: CodeUnavailable, Detail: fmt.Sprintf("the operation is %s: %s", o.State, o.Outcome), OperationID: id,
			Fix: "watch it: baton op watch " + id + "; then try again", Retry: true}
	}
	return nil
}

func (s *Server) postDatabaseUser(ctx context.Context, in *clusterBody[DatabaseUserRequest]) (*status[DatabasePassword], error) {
	id, c, err := s.Executor.PutUser(ctx, in.ID, in.Body.Name, in.Body.Access, false, who(ctx).Who)
	if err := s.userDone(ctx, in.ID, "tried to make a user of the database", id, err); err != nil {
		return nil, err
	}
	return &status[DatabasePassword]{http.StatusCreated, DatabasePassword{c.User, c.Password, id}}, nil
}

func (s *Server) postRotate(ctx context.Context, in *userInput) (*body[DatabasePassword], error) {
	id, c, err := s.Executor.PutUser(ctx, in.ID, in.User, "", true, who(ctx).Who)
	if err := s.userDone(ctx, in.ID, "tried to give a user of the database a new password", id, err); err != nil {
		return nil, err
	}
	return &body[DatabasePassword]{DatabasePassword{c.User, c.Password, id}}, nil
}

func (s *Server) deleteDatabaseUser(ctx context.Context, in *userInput) (*body[OperationStarted], error) {
	id, err := s.Executor.DropUser(ctx, in.ID, in.User, who(ctx).Who)
	if err := s.userDone(ctx, in.ID, "tried to remove a user of the database", id, err); err != nil {
		return nil, err
	}
	return &body[OperationStarted]{OperationStarted{id}}, nil
}
