package api

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"baton/control/audit"
	"baton/control/inventory"
	"baton/control/provider"
	"baton/platform/auth"
)

// SSHRequest installs the agent on a machine over SSH. Key and password are
// used once and kept nowhere.
type SSHRequest struct {
	Address  string `json:"address" minLength:"1" maxLength:"253"`
	Port     int    `json:"port,omitempty" minimum:"1" maximum:"65535" doc:"22 by default"`
	User     string `json:"user" minLength:"1" maxLength:"63"`
	Key      string `json:"key,omitempty" maxLength:"16384" doc:"private key in PEM, without a passphrase"`
	Password string `json:"password,omitempty" maxLength:"1024"`
	HostKey  string `json:"hostKey,omitempty" maxLength:"100" doc:"the fingerprint a person confirmed; without it the answer shows the machine's"`
	Name     string `json:"name,omitempty" maxLength:"63"`
	Location string `json:"location,omitempty" maxLength:"63"`
}

// HostTask is an installation that runs or ran. It is kept in memory, on the
// node that leads.
type HostTask struct {
	ID        string     `json:"id"`
	Address   string     `json:"address"`
	State     string     `json:"state" enum:"running,done,failed"`
	Steps     []HostStep `json:"steps"`
	Error     string     `json:"error" doc:"why it failed, else empty"`
	StartedAt time.Time  `json:"startedAt"`
	EndedAt   *time.Time `json:"endedAt"`
}

// TransformSchema documents which references may be null.
func (HostTask) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	return nullable(s, "endedAt")
}

// HostStep is one step of an installation.
type HostStep struct {
	Step   string    `json:"step" enum:"connect,look,upload,join,start"`
	Detail string    `json:"detail"`
	At     time.Time `json:"at"`
}

// HostTaskAccepted answers an installation that begins.
type HostTaskAccepted struct {
	TaskID string `json:"taskId"`
}

// Installer puts agents on machines; provider.Shell is one.
type Installer interface {
	// HostKey returns the fingerprint and kind of the key a machine shows.
	HostKey(ctx context.Context, t provider.SSHTarget) (fingerprint, kind string, err error)
	// Install puts the agent there and starts it.
	Install(ctx context.Context, t provider.SSHTarget, in provider.SSHInstall, tell provider.Progress) error
}

const (
	// installTime bounds an installation, the upload included.
	installTime = 15 * time.Minute
	// maxTasks are remembered; maxInstalls run at once.
	maxTasks    = 100
	maxInstalls = 8
)

// hostTasks are the installations of this process, oldest first.
type hostTasks struct {
	mu      sync.Mutex
	all     []*HostTask
	running int
}

func (h *hostTasks) begin(address string, now time.Time) *HostTask {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.running >= maxInstalls {
		return nil
	}
	h.running++
	t := &HostTask{ID: "install-" + auth.NewSecret()[:12], Address: address, State: "running", Steps: []HostStep{}, StartedAt: now}
	h.all = append(h.all, t)
	h.all = h.all[max(0, len(h.all)-maxTasks):]
	return t
}

func (h *hostTasks) step(t *HostTask, s HostStep) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t.Steps = append(t.Steps, s)
}

func (h *hostTasks) end(t *HostTask, now time.Time, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.running--
	t.State, t.EndedAt = "done", &now
	if err != nil {
		t.State, t.Error = "failed", err.Error()
	}
}

func (h *hostTasks) get(id string) (HostTask, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.all {
		if t.ID == id {
			c := *t
			c.Steps = append([]HostStep{}, t.Steps...)
			return c, true
		}
	}
	return HostTask{}, false
}

type (
	sshInput      struct{ Body SSHRequest }
	hostTaskInput struct {
		ID string `path:"id" maxLength:"63"`
	}
)

func (s *Server) sshRoutes() {
	add(s, "host-ssh", "POST", "/hosts/ssh", "Install the agent on a machine over SSH", s.postHostSSH)
	add(s, "host-task", "GET", "/hosts/tasks/{id}", "How an installation goes", s.getHostTask)
}

func (s *Server) postHostSSH(ctx context.Context, in *sshInput) (*status[HostTaskAccepted], error) {
	b := in.Body
	what := "tried to install an agent on " + printable(b.Address) + " over SSH"
	refuse := func(p *Problem) error { return s.refuse(ctx, audit.System, "", what, p) }
	if s.Installer == nil {
		return nil, refuse(&Problem{Title: "SSH is not available here", Status: 501, Code: CodeUnavailable, Detail: "this control node was started without it", Fix: "run the join command on the machine"})
	}
	if b.Name != "" && !inventory.ValidName(b.Name) {
		return nil, refuse(&Problem{Title: "The name is not valid", Status: 422, Code: CodeBadRequest, Detail: inventory.ErrName.Error()})
	}
	if (b.Key == "") == (b.Password == "") {
		return nil, refuse(&Problem{Title: "One way in is needed", Status: 422, Code: CodeBadRequest, Detail: "give either a key or a password", Fix: "a key made for this is better"})
	}
	target := provider.SSHTarget{Address: b.Address, Port: b.Port, User: b.User, Password: b.Password, Key: []byte(b.Key), HostKey: b.HostKey}
	shown, kind, err := s.Installer.HostKey(ctx, target)
	switch {
	case err != nil:
		return nil, refuse(&Problem{Title: "The machine cannot be reached", Status: 502, Code: CodeUnreachable, Detail: err.Error(), Fix: "check address, port and firewall", Retry: true})
	case b.HostKey == "":
		return nil, refuse(&Problem{Title: "Confirm the machine's host key", Status: 409, Code: CodeHostKey, HostKey: shown, Retry: true,
			Detail: fmt.Sprintf("%s shows the %s key %s", printable(b.Address), kind, shown),
			Fix:    "compare it with ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub on the machine; if it is the same, send it as hostKey"})
	case shown != b.HostKey:
		return nil, refuse(&Problem{Title: "The machine shows another host key", Status: 409, Code: CodeHostKey, HostKey: shown,
			Detail: fmt.Sprintf("confirmed was %s, it shows %s: it is another machine, it was installed anew, or somebody is in between", printable(b.HostKey), shown),
			Fix:    "find out which before going on"})
	}
	t := s.tasks.begin(b.Address, s.Now())
	if t == nil {
		return nil, refuse(&Problem{Title: "Busy", Status: 503, Code: CodeUnavailable, Detail: fmt.Sprintf("%d installations run already", maxInstalls), Fix: "wait for one to end", Retry: true})
	}
	token, _, err := s.Control.AgentToken()
	if err != nil {
		s.tasks.end(t, s.Now(), errors.New("no join token could be made"))
		return nil, s.internal(ctx, "make a join token", err)
	}
	s.recordDone(ctx, fmt.Sprintf("began to install an agent on %s as %s over SSH (host key %s)", printable(b.Address), printable(b.User), shown))
	// The client may go away; the installation ends by itself.
	run, cancel := context.WithTimeout(context.WithoutCancel(ctx), installTime)
	go func() {
		defer cancel()
		err := s.Installer.Install(run, target, provider.SSHInstall{Token: token, Name: b.Name, Location: b.Location},
			func(step, detail string) { s.tasks.step(t, HostStep{Step: step, Detail: detail, At: s.Now()}) })
		s.tasks.end(t, s.Now(), err)
		rec := audit.Record{Cluster: audit.System, What: "installed an agent on " + printable(b.Address) + " over SSH", Outcome: audit.Done}
		if err != nil {
			rec.Outcome, rec.Detail = audit.Failed, err.Error()
		}
		s.record(run, rec)
	}()
	return &status[HostTaskAccepted]{202, HostTaskAccepted{TaskID: t.ID}}, nil
}

func (s *Server) getHostTask(_ context.Context, in *hostTaskInput) (*body[HostTask], error) {
	t, ok := s.tasks.get(in.ID)
	if !ok {
		return nil, &Problem{Title: "No such installation", Status: 404, Code: CodeNotFound, Detail: "there is no installation " + printable(in.ID) + "; it is forgotten when another control node begins to lead", Fix: "see whether the host is listed"}
	}
	return &body[HostTask]{t}, nil
}
