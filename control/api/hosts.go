package api

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"baton/control/access"
	"baton/control/agent"
	"baton/control/engine"
	"baton/control/inventory"
	"baton/control/provider"
)

// Host is a machine with an agent.
type Host struct {
	ID          string         `json:"id" doc:"the agent's id"`
	Name        string         `json:"name"`
	Agent       string         `json:"agent"`
	OS          string         `json:"os"`
	Arch        string         `json:"arch"`
	Cores       int            `json:"cores"`
	MemoryBytes Int64          `json:"memoryBytes"`
	Model       string         `json:"model"`
	Load1       float64        `json:"load1"`
	Disk        *HostDisk      `json:"disk" doc:"the volume of the agent's directory; null when it was not measured"`
	Provider    string         `json:"provider"`
	Location    string         `json:"location"`
	Version     string         `json:"version" doc:"of the agent"`
	Connected   bool           `json:"connected"`
	JoinedAt    *time.Time     `json:"joinedAt"`
	LastReport  *time.Time     `json:"lastReport" doc:"null when it has not reported since the control plane started"`
	Instances   []HostInstance `json:"instances"`
	Supervision string         `json:"supervision" enum:"child,systemd,unknown" doc:"how databases are kept running"`
}

// TransformSchema documents which references may be null.
func (Host) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	return nullable(s, "disk")
}

// HostDisk is a volume, in bytes.
type HostDisk struct {
	Free  Int64 `json:"free"`
	Total Int64 `json:"total"`
}

// HostInstance is a database on a host.
type HostInstance struct {
	Cluster string `json:"cluster"`
	Node    string `json:"node"`
	Role    string `json:"role"`
}

// HostList is the answer of GET /hosts, sorted by name.
type HostList struct {
	Hosts []Host `json:"hosts"`
}

// HostTokenRequest asks for a token with which a machine's agent joins.
type HostTokenRequest struct {
	Name string `json:"name,omitempty" maxLength:"63" doc:"name the host shall have; by default its own"`
}

// Provider is a kind of machines the control plane can work with.
type Provider struct {
	Name     string `json:"name"`
	Title    string `json:"title"`
	Usable   bool   `json:"usable"`
	Why      string `json:"why" doc:"why it is not usable, or what it does"`
	CanMake  bool   `json:"canMake" doc:"machines can be made and deleted through it"`
	CanReach bool   `json:"canReach" doc:"an agent can be installed through it"`
}

// ProviderList is the answer of GET /providers.
type ProviderList struct {
	Providers []Provider `json:"providers"`
}

// Hosts is the record of the machines that joined; *access.Store is one.
type Hosts interface {
	Hosts() []access.Host
	RemoveHost(agent string) error
}

// Links are the agents' present links; *hub.Hub is one.
type Links interface{ Cut(agentID string) }

type (
	hostTokenInput struct{ Body HostTokenRequest }
	hostInput      struct {
		ID string `path:"id" maxLength:"63"`
	}
)

func (s *Server) hostRoutes() {
	add(s, "hosts", "GET", "/hosts", "Machines with an agent", s.getHosts)
	add(s, "host-join-token", "POST", "/hosts/join-token", "A one-use token for one more machine", s.postHostToken)
	add(s, "host-remove", "DELETE", "/hosts/{id}", "Forget a machine and revoke its agent's certificate", s.deleteHost)
	s.sshRoutes()
	s.restartRoutes()
	s.machineRoutes()
	add(s, "providers", "GET", "/providers", "Kinds of machines", s.getProviders)
}

// hosts are the machines that joined or report, sorted by name.
func (s *Server) hosts() []Host {
	byID := map[string]Host{}
	if s.Machines != nil {
		for _, h := range s.Machines.Hosts() {
			byID[h.Agent] = Host{ID: h.Agent, Name: h.Name, Agent: h.Agent, JoinedAt: ptr(h.At), Instances: []HostInstance{}, Supervision: "unknown"}
		}
	}
	for _, r := range s.Monitor.Agents() {
		h := reportedHost(&r)
		h.JoinedAt = byID[r.Agent].JoinedAt
		h.Connected = s.Monitor.Reports.Connected(r.Agent)
		byID[r.Agent] = h
	}
	out := make([]Host, 0, len(byID))
	for _, h := range byID {
		out = append(out, h)
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].Name != out[j].Name {
			return out[i].Name < out[j].Name
		}
		return out[i].ID < out[j].ID
	})
	return out
}

func reportedHost(r *agent.Report) Host {
	h := Host{ID: r.Agent, Name: r.Name, Agent: r.Agent, OS: r.Host.OS, Arch: r.Host.Arch, Cores: r.Host.Cores, MemoryBytes: Int64(r.Host.MemoryBytes),
		Model: r.Host.Model, Load1: r.Host.Load1, Provider: r.Host.Provider, Location: r.Host.Location, Version: r.Version, Instances: []HostInstance{},
		Supervision: r.Supervision}
	if h.Supervision == "" {
		h.Supervision = agent.SupervisionChild
	}
	if !r.ReceivedAt.IsZero() {
		h.LastReport = ptr(r.ReceivedAt)
	}
	if r.Disk != nil {
		h.Disk = &HostDisk{Free: Int64(r.Disk.FreeBytes), Total: Int64(r.Disk.TotalBytes)}
	}
	for _, in := range r.Instances {
		role := engine.RoleUnknown
		if in.Observation != nil {
			role = in.Observation.Role
		}
		h.Instances = append(h.Instances, HostInstance{Cluster: in.Cluster, Node: in.Node, Role: roleWord(in.Engine, role)})
	}
	return h
}

func (s *Server) getHosts(context.Context, *none) (*body[HostList], error) {
	return &body[HostList]{HostList{Hosts: s.hosts()}}, nil
}

func (s *Server) postHostToken(ctx context.Context, in *hostTokenInput) (*status[ControlToken], error) {
	if n := in.Body.Name; n != "" && !inventory.ValidName(n) {
		return nil, &Problem{Title: "The name is not valid", Status: 422, Code: CodeBadRequest, Detail: inventory.ErrName.Error()}
	}
	token, expires, err := s.Control.AgentToken()
	if err != nil {
		return nil, s.internal(ctx, "make a join token", err)
	}
	command := "baton agent --join " + token
	if in.Body.Name != "" {
		command += " --name " + in.Body.Name
	}
	s.recordDone(ctx, strings.TrimSpace("made a join token for a host "+in.Body.Name))
	return &status[ControlToken]{201, ControlToken{Token: token, ExpiresAt: expires, Command: command}}, nil
}

func (s *Server) deleteHost(ctx context.Context, in *hostInput) (*body[HostList], error) {
	what := "tried to remove host " + printable(in.ID)
	for _, h := range s.hosts() {
		if h.ID != in.ID && h.Name != in.ID {
			continue
		}
		if n := len(h.Instances); n > 0 {
			i := h.Instances[0]
			return nil, s.refuse(ctx, "", "", what, &Problem{Title: "The host has databases", Status: 409, Code: CodeRefused,
				Detail: fmt.Sprintf("%s runs %d, the first is node %s of cluster %s", h.Name, n, i.Node, i.Cluster), Fix: "remove these nodes from their clusters first"})
		}
		if err := s.Machines.RemoveHost(h.ID); err != nil {
			return nil, s.internal(ctx, "record that the host is removed", err)
		}
		s.forgetHost(h.ID)
		s.recordDone(ctx, fmt.Sprintf("removed host %s (agent %s); its certificate is revoked", h.Name, h.ID))
		return &body[HostList]{HostList{Hosts: s.hosts()}}, nil
	}
	return nil, s.refuse(ctx, "", "", what, &Problem{Title: "No such host", Status: 404, Code: CodeNotFound, Detail: "there is no host " + printable(in.ID), Fix: "baton hosts lists them"})
}

// forgetHost drops what is shown of a removed host and ends its link.
func (s *Server) forgetHost(id string) {
	if s.Links != nil {
		s.Links.Cut(id)
	}
	if s.Mirror != nil {
		s.Mirror.Forget(id)
	}
}

func (s *Server) getProviders(context.Context, *none) (*body[ProviderList], error) {
	return &body[ProviderList]{ProviderList{Providers: s.providers()}}, nil
}

func (s *Server) providers() []Provider {
	view := func(p provider.Provider, usable bool) Provider {
		a := p.About()
		return Provider{Name: a.Name, Title: a.Title, Usable: usable, Why: a.Does, CanMake: a.CanMake, CanReach: a.CanReach}
	}
	out := []Provider{view(provider.LocalMachines{}, true), view(provider.Shell{}, s.Installer != nil), view(&provider.Hetzner{}, false)}
	last := &out[len(out)-1]
	switch {
	case s.Provisioner == nil:
		last.Why = "not available on this control node"
	case len(s.Provisioner.Accounts()) == 0:
		last.Why = "no account yet: baton hosts provider add NAME"
	default:
		last.Usable = true
	}
	return out
}
