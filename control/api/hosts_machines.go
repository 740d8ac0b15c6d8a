package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"baton/control/audit"
	"baton/control/inventory"
	"baton/control/provider"
	"baton/control/provider/machines"
)

// ProviderAccount is access to a provider that makes machines. Its token is
// never shown.
type ProviderAccount struct {
	Name     string    `json:"name"`
	Kind     string    `json:"kind"`
	Endpoint string    `json:"endpoint" doc:"empty: the provider's own"`
	By       string    `json:"by"`
	At       time.Time `json:"at"`
}

// ProviderAccountList is sorted by name.
type ProviderAccountList struct {
	Accounts []ProviderAccount `json:"accounts"`
}

// ProviderAccountRequest keeps access to a provider, after it was tried.
type ProviderAccountRequest struct {
	Name     string `json:"name" minLength:"1" maxLength:"63"`
	Kind     string `json:"kind" enum:"hetzner"`
	Token    string `json:"token" minLength:"1" maxLength:"512" doc:"of the provider's API, with the right to write; kept sealed"`
	Endpoint string `json:"endpoint,omitempty" maxLength:"200"`
}

// ProviderOptions are what an account can make.
type ProviderOptions struct {
	Locations []ProviderPlace `json:"locations"`
	Sizes     []ProviderSize  `json:"sizes" doc:"cheapest first"`
}

// ProviderPlace is where machines can stand.
type ProviderPlace struct {
	Name    string `json:"name"`
	Title   string `json:"title"`
	Country string `json:"country"`
}

// ProviderSize is a kind of machine.
type ProviderSize struct {
	Name         string `json:"name"`
	Title        string `json:"title"`
	Arch         string `json:"arch"`
	Cores        int    `json:"cores"`
	MemoryBytes  Int64  `json:"memoryBytes"`
	DiskBytes    Int64  `json:"diskBytes"`
	MonthlyPrice string `json:"monthlyPrice" doc:"gross, with its currency; empty when not known"`
}

// MachineRequest asks for a machine that joins by itself.
type MachineRequest struct {
	Account  string `json:"account" minLength:"1" maxLength:"63"`
	Name     string `json:"name" minLength:"1" maxLength:"63"`
	Location string `json:"location" minLength:"1" maxLength:"63"`
	Size     string `json:"size" minLength:"1" maxLength:"63"`
	Image    string `json:"image,omitempty" maxLength:"63"`
	Program  string `json:"program,omitempty" maxLength:"300" doc:"URL the machine fetches this program from; by default this control plane"`
}

// MachineView is a machine that was asked for.
type MachineView struct {
	ID         string        `json:"id"`
	Account    string        `json:"account"`
	Name       string        `json:"name"`
	Location   string        `json:"location"`
	Size       string        `json:"size"`
	State      string        `json:"state" enum:"making,ready,failed,deleting,deleted"`
	Why        string        `json:"why"`
	ProviderID string        `json:"providerId"`
	Address    string        `json:"address"`
	Agent      string        `json:"agent" doc:"that joined from it, else empty"`
	By         string        `json:"by"`
	At         time.Time     `json:"at"`
	Steps      []MachineStep `json:"steps"`
	EndedAt    *time.Time    `json:"endedAt"`
}

// TransformSchema documents which references may be null.
func (MachineView) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	return nullable(s, "endedAt")
}

// MachineStep is one step of a machine's making.
type MachineStep struct {
	Step   string    `json:"step" enum:"make,boot,join"`
	Detail string    `json:"detail"`
	At     time.Time `json:"at"`
}

// MachineList is newest first.
type MachineList struct {
	Machines []MachineView `json:"machines"`
}

// MachineDeletion deletes a machine and its disk at the provider.
type MachineDeletion struct {
	TypedName string `json:"typedName" maxLength:"63" doc:"the machine's name, typed by a person"`
}

type (
	accountInput struct{ Body ProviderAccountRequest }
	accountNamed struct {
		Name string `path:"name" maxLength:"63"`
	}
	optionsInput struct {
		Name     string `path:"name" maxLength:"63"`
		Location string `query:"location" maxLength:"63"`
	}
	machineInput    struct{ Body MachineRequest }
	machineDeletion struct {
		ID   string `path:"id" maxLength:"63"`
		Body MachineDeletion
	}
)

func (s *Server) machineRoutes() {
	add(s, "provider-accounts", "GET", "/provider-accounts", "Access to providers that make machines", s.getAccounts)
	add(s, "put-provider-account", "POST", "/provider-accounts", "Keep access to a provider, after it was tried", s.postAccount)
	add(s, "delete-provider-account", "DELETE", "/provider-accounts/{name}", "Forget access to a provider", s.deleteAccount)
	add(s, "provider-options", "GET", "/provider-accounts/{name}/options", "Locations and sizes a machine can be made of", s.getOptions)
	add(s, "machines", "GET", "/machines", "Machines that were asked for", s.getMachines)
	accepted(s, "host-create", "/hosts/create", "Make a machine at a provider; its agent joins by itself", s.postMachine)
	accepted(s, "machine-delete", "/machines/{id}/delete", "Delete a machine without databases at its provider", s.postMachineDelete)
	s.mux.HandleFunc("GET "+Prefix+"/program", s.getProgram)
}

func (s *Server) makes() error {
	if s.Provisioner == nil {
		return missing("machines of providers")
	}
	return nil
}

// machineProblem translates refusals about machines.
func machineProblem(err error) error {
	p := func(status int, title, code, fix string, retry bool) error {
		return &Problem{Title: title, Status: status, Code: code, Detail: err.Error(), Fix: fix, Retry: retry}
	}
	switch {
	case errors.Is(err, machines.ErrNoAccount):
		return p(404, "No such account", CodeNotFound, "baton hosts provider shows them", false)
	case errors.Is(err, machines.ErrNoMachine), errors.Is(err, provider.ErrNoMachine):
		return p(404, "No such machine", CodeNotFound, "baton hosts machines shows them", false)
	case errors.Is(err, machines.ErrNameTaken):
		return p(409, "The name is taken", CodeExists, "choose another name", false)
	case errors.Is(err, machines.ErrInUse), errors.Is(err, machines.ErrNotNow):
		return p(409, "Not now", CodeRefused, "baton hosts machines shows what is there", true)
	case errors.Is(err, machines.ErrNoSecrets):
		return p(503, "Tokens could not be kept", CodeUnavailable, "start the control plane with a master key file", false)
	case errors.Is(err, provider.ErrCredentials):
		return p(422, "The provider does not take the token", CodeBadRequest, "make a token with the right to read and write in the provider's console", false)
	case errors.Is(err, provider.ErrInput):
		return p(422, "The provider does not take it", CodeBadRequest, "", false)
	}
	return p(502, "The provider does not answer as it should", CodeUnreachable, "try again", true)
}

func (s *Server) getAccounts(context.Context, *none) (*body[ProviderAccountList], error) {
	if err := s.makes(); err != nil {
		return nil, err
	}
	out := ProviderAccountList{Accounts: []ProviderAccount{}}
	for _, a := range s.Provisioner.Accounts() {
		out.Accounts = append(out.Accounts, ProviderAccount{a.Name, a.Kind, a.Endpoint, a.By, a.At})
	}
	return &body[ProviderAccountList]{out}, nil
}

func (s *Server) postAccount(ctx context.Context, in *accountInput) (*body[ProviderAccountList], error) {
	b := in.Body
	what := "tried to keep access to " + b.Kind + " as " + printable(b.Name)
	if err := s.makes(); err != nil {
		return nil, err
	}
	if !inventory.ValidName(b.Name) {
		return nil, s.refuse(ctx, audit.System, "", what, &Problem{Title: "The name is not valid", Status: 422, Code: CodeBadRequest, Detail: inventory.ErrName.Error()})
	}
	if b.Endpoint != "" {
		if u, err := url.Parse(b.Endpoint); err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && !loopbackHost(u.Hostname()) {
			return nil, s.refuse(ctx, audit.System, "", what, &Problem{Title: "The endpoint is not valid", Status: 422, Code: CodeBadRequest, Detail: "it is not an https URL, and the token would travel in clear", Fix: "leave it out for the provider's own"})
		}
	}
	if err := s.Provisioner.PutAccount(ctx, machines.Account{Name: b.Name, Kind: b.Kind, Endpoint: b.Endpoint, By: who(ctx).Name}, b.Token); err != nil {
		return nil, s.refuse(ctx, audit.System, "", what, machineProblem(err))
	}
	s.recordDone(ctx, "keeps access to "+b.Kind+" as "+b.Name)
	return s.getAccounts(ctx, nil)
}

func loopbackHost(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (s *Server) deleteAccount(ctx context.Context, in *accountNamed) (*body[ProviderAccountList], error) {
	if err := s.makes(); err != nil {
		return nil, err
	}
	if err := s.Provisioner.RemoveAccount(ctx, in.Name, who(ctx).Name); err != nil {
		return nil, s.refuse(ctx, audit.System, "", "tried to forget access to provider account "+printable(in.Name), machineProblem(err))
	}
	s.recordDone(ctx, "forgot access to provider account "+in.Name)
	return s.getAccounts(ctx, nil)
}

func (s *Server) getOptions(ctx context.Context, in *optionsInput) (*body[ProviderOptions], error) {
	if err := s.makes(); err != nil {
		return nil, err
	}
	p, err := s.Provisioner.Provider(in.Name)
	if err != nil {
		return nil, machineProblem(err)
	}
	places, err := p.Locations(ctx)
	if err != nil {
		return nil, machineProblem(err)
	}
	sizes, err := p.Sizes(ctx, in.Location)
	if err != nil {
		return nil, machineProblem(err)
	}
	out := ProviderOptions{Locations: []ProviderPlace{}, Sizes: []ProviderSize{}}
	for _, x := range places {
		out.Locations = append(out.Locations, ProviderPlace{x.Name, x.Title, x.Country})
	}
	for _, x := range sizes {
		out.Sizes = append(out.Sizes, ProviderSize{x.Name, x.Title, x.Arch, x.Cores, Int64(x.MemoryBytes), Int64(x.DiskBytes), x.MonthlyPrice})
	}
	return &body[ProviderOptions]{out}, nil
}

func (s *Server) machineList() MachineList {
	out := MachineList{Machines: []MachineView{}}
	for _, m := range s.Provisioner.Machines() {
		v := MachineView{ID: m.ID, Account: m.Account, Name: m.Wish.Name, Location: m.Location, Size: m.Size, State: m.State, Why: m.Why, ProviderID: m.ProviderID,
			Address: m.Address, Agent: m.Agent, By: m.By, At: m.At, Steps: []MachineStep{}}
		for _, st := range m.Steps {
			v.Steps = append(v.Steps, MachineStep{st.Step, st.Detail, st.At})
		}
		if !m.EndedAt.IsZero() {
			v.EndedAt = &m.EndedAt
		}
		out.Machines = append(out.Machines, v)
	}
	return out
}

func (s *Server) getMachines(context.Context, *none) (*body[MachineList], error) {
	if err := s.makes(); err != nil {
		return nil, err
	}
	return &body[MachineList]{s.machineList()}, nil
}

func (s *Server) postMachine(ctx context.Context, in *machineInput) (*status[HostTaskAccepted], error) {
	b := in.Body
	if err := s.makes(); err != nil {
		return nil, err
	}
	refuse := func(err error) error {
		return s.refuse(ctx, audit.System, "", "tried to make machine "+printable(b.Name)+" with account "+printable(b.Account), err)
	}
	if !inventory.ValidName(b.Name) {
		return nil, refuse(&Problem{Title: "The name is not valid", Status: 422, Code: CodeBadRequest, Detail: inventory.ErrName.Error()})
	}
	if b.Program == "" && s.URL != nil {
		if u, err := url.Parse(s.URL()); err == nil && !loopbackHost(u.Hostname()) {
			b.Program = s.URL() + Prefix + "/program"
		}
	}
	if b.Program == "" {
		return nil, refuse(&Problem{Title: "The machine could not fetch the agent", Status: 422, Code: CodeBadRequest, Detail: "this control plane is reachable from its own machine only",
			Fix: "give program: a URL the new machine can reach that serves this very program; its checksum is compared there"})
	}
	for _, h := range s.hosts() {
		if h.Name == b.Name {
			return nil, refuse(machineProblem(machines.ErrNameTaken))
		}
	}
	id, err := s.Provisioner.Make(ctx, machines.Wish{Account: b.Account, Name: b.Name, Location: b.Location, Size: b.Size, Image: b.Image, Program: b.Program, By: who(ctx).Name})
	if err != nil {
		return nil, refuse(machineProblem(err))
	}
	s.recordDone(ctx, fmt.Sprintf("began to make machine %s (%s in %s) with account %s", b.Name, printable(b.Size), printable(b.Location), b.Account))
	return &status[HostTaskAccepted]{http.StatusAccepted, HostTaskAccepted{TaskID: id}}, nil
}

func (s *Server) postMachineDelete(ctx context.Context, in *machineDeletion) (*status[HostTaskAccepted], error) {
	if err := s.makes(); err != nil {
		return nil, err
	}
	refuse := func(err error) error {
		return s.refuse(ctx, audit.System, "", "tried to delete machine "+printable(in.ID), err)
	}
	m, ok := s.Provisioner.Machine(in.ID)
	if !ok {
		return nil, refuse(machineProblem(machines.ErrNoMachine))
	}
	if in.Body.TypedName != m.Wish.Name {
		return nil, refuse(&Problem{Title: "The typed name is not the machine's", Status: 422, Code: CodeTypedName, Detail: "the machine and its disk are gone for good afterwards", Fix: "type " + m.Wish.Name})
	}
	for _, h := range s.hosts() {
		if n := len(h.Instances); n > 0 && (h.ID == m.Agent || h.Name == m.Wish.Name) {
			i := h.Instances[0]
			return nil, refuse(&Problem{Title: "The machine has databases", Status: 409, Code: CodeRefused,
				Detail: fmt.Sprintf("%s runs %d, the first is node %s of cluster %s", h.Name, n, i.Node, i.Cluster), Fix: "remove these nodes from their clusters first"})
		}
	}
	if err := s.Provisioner.Delete(ctx, in.ID, who(ctx).Name); err != nil {
		return nil, refuse(machineProblem(err))
	}
	s.recordDone(ctx, fmt.Sprintf("began to delete machine %s (%s of account %s)", m.Wish.Name, m.ProviderID, m.Account))
	return &status[HostTaskAccepted]{http.StatusAccepted, HostTaskAccepted{TaskID: in.ID}}, nil
}

// maxFetches bounds how many machines fetch the program at once.
const maxFetches = 4

// getProgram serves this very program to machines that join.
func (s *Server) getProgram(w http.ResponseWriter, r *http.Request) {
	if s.Program == "" {
		http.Error(w, "this control node serves no program", http.StatusNotFound)
		return
	}
	if s.fetches.Add(1) > maxFetches {
		s.fetches.Add(-1)
		w.Header().Set("Retry-After", "5")
		http.Error(w, "other machines fetch it now", http.StatusServiceUnavailable)
		return
	}
	defer s.fetches.Add(-1)
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeFile(w, r, s.Program)
}
