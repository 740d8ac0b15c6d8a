package agent

import (
	"context"
	"fmt"
	"strconv"
	"sync"

	"baton/control/engine"
	agentpb "baton/gen/agent"
)

// ActionTerminal{session,cluster,node,kind,columns,rows,role,level,roleFor}: the
// agent attaches a terminal of that session to the link. The order has neither
// Cluster nor Node: it is not fenced, because what a terminal may do is asked
// anew for each command. Values: "host", "user" (of an OS shell).
const ActionTerminal = "terminal-open"

// Kinds of terminals.
const (
	TerminalEngine = "engine" // commands of the engine
	TerminalAdmin  = "admin"  // the same with those that change the server
	TerminalOS     = "os"     // a shell of the host, as the agent's user
)

const (
	// TerminalWindow is how much output of one terminal may be on its way, in bytes.
	TerminalWindow = 128 << 10
	// terminalChunk is the most that is sent at once: what else the link carries
	// goes in between.
	terminalChunk = 8 << 10
	// maxTypeAhead bounds what was typed and not taken, in bytes.
	maxTypeAhead = 1 << 20
	// MaxTerminals bounds the terminals of one agent.
	MaxTerminals = 8
)

// TerminalMode is what the person at a terminal may do now.
type TerminalMode struct {
	Role  string              // the node's, in the engine's words
	Level engine.CommandClass // commands up to this class are carried out
	// RoleFor is the role the permission to write was given for: a node that has
	// another one by then carries nothing out. "" for reading.
	RoleFor engine.Role
	Say     string // lines to be shown now; "" none
}

// TerminalRequest asks for a terminal.
type TerminalRequest struct {
	Session       string
	Cluster, Node string
	Kind          string
	Columns, Rows int
	Mode          TerminalMode
}

// Action is the order that opens it.
func (r TerminalRequest) Action() engine.Action {
	return engine.Action{Name: ActionTerminal, Args: map[string]string{"session": r.Session, "cluster": r.Cluster, "node": r.Node, "kind": r.Kind,
		"columns": strconv.Itoa(r.Columns), "rows": strconv.Itoa(r.Rows), "role": r.Mode.Role, "level": string(r.Mode.Level), "roleFor": string(r.Mode.RoleFor)}}
}

func terminalRequest(a engine.Action) (TerminalRequest, error) {
	r := TerminalRequest{Session: a.Arg("session"), Cluster: a.Arg("cluster"), Node: a.Arg("node"), Kind: a.Arg("kind"),
		Mode: TerminalMode{Role: a.Arg("role"), Level: engine.CommandClass(a.Arg("level")), RoleFor: engine.Role(a.Arg("roleFor"))}}
	columns, err := strconv.Atoi(a.Arg("columns"))
	rows, err2 := strconv.Atoi(a.Arg("rows"))
	if err != nil || err2 != nil || !sizeFits(columns, rows) || r.Session == "" {
		return r, badArg("terminal-open: session, columns or rows is missing or out of range")
	}
	r.Columns, r.Rows = columns, rows
	return r, nil
}

func sizeFits(columns, rows int) bool {
	return columns >= 2 && columns <= 1000 && rows >= 1 && rows <= 1000
}

// terminals are those of this agent.
type terminals struct {
	mu   sync.Mutex
	ctx  context.Context            // of the link
	api  agentpb.TerminalLinkClient // nil while there is no link
	open int
}

// connected tells over which link terminals are attached; nil: there is none.
func (t *terminals) connected(ctx context.Context, api agentpb.TerminalLinkClient) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ctx, t.api = ctx, api
}

// begin takes a place among the terminals.
func (t *terminals) begin() (context.Context, agentpb.TerminalLinkClient, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.api == nil {
		return nil, nil, &engine.ActionError{Code: engine.CodeRefused, Detail: "the agent has no link now", Fix: "try again in a moment"}
	}
	if t.open >= MaxTerminals {
		return nil, nil, &engine.ActionError{Code: CodeBusy, Detail: fmt.Sprintf("%d terminals are open on this host", t.open), Fix: "end one of them: baton terminal sessions"}
	}
	t.open++
	return t.ctx, t.api, nil
}

func (t *terminals) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open--
}

func openTerminal(_ context.Context, a *Agent, o Order) (map[string]string, error) {
	r, err := terminalRequest(o.Action)
	if err != nil {
		return nil, err
	}
	w := a.find(r.Cluster, r.Node)
	if w == nil || r.Node == "" {
		return nil, &engine.ActionError{Code: CodeUnknownInstance, Detail: fmt.Sprintf("this agent has no instance %q of cluster %q", r.Node, r.Cluster)}
	}
	run, err := a.terminalProgram(r, w.in)
	if err != nil {
		return nil, err
	}
	ctx, api, err := a.terminals.begin()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	stream, err := api.Attach(ctx)
	if err == nil {
		err = stream.Send(&agentpb.FromTerminal{Message: &agentpb.FromTerminal_Attached{Attached: &agentpb.TerminalAttached{Session: r.Session}}})
	}
	if err != nil {
		cancel()
		a.terminals.end()
		return nil, &engine.ActionError{Code: engine.CodeFailed, Detail: "the terminal could not be attached to the link", Err: err}
	}
	t := newTerminal(ctx, cancel, stream, r)
	a.log.Info("terminal opened", "session", r.Session, "cluster", r.Cluster, "node", r.Node, "kind", r.Kind)
	go func() {
		defer a.terminals.end()
		why := t.serve(run)
		a.log.Info("terminal ended", "session", r.Session, "cluster", r.Cluster, "node", r.Node, "why", why)
	}()
	return map[string]string{"host": a.me.Name, "user": userName()}, nil
}

// terminalProgram is what runs in the terminal.
func (a *Agent) terminalProgram(r TerminalRequest, in engine.Instance) (func(*terminal) string, error) {
	switch r.Kind {
	case TerminalEngine, TerminalAdmin:
		c, ok := a.drivers[in.Engine].(engine.Consoler)
		if !ok {
			return nil, &engine.ActionError{Code: engine.CodeRefused, Detail: "engine " + in.Engine + " takes no typed commands"}
		}
		return func(t *terminal) string { return t.engineShell(c, in) }, nil
	case TerminalOS:
		if a.opt.NoOSTerminal {
			return nil, &engine.ActionError{Code: engine.CodeRefused, Detail: "this host's agent allows no OS shell (--no-os-terminal)", Fix: "use the engine's shell, or log in to the host another way"}
		}
		return func(t *terminal) string { return t.osShell(in) }, nil
	}
	return nil, badArg("terminal-open: kind %q is not known", r.Kind)
}
