package hub

import (
	"context"
	"fmt"
	"sync"
	"time"

	"baton/control/agent"
	"baton/control/engine"
	agentpb "baton/gen/agent"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// attachTime bounds how long an agent may take to attach a terminal.
const attachTime = 15 * time.Second

// terminals are those attached or waited for, by session.
type terminals struct {
	agentpb.UnimplementedTerminalLinkServer
	h *Hub

	mu      sync.Mutex
	waiting map[string]*waitingTerminal
}

type waitingTerminal struct {
	agent string
	found chan *Terminal
}

// Terminal is the control plane's end of one terminal. Its methods may be
// called from several goroutines, Receive from one at a time.
type Terminal struct {
	// Host is the host's name, User the one an OS shell runs as.
	Host, User string

	stream  agentpb.TerminalLink_AttachServer
	sending sync.Mutex
	once    sync.Once
	closed  chan struct{} // Close was called
}

// FromTerminal is one message of a terminal; one member is set.
type FromTerminal struct {
	Output  []byte
	Command *TerminalCommand
	Wish    *TerminalWish
	Ended   *string // why; the last message
}

// TerminalCommand is a command somebody typed. One that asks waits for its
// verdict; one that was refused was not carried out.
type TerminalCommand struct {
	Number       uint64
	Class        engine.CommandClass
	Summary      string
	Ask, Refused bool
}

// TerminalWish asks for the permission to write, or gives it back.
type TerminalWish struct {
	Typed    string
	ReadOnly bool
}

// OpenTerminal asks the agent for a terminal. Errors are *engine.ActionError,
// or those of Order.
func (h *Hub) OpenTerminal(ctx context.Context, agentID string, r agent.TerminalRequest) (*Terminal, error) {
	w := &waitingTerminal{agent: agentID, found: make(chan *Terminal, 1)}
	h.terms.mu.Lock()
	h.terms.waiting[r.Session] = w
	h.terms.mu.Unlock()
	defer func() {
		h.terms.mu.Lock()
		delete(h.terms.waiting, r.Session)
		h.terms.mu.Unlock()
		select { // attached, and nobody waits any more
		case t := <-w.found:
			t.Close()
		default:
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, attachTime)
	defer cancel()
	result, err := h.Order(ctx, agentID, agent.Order{Operation: r.Session, Step: "terminal", Timeout: attachTime, Action: r.Action()})
	if err != nil {
		return nil, err
	}
	if !result.OK() {
		return nil, &engine.ActionError{Code: result.Code, Detail: result.Detail, Fix: result.Fix}
	}
	select {
	case t := <-w.found:
		t.Host, t.User = result.Values["host"], result.Values["user"]
		return t, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("the agent did not attach the terminal: %w", ctx.Err())
	}
}

// Attach serves one terminal of an agent.
func (s *terminals) Attach(stream agentpb.TerminalLink_AttachServer) error {
	who, _, err := caller(stream.Context())
	if err != nil {
		return err
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	session := first.GetAttached().GetSession()
	s.mu.Lock()
	w := s.waiting[session]
	if w != nil && w.agent == who {
		delete(s.waiting, session)
	} else {
		w = nil
	}
	s.mu.Unlock()
	if w == nil {
		return status.Error(codes.NotFound, "nobody waits for this terminal")
	}
	s.h.mu.Lock()
	l := s.h.links[who]
	s.h.mu.Unlock()
	if l == nil {
		return status.Error(codes.FailedPrecondition, "the agent has no link")
	}
	t := &Terminal{stream: stream, closed: make(chan struct{})}
	w.found <- t
	select {
	case <-t.closed:
		return nil
	case <-l.done: // also of an agent that was removed
		return status.Error(codes.Unavailable, "the agent's link ended")
	case <-stream.Context().Done():
		return stream.Context().Err()
	}
}

// Receive returns the next message; an error when the terminal is gone.
func (t *Terminal) Receive() (FromTerminal, error) {
	for {
		m, err := t.stream.Recv()
		if err != nil {
			return FromTerminal{}, err
		}
		switch m := m.GetMessage().(type) {
		case *agentpb.FromTerminal_Output:
			return FromTerminal{Output: m.Output}, nil
		case *agentpb.FromTerminal_Command:
			return FromTerminal{Command: &TerminalCommand{Number: m.Command.GetNumber(), Class: engine.CommandClass(m.Command.GetClass()),
				Summary: m.Command.GetSummary(), Ask: m.Command.GetAsk(), Refused: m.Command.GetRefused()}}, nil
		case *agentpb.FromTerminal_Wish:
			return FromTerminal{Wish: &TerminalWish{Typed: m.Wish.GetTyped(), ReadOnly: m.Wish.GetReadOnly()}}, nil
		case *agentpb.FromTerminal_Ended:
			why := m.Ended.GetWhy()
			return FromTerminal{Ended: &why}, nil
		}
	}
}

func (t *Terminal) send(m *agentpb.ToTerminal) error {
	t.sending.Lock()
	defer t.sending.Unlock()
	return t.stream.Send(m)
}

// Input passes on what was typed.
func (t *Terminal) Input(p []byte) error {
	return t.send(&agentpb.ToTerminal{Message: &agentpb.ToTerminal_Input{Input: p}})
}

// Resize passes on the size in columns and rows.
func (t *Terminal) Resize(columns, rows int) error {
	return t.send(&agentpb.ToTerminal{Message: &agentpb.ToTerminal_Size{Size: &agentpb.TerminalSize{Columns: uint32(columns), Rows: uint32(rows)}}})
}

// Credit tells that n bytes of output were shown.
func (t *Terminal) Credit(n int) error {
	return t.send(&agentpb.ToTerminal{Message: &agentpb.ToTerminal_Credit{Credit: uint64(n)}})
}

// Mode tells what may be done now.
func (t *Terminal) Mode(m agent.TerminalMode) error {
	return t.send(&agentpb.ToTerminal{Message: &agentpb.ToTerminal_Mode{Mode: &agentpb.TerminalMode{Role: m.Role, Level: string(m.Level), RoleFor: string(m.RoleFor), Say: m.Say}}})
}

// Verdict answers a command that asked.
func (t *Terminal) Verdict(number uint64, granted bool, why string) error {
	return t.send(&agentpb.ToTerminal{Message: &agentpb.ToTerminal_Verdict{Verdict: &agentpb.TerminalVerdict{Number: number, Granted: granted, Why: why}}})
}

// End tells what runs in the terminal to end; its last message is Ended.
func (t *Terminal) End(why string) error {
	return t.send(&agentpb.ToTerminal{Message: &agentpb.ToTerminal_End{End: why}})
}

// Close lets the terminal go; what runs in it is ended.
func (t *Terminal) Close() { t.once.Do(func() { close(t.closed) }) }
