package agent

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"baton/control/engine"
	agentpb "baton/gen/agent"
)

// goodbyeTime is how long the control plane may take to close a terminal that
// has ended here.
const goodbyeTime = 5 * time.Second

// terminal is the agent's end of one terminal: what was typed waits in a
// bounded buffer, output waits until what was sent before has been shown.
type terminal struct {
	ctx    context.Context
	cancel context.CancelFunc
	stream agentpb.TerminalLink_AttachClient
	req    TerminalRequest

	sending sync.Mutex // the stream takes one message at a time

	mu      sync.Mutex
	input   []byte
	typed   chan struct{} // there is input, or it ended
	window  int           // bytes that may be sent
	shown   chan struct{} // window grew
	mode    TerminalMode
	say     []string
	columns int
	rows    int
	changed chan struct{} // mode or size changed
	verdict chan *agentpb.TerminalVerdict
	why     string // the control plane ended it
	ending  chan struct{}
	number  uint64
}

func newTerminal(ctx context.Context, cancel context.CancelFunc, stream agentpb.TerminalLink_AttachClient, r TerminalRequest) *terminal {
	return &terminal{ctx: ctx, cancel: cancel, stream: stream, req: r, window: TerminalWindow, mode: r.Mode, columns: r.Columns, rows: r.Rows,
		typed: make(chan struct{}, 1), shown: make(chan struct{}, 1), changed: make(chan struct{}, 1), verdict: make(chan *agentpb.TerminalVerdict, 1),
		ending: make(chan struct{})}
}

func wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// serve runs the terminal until its program or the control plane ends it.
func (t *terminal) serve(run func(*terminal) string) (why string) {
	defer t.cancel()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		t.receive()
		t.end("the link to the control plane ended")
	}()
	why = run(t)
	_ = t.send(&agentpb.FromTerminal{Message: &agentpb.FromTerminal_Ended{Ended: &agentpb.TerminalEnded{Why: why}}}) // the other end may be gone
	t.sending.Lock()
	_ = t.stream.CloseSend()
	t.sending.Unlock()
	timer := time.NewTimer(goodbyeTime)
	defer timer.Stop()
	select {
	case <-gone:
	case <-timer.C:
	}
	return why
}

// receive takes in what comes from the control plane; it never waits for what
// runs in the terminal.
func (t *terminal) receive() {
	for {
		m, err := t.stream.Recv()
		if err != nil {
			return
		}
		switch m := m.GetMessage().(type) {
		case *agentpb.ToTerminal_Input:
			t.mu.Lock()
			t.input = append(t.input, m.Input...)
			tooMuch := len(t.input) > maxTypeAhead
			t.mu.Unlock()
			wake(t.typed)
			if tooMuch {
				t.end("more than 1 MiB was typed ahead of what the program takes")
				return
			}
		case *agentpb.ToTerminal_Size:
			columns, rows := int(m.Size.GetColumns()), int(m.Size.GetRows())
			if sizeFits(columns, rows) {
				t.mu.Lock()
				t.columns, t.rows = columns, rows
				t.mu.Unlock()
				wake(t.changed)
			}
		case *agentpb.ToTerminal_Credit:
			t.mu.Lock()
			t.window = min(TerminalWindow, t.window+int(min(m.Credit, TerminalWindow)))
			t.mu.Unlock()
			wake(t.shown)
		case *agentpb.ToTerminal_Mode:
			t.mu.Lock()
			t.mode = TerminalMode{Role: m.Mode.GetRole(), Level: engine.CommandClass(m.Mode.GetLevel()), RoleFor: engine.Role(m.Mode.GetRoleFor())}
			if m.Mode.GetSay() != "" {
				t.say = append(t.say, m.Mode.GetSay())
			}
			t.mu.Unlock()
			wake(t.changed)
		case *agentpb.ToTerminal_Verdict:
			select {
			case t.verdict <- m.Verdict:
			case <-t.ctx.Done():
				return
			default: // nobody asked
			}
		case *agentpb.ToTerminal_End:
			t.end(m.End)
			// Credit may still be needed for the last lines.
		}
	}
}

// end tells the program to end.
func (t *terminal) end(why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.why == "" {
		t.why = why
		close(t.ending)
	}
}

// endWhy is why it was told to end.
func (t *terminal) endWhy() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.why
}

// take returns what was typed and not taken yet, nil when there is nothing.
func (t *terminal) take() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	in := t.input
	t.input = nil
	return in
}

// now is the mode at this moment.
func (t *terminal) now() TerminalMode {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mode
}

// news returns the lines to be shown, once, and the size.
func (t *terminal) news() (say []string, columns, rows int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	say, t.say = t.say, nil
	return say, t.columns, t.rows
}

func (t *terminal) send(m *agentpb.FromTerminal) error {
	t.sending.Lock()
	defer t.sending.Unlock()
	return t.stream.Send(m)
}

var errTerminalEnded = errors.New("the terminal has ended")

// Write shows output. It waits while too much of it has not been shown yet, and
// fails once the terminal was told to end.
func (t *terminal) Write(p []byte) (n int, err error) {
	for n < len(p) {
		t.mu.Lock()
		size := min(len(p)-n, t.window, terminalChunk)
		t.window -= size
		t.mu.Unlock()
		if size == 0 {
			select {
			case <-t.shown:
				continue
			case <-t.ctx.Done():
				return n, t.ctx.Err()
			case <-t.ending:
				return n, errTerminalEnded
			}
		}
		if err := t.send(&agentpb.FromTerminal{Message: &agentpb.FromTerminal_Output{Output: append([]byte(nil), p[n:n+size]...)}}); err != nil {
			return n, err
		}
		n += size
	}
	return n, nil
}

var _ io.Writer = (*terminal)(nil)

// tell counts a command; refused ones were not carried out.
func (t *terminal) tell(j *engine.Judgement, refused bool) {
	t.number++
	_ = t.send(&agentpb.FromTerminal{Message: &agentpb.FromTerminal_Command{Command: &agentpb.TerminalCommand{Number: t.number, Class: string(j.Class), Summary: j.Summary, Refused: refused}}})
}

// ask asks whether a command may be carried out; the answer is in the audit by
// then.
func (t *terminal) ask(j *engine.Judgement) (why string, ok bool) {
	t.number++
	if err := t.send(&agentpb.FromTerminal{Message: &agentpb.FromTerminal_Command{Command: &agentpb.TerminalCommand{Number: t.number, Class: string(j.Class), Summary: j.Summary, Ask: true}}}); err != nil {
		return "the link to the control plane ended", false
	}
	for {
		select {
		case v := <-t.verdict:
			if v.GetNumber() == t.number {
				return v.GetWhy(), v.GetGranted()
			}
		case <-t.ending:
			return t.endWhy(), false
		case <-t.ctx.Done():
			return "the link to the control plane ended", false
		}
	}
}

// wish asks for the permission to write, or gives it back.
func (t *terminal) wish(typed string, readOnly bool) {
	_ = t.send(&agentpb.FromTerminal{Message: &agentpb.FromTerminal_Wish{Wish: &agentpb.TerminalWish{Typed: typed, ReadOnly: readOnly}}})
}
