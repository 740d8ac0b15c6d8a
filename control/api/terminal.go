package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"baton/control/agent"
	"baton/control/audit"
	"baton/control/engine"
	"baton/control/terminal"
)

// CodeTicket refuses a ticket that was used, is too old or somebody else's.
const CodeTicket = "ticket"

// TicketRequest asks for a one-use ticket that opens a terminal.
type TicketRequest struct {
	Cluster string `json:"cluster" minLength:"1" maxLength:"63"`
	Node    string `json:"node" minLength:"1" maxLength:"63"`
	Kind    string `json:"kind" enum:"engine,admin,os" doc:"the engine's shell, the same with commands that change the server (admin), a shell of the host (admin)"`
	Write   bool   `json:"write,omitempty" doc:"engine: commands may change data"`
	// TypedName is needed for everything but reading on a primary.
	TypedName string `json:"typedName,omitempty" maxLength:"63"`
	Reason    string `json:"reason,omitempty" maxLength:"500"`
	Columns   int    `json:"columns,omitempty" minimum:"2" maximum:"1000" default:"80"`
	Rows      int    `json:"rows,omitempty" minimum:"1" maximum:"1000" default:"24"`
}

// Ticket opens one terminal, once: GET /terminal?ticket= as a WebSocket.
type Ticket struct {
	Ticket      string    `json:"ticket"`
	ExpiresAt   time.Time `json:"expiresAt"`
	IdleSeconds int       `json:"idleSeconds" doc:"without a key pressed it ends"`
}

// TerminalSession is one terminal, open or ended.
type TerminalSession struct {
	ID       string     `json:"id"`
	Cluster  string     `json:"cluster"`
	Node     string     `json:"node"`
	Kind     string     `json:"kind" enum:"engine,admin,os"`
	Write    bool       `json:"write" doc:"it may change something; for one that ended, it might at its end"`
	Who      string     `json:"who"`
	Reason   string     `json:"reason"`
	Host     string     `json:"host"`
	User     string     `json:"user" doc:"an OS shell runs as"`
	BeganAt  time.Time  `json:"beganAt"`
	EndedAt  *time.Time `json:"endedAt" doc:"null while it is open"`
	Why      string     `json:"why" doc:"why it ended"`
	Commands int        `json:"commands" doc:"typed; lines, of an OS shell"`
	Changes  int        `json:"changes" doc:"carried out that may have changed something"`
	Refused  int        `json:"refused"`
	Bytes    int64      `json:"bytes" doc:"of the recording, once it ended"`
	Yours    bool       `json:"yours"`
	MayRead  bool       `json:"mayRead" doc:"you may see its recording"`
	MayEnd   bool       `json:"mayEnd" doc:"it is open and you may end it"`
}

// TerminalSessions is the answer of GET /terminal/sessions, newest first.
type TerminalSessions struct {
	Sessions []TerminalSession `json:"sessions"`
}

// TerminalSettings hold for all terminals.
type TerminalSettings struct {
	IdleMinutes int  `json:"idleMinutes" minimum:"1" maximum:"480"`
	OSAllowed   bool `json:"osAllowed" doc:"shells of hosts may be opened; a host's agent can forbid them too"`
	KeepDays    int  `json:"keepDays" minimum:"1" maximum:"3650" doc:"recordings are kept so long, at most 1 GiB of them"`
}

// EndTerminal ends an open terminal.
type EndTerminal struct {
	Reason string `json:"reason,omitempty" maxLength:"500"`
}

type (
	ticketInput   struct{ Body TicketRequest }
	sessionsInput struct {
		Cluster string `query:"cluster" maxLength:"63"`
		Limit   int    `query:"limit" minimum:"1" maximum:"500" default:"100"`
	}
	endTerminalInput struct {
		ID   string `path:"id" maxLength:"63"`
		Body EndTerminal
	}
	terminalSettingsInput struct{ Body TerminalSettings }
)

func (s *Server) terminalRoutes() {
	add(s, "terminal-sessions", "GET", "/terminal/sessions", "Terminals that are open, and those before", s.getTerminalSessions)
	add(s, "terminal-ticket", "POST", "/terminal/tickets", "A one-use ticket for a terminal on a node", s.postTicket)
	add(s, "terminal-end", "POST", "/terminal/sessions/{id}/end", "End a terminal", s.postEndTerminal)
	add(s, "terminal-settings", "GET", "/terminal/settings", "Limits of terminals", s.getTerminalSettings)
	add(s, "terminal-settings-put", "PUT", "/terminal/settings", "Change the limits of terminals", s.putTerminalSettings)
	str := &huma.Schema{Type: huma.TypeString}
	s.huma.OpenAPI().AddOperation(&huma.Operation{OperationID: "terminal", Method: "GET", Path: Prefix + "/terminal", Summary: "The terminal of a ticket (WebSocket)",
		Description: "Subprotocol " + terminalProtocol + ". Binary messages are what is typed, and what is shown. Text messages are JSON: from the server `{type: hello|mode|warning|end, role, level, text, ...}`; " +
			"to it `{type: \"size\", columns, rows}`, `{type: \"shown\", bytes}` for output that was shown (without it output stops after 128 KiB), `{type: \"write\", typedName}`, `{type: \"read-only\"}`.",
		Parameters: []*huma.Param{{Name: "ticket", In: "query", Required: true, Schema: str}},
		Responses:  map[string]*huma.Response{"101": {Description: "a terminal"}}})
	s.mux.HandleFunc("GET "+Prefix+"/terminal", s.getTerminal)
	s.huma.OpenAPI().AddOperation(&huma.Operation{OperationID: "terminal-recording", Method: "GET", Path: Prefix + "/terminal/recordings/{id}", Summary: "What a terminal showed (asciicast v2)",
		Parameters: []*huma.Param{{Name: "id", In: "path", Required: true, Schema: str}},
		Responses:  map[string]*huma.Response{"200": {Description: "one JSON value a line", Content: map[string]*huma.MediaType{"application/x-asciicast": {Schema: str}}}}})
	s.mux.HandleFunc("GET "+Prefix+"/terminal/recordings/{id}", s.getRecording)
}

// nodeRole is a node's role as it is seen now; ok is false for a node that does
// not exist.
func (s *Server) nodeRole(cluster, node string) (role terminal.NodeRole, eng string, ok bool) {
	c, known := s.Inventory.Cluster(cluster)
	if !known {
		return terminal.NodeRole{}, "", false
	}
	role = terminal.NodeRole{Role: engine.RoleUnknown, Word: string(engine.RoleUnknown)}
	_, ok = c.Member(node)
	if snap, seen := s.Monitor.Snapshot(cluster); seen {
		for i := range snap.Nodes {
			if n := &snap.Nodes[i]; n.Name == node {
				ok = true
				if n.Up() {
					role = terminal.NodeRole{Role: n.Role(), Word: roleWord(c.Engine, n.Role())}
				}
			}
		}
	}
	return role, c.Engine, ok
}

// NodeRole is what terminals follow.
func (s *Server) NodeRole(cluster, node string) terminal.NodeRole {
	r, _, _ := s.nodeRole(cluster, node)
	if r.Role == "" {
		r = terminal.NodeRole{Role: engine.RoleUnknown, Word: string(engine.RoleUnknown)}
	}
	return r
}

var terminalWords = map[string]string{agent.TerminalEngine: "a terminal", agent.TerminalAdmin: "an admin's terminal", agent.TerminalOS: "an OS shell"}

func (s *Server) postTicket(ctx context.Context, in *ticketInput) (*status[Ticket], error) {
	if s.Terminals == nil {
		return nil, missing("terminals")
	}
	r, p := in.Body, who(ctx)
	role, eng, ok := s.nodeRole(r.Cluster, r.Node)
	if !ok {
		if _, known := s.Inventory.Cluster(r.Cluster); !known {
			return nil, s.refuse(ctx, audit.System, "", "tried to open a terminal", notFoundCluster(r.Cluster))
		}
		return nil, s.refuse(ctx, r.Cluster, r.Node, "tried to open a terminal", &Problem{Title: "No such node", Status: 404, Code: CodeUnknownNode,
			Detail: fmt.Sprintf("%s has no node %q", r.Cluster, r.Node), Fix: "baton nodes " + r.Cluster + " lists them"})
	}
	refuse := func(p *Problem) error {
		return s.refuse(ctx, r.Cluster, r.Node, "tried to open "+terminalWords[r.Kind]+" on "+printable(r.Node), p)
	}
	switch {
	case r.Kind != agent.TerminalEngine && !p.role.may(RoleAdmin):
		return nil, refuse(&Problem{Title: "Not allowed", Status: 403, Code: CodeForbidden, Detail: fmt.Sprintf("this needs the role %s; you are %s", RoleAdmin, p.role), Fix: "ask an admin, or open the engine's shell"})
	case eng == engine.EventStore && (r.Write || r.Kind == agent.TerminalAdmin):
		return nil, refuse(&Problem{Title: "This engine's shell only reads", Status: 422, Code: CodeBadRequest, Detail: "the event store is written to by its clients", Fix: "open the shell without the permission to write"})
	case r.Kind == agent.TerminalOS && s.Terminals.Settings().NoOS:
		return nil, refuse(&Problem{Title: "OS shells are switched off", Status: 409, Code: CodeRefused, Detail: "the settings of terminals do not allow them", Fix: "an admin can allow them: baton terminal settings --os=true"})
	case role.Role == engine.RolePrimary && (r.Write || r.Kind != agent.TerminalEngine) && r.TypedName != r.Node:
		return nil, refuse(&Problem{Title: "The typed name does not match", Status: 422, Code: CodeTypedName, Detail: r.Node + " is the " + role.Word + ": opening it for more than reading needs its name typed", Fix: "type " + r.Node})
	}
	secret, expires, err := s.Terminals.Issue(terminal.Request{Cluster: r.Cluster, Node: r.Node, Engine: eng, Kind: r.Kind, Write: r.Write, Reason: strings.TrimSpace(r.Reason),
		Columns: r.Columns, Rows: r.Rows, Who: p.Who})
	if err != nil {
		return nil, refuse(terminalProblem(err))
	}
	return &status[Ticket]{http.StatusCreated, Ticket{Ticket: secret, ExpiresAt: expires, IdleSeconds: s.Terminals.Settings().IdleMinutes * 60}}, nil
}

// terminalProblem translates a refusal of a terminal.
func terminalProblem(err error) *Problem {
	var ae *engine.ActionError
	switch {
	case errors.Is(err, terminal.ErrTicket):
		return &Problem{Title: "The ticket is not valid", Status: 403, Code: CodeTicket, Detail: err.Error(), Fix: "open the terminal anew"}
	case errors.Is(err, terminal.ErrMany):
		return &Problem{Title: "Too many terminals are open", Status: 429, Code: CodeTooMany, Detail: fmt.Sprintf("at most %d of one person, %d of all", terminal.MaxOfPerson, terminal.MaxLive),
			Fix: "end one: baton terminal sessions", Retry: true}
	case errors.Is(err, agent.ErrNotConnected):
		return &Problem{Title: "The node's agent is not connected", Status: 503, Code: CodeUnavailable, Detail: "a terminal is carried by the agent on the node's host", Fix: "see Hosts, or baton hosts", Retry: true}
	case errors.As(err, &ae):
		return &Problem{Title: "The host's agent refused", Status: 409, Code: CodeRefused, Detail: ae.Detail, Fix: ae.Fix}
	}
	return &Problem{Title: "The terminal could not be opened", Status: 500, Code: CodeInternal, Detail: "see the control plane's log", Retry: true}
}

// mayRead tells whether somebody may see a session's recording: auditors, and
// whoever typed it.
func (p *principal) mayRead(t *terminal.Session) bool {
	return p.role.may(RoleAuditor) || p.Name == t.Who && p.role.may(RoleOperator)
}

func (p *principal) mayEnd(t *terminal.Session) bool {
	return p.role.may(RoleAdmin) || p.Name == t.Who
}

func (s *Server) getTerminalSessions(ctx context.Context, in *sessionsInput) (*body[TerminalSessions], error) {
	if s.Terminals == nil {
		return nil, missing("terminals")
	}
	p := who(ctx)
	out := TerminalSessions{Sessions: []TerminalSession{}}
	for _, t := range s.Terminals.Sessions(in.Cluster, in.Limit) {
		v := TerminalSession{ID: t.ID, Cluster: t.Cluster, Node: t.Node, Kind: t.Kind, Write: t.Write, Who: t.Who, Reason: t.Reason, Host: t.Host, User: t.User,
			BeganAt: t.Begin, Why: t.Why, Commands: t.Commands, Changes: t.Changes, Refused: t.Refused, Bytes: t.Bytes, Yours: t.Who == p.Name,
			MayRead: p.mayRead(&t), MayEnd: t.Live() && p.mayEnd(&t)}
		if !t.Live() {
			v.EndedAt = ptr(t.End)
		}
		out.Sessions = append(out.Sessions, v)
	}
	return &body[TerminalSessions]{out}, nil
}

func noTerminal(id string) *Problem {
	return &Problem{Title: "No such terminal", Status: 404, Code: CodeNotFound, Detail: "there is no terminal " + printable(id), Fix: "baton terminal sessions lists them"}
}

func (s *Server) postEndTerminal(ctx context.Context, in *endTerminalInput) (*body[TerminalSession], error) {
	if s.Terminals == nil {
		return nil, missing("terminals")
	}
	p := who(ctx)
	t, ok := s.Terminals.Session(in.ID)
	if !ok {
		return nil, noTerminal(in.ID)
	}
	what := fmt.Sprintf("tried to end a terminal of %s on %s", t.Who, t.Node)
	if !p.mayEnd(&t) {
		return nil, s.refuse(ctx, t.Cluster, t.Node, what, &Problem{Title: "Not allowed", Status: 403, Code: CodeForbidden, Detail: "it is not yours, and you are no admin", Fix: "ask an admin"})
	}
	if err := s.Terminals.EndSession(t.ID, p.Name, strings.TrimSpace(in.Body.Reason)); err != nil {
		return nil, s.refuse(ctx, t.Cluster, t.Node, what, &Problem{Title: "It is not open", Status: 409, Code: CodeTooLate, Detail: "this terminal has ended", Fix: "baton terminal sessions lists those that are open"})
	}
	s.record(ctx, audit.Record{Cluster: t.Cluster, Node: t.Node, What: fmt.Sprintf("ended a terminal of %s on %s", t.Who, t.Node), Outcome: audit.Done, Detail: in.Body.Reason, Kind: "terminal"})
	return &body[TerminalSession]{TerminalSession{ID: t.ID, Cluster: t.Cluster, Node: t.Node, Kind: t.Kind, Who: t.Who, BeganAt: t.Begin, Yours: t.Who == p.Name}}, nil
}

func (s *Server) settingsOfTerminals() TerminalSettings {
	v := s.Terminals.Settings()
	return TerminalSettings{IdleMinutes: v.IdleMinutes, OSAllowed: !v.NoOS, KeepDays: v.KeepDays}
}

func (s *Server) getTerminalSettings(context.Context, *none) (*body[TerminalSettings], error) {
	if s.Terminals == nil {
		return nil, missing("terminals")
	}
	return &body[TerminalSettings]{s.settingsOfTerminals()}, nil
}

func (s *Server) putTerminalSettings(ctx context.Context, in *terminalSettingsInput) (*body[TerminalSettings], error) {
	if s.Terminals == nil {
		return nil, missing("terminals")
	}
	v := in.Body
	if err := s.Terminals.PutSettings(ctx, terminal.Settings{IdleMinutes: v.IdleMinutes, NoOS: !v.OSAllowed, KeepDays: v.KeepDays}, who(ctx).Name); err != nil {
		return nil, s.internal(ctx, "change the settings of terminals", err)
	}
	allowed := "allowed"
	if !v.OSAllowed {
		allowed = "not allowed"
	}
	s.record(ctx, audit.Record{Cluster: audit.System, What: fmt.Sprintf("set terminals to end after %d idle minutes, recordings to be kept %d days, OS shells to be %s", v.IdleMinutes, v.KeepDays, allowed),
		Outcome: audit.Done, Kind: "terminal"})
	return &body[TerminalSettings]{s.settingsOfTerminals()}, nil
}

// getRecording answers with a recording, also one another control node has.
func (s *Server) getRecording(w http.ResponseWriter, r *http.Request) {
	if s.Terminals == nil {
		write(w, missing("terminals"))
		return
	}
	p := who(r.Context())
	t, ok := s.Terminals.Session(r.PathValue("id"))
	if !ok {
		write(w, noTerminal(r.PathValue("id")))
		return
	}
	if !p.mayRead(&t) {
		write(w, &Problem{Title: "Not allowed", Status: 403, Code: CodeForbidden, Detail: "it is not yours; others' recordings need the role auditor or admin", Fix: "ask an auditor"})
		return
	}
	body, err := s.recording(r.Context(), &t)
	if err != nil {
		write(w, &Problem{Title: "The recording cannot be read now", Status: 404, Code: CodeNotFound, Detail: err.Error(), Fix: "recordings are kept on the control node that carried the terminal (" + t.Control + "), for the days the settings say"})
		return
	}
	defer body.Close()
	if t.Who != p.Name {
		s.record(r.Context(), audit.Record{Cluster: t.Cluster, Node: t.Node, What: fmt.Sprintf("read the recording of a terminal of %s on %s", t.Who, t.Node), Outcome: audit.Done, Detail: t.ID, Kind: "terminal"})
	}
	w.Header().Set("Content-Type", "application/x-asciicast")
	w.Header().Set("Content-Disposition", `attachment; filename="`+t.ID+`.cast"`)
	if _, err := io.Copy(w, body); err != nil {
		s.Log.Debug("a recording was not sent to its end", "session", t.ID, "err", err)
	}
}

func (s *Server) recording(ctx context.Context, t *terminal.Session) (io.ReadCloser, error) {
	f, err := s.Terminals.Recording(t.ID)
	if err == nil {
		return f, nil
	}
	if s.Leadership == nil || s.Peers == nil || !errors.Is(err, terminal.ErrNoRecording) {
		return nil, err
	}
	for _, n := range s.Leadership.Status().Nodes {
		if n.Name != t.Control || n.Self || n.Agents == "" {
			continue
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+n.Agents+"/peer/recordings/"+url.PathEscape(t.ID), nil)
		if err != nil {
			return nil, err
		}
		res, err := s.Peers.RoundTrip(req)
		if err != nil {
			return nil, fmt.Errorf("control node %s, which has it, does not answer: %w", n.Name, err)
		}
		if res.StatusCode != http.StatusOK {
			res.Body.Close()
			return nil, terminal.ErrNoRecording
		}
		return res.Body, nil
	}
	return nil, err
}

// peerRecording answers another control node.
func (s *Server) peerRecording(w http.ResponseWriter, r *http.Request) {
	if s.Terminals == nil {
		http.Error(w, "no recordings are kept here", http.StatusNotFound)
		return
	}
	f, err := s.Terminals.Recording(r.PathValue("id"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	defer f.Close()      // the link to the other control node is encrypted
	_, _ = io.Copy(w, f) // the peer went away
}
