package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"baton/control/access"
	"baton/control/journal"
	"baton/control/provider"
	"baton/control/provider/hetznertest"
	"baton/control/provider/machines"
	"baton/platform/auth"
	"baton/platform/seal"
)

func admin(r *http.Request) { r.Header.Set("Authorization", "Bearer admin-token") }

// fakeControl makes tokens, keeps a list of hosts and cuts links.
type fakeControl struct {
	ControlPlane
	mu    sync.Mutex
	hosts []access.Host
	cut   []string
}

func (f *fakeControl) AgentToken() (string, time.Time, error) {
	return "join-secret", time.Now().Add(time.Minute), nil
}

func (f *fakeControl) Hosts() []access.Host {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]access.Host{}, f.hosts...)
}

func (f *fakeControl) RemoveHost(id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, h := range f.hosts {
		if h.Agent == id {
			f.hosts = append(f.hosts[:i], f.hosts[i+1:]...)
			return nil
		}
	}
	return access.ErrNoHost
}

func (f *fakeControl) Cut(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cut = append(f.cut, id)
}

func (f *fakeControl) join(id, name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hosts = append(f.hosts, access.Host{Agent: id, Name: name, At: time.Now()})
}

// fakeInstaller stands for machines reached over SSH.
type fakeInstaller struct{}

func (fakeInstaller) HostKey(_ context.Context, t provider.SSHTarget) (string, string, error) {
	if t.Address == "nowhere.example" {
		return "", "", errors.New("reach nowhere.example:22: no route")
	}
	return "SHA256:theKey", "ssh-ed25519", nil
}

func (fakeInstaller) Install(_ context.Context, t provider.SSHTarget, in provider.SSHInstall, tell provider.Progress) error {
	tell("connect", t.Address)
	if in.Token != "join-secret" || t.Password == "wrong" {
		return errors.New("it does not let us in")
	}
	tell("start", "detached")
	return nil
}

// hostSite is a site with machines.
type hostSite struct {
	*site
	control *fakeControl
	cloud   *hetznertest.Server
}

func newHostSite(t *testing.T) *hostSite {
	t.Helper()
	s := newSite(t)
	h := &hostSite{site: s, control: &fakeControl{}, cloud: hetznertest.Start(t)}
	box, err := seal.New([]byte(strings.Repeat("k", 32)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	store := machines.New(machines.Options{Journal: s.parts.journal, Secrets: box, Now: time.Now, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Connect: func(_, token, endpoint string) (provider.Maker, error) {
			return provider.NewHetzner(token, endpoint, "test"), nil
		},
		Token: func() (string, error) { return "join-secret", nil }, Sum: func() (string, error) { return strings.Repeat("0", 64), nil },
		Joined: func(name string, _ time.Time) (string, bool) {
			for _, x := range h.control.Hosts() {
				if x.Name == name {
					return x.Agent, true
				}
			}
			return "", false
		}, Forget: h.control.RemoveHost, Poll: 2 * time.Millisecond})
	all.Go(func() {
		_ = s.parts.journal.Follow(ctx, 0, func(r journal.Recorded) error { store.Take(r); return nil }, nil)
	})
	all.Go(func() { _ = store.Run(ctx) })
	o := s.srv.Options
	o.Machines, o.Links, o.Control, o.Installer, o.Provisioner = h.control, h.control, h.control, fakeInstaller{}, store
	o.Program = filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(o.Program, []byte("the program"), 0o755); err != nil {
		t.Fatal(err)
	}
	o.Tokens = append(append([]APIToken{}, o.Tokens...), APIToken{Name: "boss", Role: RoleAdmin, Hash: auth.HashSecret("admin-token"), Source: "cli"})
	web := httptest.NewServer(New(o))
	t.Cleanup(func() { cancel(); web.CloseClientConnections(); web.Close(); all.Wait() })
	s.url = web.URL
	return h
}

// TestHostsAreShownJoinedAndRemoved, those without databases only, by admins.
func TestHostsAreShownJoinedAndRemoved(t *testing.T) {
	s := newHostSite(t)
	s.control.join("agent-9", "spare")
	list := get[HostList](s.site, "GET", "/hosts", nil, viewer)
	if len(list.Hosts) != 2 || list.Hosts[0].Name != "host-1" || len(list.Hosts[0].Instances) != 3 || list.Hosts[0].Supervision != "child" || !list.Hosts[0].Connected {
		t.Fatalf("hosts: %+v", list.Hosts)
	}
	if spare := list.Hosts[1]; spare.ID != "agent-9" || spare.LastReport != nil || spare.Supervision != "unknown" {
		t.Errorf("a host that never reported: %+v", spare)
	}
	if tok := get[ControlToken](s.site, "POST", "/hosts/join-token", HostTokenRequest{Name: "db-7"}, admin); !strings.HasSuffix(tok.Command, "--join join-secret --name db-7") {
		t.Errorf("token: %+v", tok)
	}
	s.refused(422, CodeBadRequest, "POST", "/hosts/join-token", HostTokenRequest{Name: "Db 7"}, admin)
	s.refused(403, CodeForbidden, "POST", "/hosts/join-token", HostTokenRequest{}, operator)
	s.refused(403, CodeForbidden, "DELETE", "/hosts/agent-9", nil, operator)
	if p := s.refused(409, CodeRefused, "DELETE", "/hosts/host-1", nil, admin); !strings.Contains(p.Detail, "node a of cluster c") {
		t.Errorf("why: %s", p.Detail)
	}
	s.refused(404, CodeNotFound, "DELETE", "/hosts/nobody", nil, admin)
	if list := get[HostList](s.site, "DELETE", "/hosts/spare", nil, admin); len(list.Hosts) != 1 {
		t.Errorf("after removal: %+v", list.Hosts)
	}
	s.control.mu.Lock()
	defer s.control.mu.Unlock()
	if len(s.control.cut) != 1 || s.control.cut[0] != "agent-9" {
		t.Errorf("links cut: %v", s.control.cut)
	}
}

// TestAnAgentIsInstalledOnlyBehindAConfirmedKey.
func TestAnAgentIsInstalledOnlyBehindAConfirmedKey(t *testing.T) {
	s := newHostSite(t)
	ask := SSHRequest{Address: "db-7.example", User: "root", Password: "right", Name: "db-7"}
	if p := s.refused(409, CodeHostKey, "POST", "/hosts/ssh", ask, admin); p.HostKey != "SHA256:theKey" || !p.Retry {
		t.Errorf("shown: %+v", p)
	}
	ask.HostKey = "SHA256:anotherKey"
	s.refused(409, CodeHostKey, "POST", "/hosts/ssh", ask, admin)
	both := ask
	both.Key = "PEM"
	s.refused(422, CodeBadRequest, "POST", "/hosts/ssh", both, admin)
	away := ask
	away.Address = "nowhere.example"
	s.refused(502, CodeUnreachable, "POST", "/hosts/ssh", away, admin)
	s.refused(403, CodeForbidden, "POST", "/hosts/ssh", ask, operator)
	s.refused(404, CodeNotFound, "GET", "/hosts/tasks/install-x", nil, viewer)
	for password, want := range map[string]string{"right": "done", "wrong": "failed"} {
		ask.HostKey, ask.Password = "SHA256:theKey", password
		id := get[HostTaskAccepted](s.site, "POST", "/hosts/ssh", ask, admin).TaskID
		var task HostTask
		s.eventually("the installation ends", func() bool {
			task = get[HostTask](s.site, "GET", "/hosts/tasks/"+id, nil, viewer)
			return task.State != "running"
		})
		if task.State != want || (task.Error != "") != (want == "failed") || len(task.Steps) == 0 {
			t.Errorf("with password %s: %+v", password, task)
		}
	}
}

// TestMachinesAreMadeAndDeletedByAdmins with an account whose token nobody sees
// again, against a contract server of ours.
func TestMachinesAreMadeAndDeletedByAdmins(t *testing.T) {
	s := newHostSite(t)
	kinds := get[ProviderList](s.site, "GET", "/providers", nil, viewer)
	if len(kinds.Providers) != 3 || kinds.Providers[2].Name != "hetzner" || kinds.Providers[2].Usable || !kinds.Providers[2].CanMake || !kinds.Providers[1].CanReach {
		t.Errorf("providers: %+v", kinds.Providers)
	}
	account := ProviderAccountRequest{Name: "main", Kind: "hetzner", Token: hetznertest.Token, Endpoint: s.cloud.URL}
	bad := account
	bad.Token = "wrong"
	s.refused(422, CodeBadRequest, "POST", "/provider-accounts", bad, admin)
	bad = account
	bad.Endpoint = "http://api.example/v1"
	s.refused(422, CodeBadRequest, "POST", "/provider-accounts", bad, admin)
	s.refused(403, CodeForbidden, "POST", "/provider-accounts", account, operator)
	if res, b := s.try("POST", "/provider-accounts", account, admin); res.StatusCode != 200 || strings.Contains(string(b), hetznertest.Token) {
		t.Fatalf("account: %d %s", res.StatusCode, b)
	}
	o := get[ProviderOptions](s.site, "GET", "/provider-accounts/main/options?location=fsn1", nil, operator)
	if len(o.Locations) != 2 || len(o.Sizes) != 2 || o.Sizes[0].MonthlyPrice == "" {
		t.Errorf("options: %+v", o)
	}
	s.refused(404, CodeNotFound, "GET", "/provider-accounts/none/options", nil, operator)

	ask := MachineRequest{Account: "main", Name: "db-7", Location: "fsn1", Size: "cx22"}
	s.refused(422, CodeBadRequest, "POST", "/hosts/create", ask, admin) // this control plane is on loopback
	ask.Program = "https://control.example/api/v1/program"
	s.refused(403, CodeForbidden, "POST", "/hosts/create", ask, operator)
	taken := ask
	taken.Name = "host-1"
	s.refused(409, CodeExists, "POST", "/hosts/create", taken, admin)
	id := get[HostTaskAccepted](s.site, "POST", "/hosts/create", ask, admin).TaskID
	s.refused(409, CodeExists, "POST", "/hosts/create", ask, admin)
	machine := func(state string) (m MachineView) {
		s.eventually("the machine is "+state, func() bool {
			m = get[MachineList](s.site, "GET", "/machines", nil, viewer).Machines[0]
			return m.State == state
		})
		return m
	}
	s.control.join("agent-7", "db-7")
	if m := machine("ready"); m.Agent != "agent-7" || len(m.Steps) != 3 || m.ID != id {
		t.Errorf("made: %+v", m)
	}
	s.refused(422, CodeTypedName, "POST", "/machines/"+id+"/delete", MachineDeletion{TypedName: "db-8"}, admin)
	s.refused(404, CodeNotFound, "POST", "/machines/machine-none/delete", MachineDeletion{TypedName: "db-7"}, admin)
	s.refused(409, CodeRefused, "DELETE", "/provider-accounts/main", nil, admin)
	get[HostTaskAccepted](s.site, "POST", "/machines/"+id+"/delete", MachineDeletion{TypedName: "db-7"}, admin)
	machine("deleted")
	if s.cloud.Count() != 0 || len(s.control.Hosts()) != 0 {
		t.Errorf("%d machines are left, hosts %+v", s.cloud.Count(), s.control.Hosts())
	}
	if list := get[ProviderAccountList](s.site, "DELETE", "/provider-accounts/main", nil, admin); len(list.Accounts) != 0 {
		t.Errorf("accounts: %+v", list)
	}
	if res, b := s.try("GET", "/program", nil, nil); res.StatusCode != 200 || string(b) != "the program" {
		t.Errorf("the program: %d %s", res.StatusCode, b)
	}
}
