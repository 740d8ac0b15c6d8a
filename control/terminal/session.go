package terminal

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"baton/control/agent"
	"baton/control/agent/hub"
	"baton/control/audit"
	"baton/control/engine"
	"baton/control/terminal/cast"
	"baton/platform/auth"
)

// Screen is what shows a terminal to its person and takes what is typed.
type Screen interface {
	// Show shows output; its bytes are confirmed by Typed.Shown.
	Show(ctx context.Context, p []byte) error
	// Tell tells about the terminal.
	Tell(ctx context.Context, n Notice) error
	// Next waits for the next thing the person does; ErrLeft when the person left,
	// another error when the person is gone.
	Next(ctx context.Context) (Typed, error)
}

// Typed is one thing a person does; one member is set.
type Typed struct {
	Input         []byte
	Columns, Rows int
	Shown         int   // bytes of output that were shown
	Wish          *Wish // to be allowed to write
}

// Wish asks for the permission to write with the node's name typed, or gives
// it back.
type Wish = hub.TerminalWish

// Notice tells the person's screen about the terminal.
type Notice struct {
	Type    string `json:"type"` // hello, mode, warning or end
	Session string `json:"session,omitempty"`
	Cluster string `json:"cluster,omitempty"`
	Node    string `json:"node,omitempty"`
	Kind    string `json:"kind,omitempty"`
	Host    string `json:"host,omitempty"`
	User    string `json:"user,omitempty"` // an OS shell runs as
	Role    string `json:"role,omitempty"` // of the node, live
	Level   string `json:"level,omitempty"`
	// IdleSeconds is how long no key may be pressed.
	IdleSeconds int    `json:"idleSeconds,omitempty"`
	Text        string `json:"text,omitempty"`
}

// Types of Notice.
const (
	NoticeHello   = "hello"
	NoticeMode    = "mode"
	NoticeWarning = "warning"
	NoticeEnd     = "end"
)

const (
	// showTime bounds how long a screen may take one piece of output.
	showTime = 30 * time.Second
	// lastWords bounds how long what runs in a terminal may take to end.
	lastWords = 10 * time.Second
	// idleWarning is how long before the idle limit the person is told.
	idleWarning = time.Minute
	// auditedRefusals is how many refused commands of one terminal are audited one
	// by one; the rest are counted. A pasted file must not flood the audit.
	auditedRefusals = 100
)

// carried is a session this control node carries.
type carried struct {
	m       *Manager
	session Session
	screen  Screen
	still   func() (why string, ok bool)
	term    *hub.Terminal
	rec     *cast.Writer

	stops chan string // why; the first counts
	reads bool        // the engine's shell only reads

	mu      sync.Mutex // guards the counts and the mode, which others read
	mode    agent.TerminalMode
	shown   NodeRole // role on the banner
	granted engine.CommandClass
	typedAt time.Time
	warned  bool
	unshown int // bytes the screen has not confirmed
}

func (c *carried) stop(why string) {
	select {
	case c.stops <- why:
	default:
	}
}

func (c *carried) counts() (commands, changes, refused int, write bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session.Commands, c.session.Changes, c.session.Refused, c.session.Write
}

// Serve carries a terminal until it ends and returns why. still tells whether
// the person may go on; an error means that it was not opened.
func (m *Manager) Serve(ctx context.Context, r Request, screen Screen, still func() (why string, ok bool)) (why string, err error) {
	c := &carried{m: m, screen: screen, still: still, stops: make(chan string, 1), typedAt: m.opt.Now(), granted: r.level(), reads: r.Engine == engine.EventStore,
		session: Session{ID: "tm-" + auth.NewSecret()[:16], Cluster: r.Cluster, Node: r.Node, Kind: r.Kind, Write: r.Write || r.Kind != agent.TerminalEngine,
			Who: r.Who.Name, Role: r.Who.Role, Source: r.Who.Source, IP: r.Who.IP, Reason: r.Reason, Control: m.opt.Name, Begin: m.opt.Now()}}
	id, ok := m.opt.Agents.Locate(r.Cluster, r.Node)
	if !ok {
		return "", agent.ErrNotConnected
	}
	c.shown = m.opt.Role(r.Cluster, r.Node)
	c.mode = agent.TerminalMode{Role: c.shown.Word, Level: c.granted}
	if c.granted != engine.CommandRead {
		c.mode.RoleFor = c.shown.Role
	}
	c.rec, err = cast.Create(m.file(c.session.ID), cast.Header{Width: r.Columns, Height: r.Rows, Env: map[string]string{"TERM": "xterm-256color"},
		Title: fmt.Sprintf("%s on %s of %s, by %s", c.session.kindWord(), r.Node, r.Cluster, r.Who.Name)}, m.opt.Now(), m.seal(c.session.ID))
	if err != nil {
		return "", err
	}
	defer func() {
		if e := c.rec.Close(); e != nil && !errors.Is(e, cast.ErrFull) {
			m.opt.Log.Warn("the recording of a terminal is not complete", "session", c.session.ID, "err", e)
		}
		m.prune()
	}()
	c.term, err = m.opt.Agents.OpenTerminal(ctx, id, agent.TerminalRequest{Session: c.session.ID, Cluster: r.Cluster, Node: r.Node, Kind: r.Kind,
		Columns: r.Columns, Rows: r.Rows, Mode: c.mode})
	if err != nil {
		return "", err
	}
	defer c.term.Close()
	c.session.Host = c.term.Host
	if r.Kind == agent.TerminalOS {
		c.session.User = c.term.User
	}
	if err := c.begin(ctx); err != nil {
		return "", err
	}
	why = c.run(ctx)
	c.finish(ctx, why)
	return why, nil
}

// level is what a terminal of this request may do at first.
func (r *Request) level() engine.CommandClass {
	switch {
	case r.Kind != agent.TerminalEngine:
		return engine.CommandAdmin
	case r.Write:
		return engine.CommandWrite
	}
	return engine.CommandRead
}

func (s *Session) kindWord() string {
	switch s.Kind {
	case agent.TerminalOS:
		return "an OS shell"
	case agent.TerminalAdmin:
		return "the engine's shell as admin"
	}
	if s.Write {
		return "the engine's shell with the permission to write"
	}
	return "the engine's shell, reading"
}

// begin puts the session on record before anything can be typed.
func (c *carried) begin(ctx context.Context) error {
	m := c.m
	m.mu.Lock()
	if err := m.room(c.session.Who); err != nil {
		m.mu.Unlock()
		return err
	}
	m.live[c.session.ID] = c
	m.mu.Unlock()
	err := m.write(ctx, Began, c.session)
	if err == nil {
		err = c.audit(ctx, audit.Record{What: fmt.Sprintf("opened %s on %s", c.session.kindWord(), c.session.Node), Outcome: audit.Done, Detail: c.session.Reason})
	}
	if err != nil {
		m.mu.Lock()
		delete(m.live, c.session.ID)
		m.mu.Unlock()
		return err
	}
	return nil
}

func (c *carried) audit(ctx context.Context, r audit.Record) error {
	r.Who = audit.Who{Name: c.session.Who, Role: c.session.Role, Source: c.session.Source, IP: c.session.IP}
	r.ID, r.At = "at-"+auth.NewSecret()[:12], c.m.opt.Now()
	r.Cluster, r.Node, r.Kind, r.Request = c.session.Cluster, c.session.Node, "terminal", c.session.ID
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), journalTime)
	defer cancel()
	return c.m.opt.Audit(ctx, r)
}

// run is the session between its beginning and its end.
func (c *carried) run(ctx context.Context) (why string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.tell(ctx, Notice{Type: NoticeHello, Session: c.session.ID, Cluster: c.session.Cluster, Node: c.session.Node, Kind: c.session.Kind, Host: c.session.Host,
		User: c.session.User, Role: c.mode.Role, Level: string(c.mode.Level), IdleSeconds: c.m.Settings().IdleMinutes * 60})
	fromAgent, fromPerson := make(chan hub.FromTerminal), make(chan Typed)
	gone := "the person's connection ended" // read once fromPerson is closed
	go func() {
		defer close(fromAgent)
		for {
			msg, err := c.term.Receive()
			if err != nil {
				return
			}
			select {
			case fromAgent <- msg:
			case <-ctx.Done():
				return
			}
		}
	}()
	go func() {
		defer close(fromPerson)
		for {
			typed, err := c.screen.Next(ctx)
			if errors.Is(err, ErrLeft) {
				gone = "left"
			}
			if err != nil {
				return
			}
			select {
			case fromPerson <- typed:
			case <-ctx.Done():
				return
			}
		}
	}()
	look := time.NewTicker(c.m.opt.Look)
	defer look.Stop()
	var last *time.Timer // set once what runs was told to end
	var over <-chan time.Time
	end := func(because string) {
		if why == "" {
			why = because
			_ = c.term.End(because) // or the link is gone, which Receive tells
			last = time.NewTimer(lastWords)
			over = last.C
		}
	}
	for {
		select {
		case msg, ok := <-fromAgent:
			switch {
			case !ok:
				end("the agent's link ended")
				last.Stop()
				return why
			case msg.Ended != nil:
				if why == "" {
					why = *msg.Ended
				}
				if last != nil {
					last.Stop()
				}
				return why
			}
			if because := c.fromAgent(ctx, &msg); because != "" {
				end(because)
			}
		case typed, ok := <-fromPerson:
			if !ok {
				fromPerson = nil
				end(gone)
				continue
			}
			if because := c.fromPerson(ctx, &typed); because != "" && why == "" {
				end(because)
			}
		case <-look.C:
			if because := c.look(ctx); because != "" {
				end(because)
			}
		case because := <-c.stops:
			end(because)
		case <-over:
			return why
		case <-ctx.Done():
			end("the control node stopped or lost the lead")
			last.Stop()
			return why
		}
	}
}

// fromAgent takes in one message; a sentence when the terminal must end.
func (c *carried) fromAgent(ctx context.Context, msg *hub.FromTerminal) (end string) {
	switch {
	case msg.Output != nil:
		if err := c.rec.Output(c.m.opt.Now(), msg.Output); err != nil {
			c.m.opt.Log.Warn("a terminal is not recorded any more and ends", "session", c.session.ID, "err", err)
			if errors.Is(err, cast.ErrFull) {
				return "the recording is full (16 MiB); open another terminal"
			}
			return "it could not be recorded any more"
		}
		c.unshown += len(msg.Output)
		show, cancel := context.WithTimeout(ctx, showTime)
		defer cancel()
		if err := c.screen.Show(show, msg.Output); err != nil {
			return "the person's connection ended"
		}
	case msg.Command != nil:
		c.command(ctx, msg.Command)
	case msg.Wish != nil:
		c.wish(ctx, *msg.Wish)
	}
	return ""
}

// fromPerson takes in what a person does.
func (c *carried) fromPerson(ctx context.Context, t *Typed) (end string) {
	var err error
	switch {
	case t.Input != nil:
		c.typedAt, c.warned = c.m.opt.Now(), false
		if c.session.Kind == agent.TerminalOS {
			c.mu.Lock()
			c.session.Commands += strings.Count(string(t.Input), "\r")
			c.mu.Unlock()
		}
		err = c.term.Input(t.Input)
	case t.Columns > 0:
		if e := c.rec.Resize(c.m.opt.Now(), t.Columns, t.Rows); e != nil {
			return "it could not be recorded any more"
		}
		err = c.term.Resize(t.Columns, t.Rows)
	case t.Shown > 0:
		n := min(t.Shown, c.unshown)
		c.unshown -= n
		err = c.term.Credit(n)
	case t.Wish != nil:
		c.wish(ctx, *t.Wish)
	}
	if err != nil {
		return "the agent's link ended"
	}
	return ""
}

// command counts a command, and answers and audits one that asks.
func (c *carried) command(ctx context.Context, cmd *hub.TerminalCommand) {
	c.mu.Lock()
	c.session.Commands++
	if cmd.Refused {
		c.session.Refused++
	}
	c.mu.Unlock()
	switch {
	case cmd.Refused:
		if c.session.Refused > auditedRefusals {
			return
		}
		if err := c.audit(ctx, audit.Record{What: fmt.Sprintf("tried to run %s on %s", cmd.Summary, c.session.Node), Outcome: audit.Refused, Detail: "the terminal does not allow it (" + string(cmd.Class) + ")"}); err != nil {
			c.m.opt.Log.Error("a refused command is not in the audit", "session", c.session.ID, "err", err)
		}
	case cmd.Ask:
		why := c.permit(ctx, cmd)
		if err := c.term.Verdict(cmd.Number, why == "", why); err != nil {
			return // Receive tells
		}
	}
}

// permit decides about a command that may change something; "" when it may be
// carried out, and is in the audit.
func (c *carried) permit(ctx context.Context, cmd *hub.TerminalCommand) (why string) {
	if why, ok := c.still(); !ok {
		return why
	}
	c.follow(ctx)
	switch {
	case rank(cmd.Class) == 0 || rank(cmd.Class) > rank(c.mode.Level):
		why = "this terminal has no permission for it now"
	case c.shown.Role != c.mode.RoleFor:
		why = c.session.Node + "'s role is not known at this moment"
	}
	if why != "" {
		c.mu.Lock()
		c.session.Refused++
		c.mu.Unlock()
		_ = c.audit(ctx, audit.Record{What: fmt.Sprintf("tried to run %s on %s", cmd.Summary, c.session.Node), Outcome: audit.Refused, Detail: why}) // it was not carried out
		return why
	}
	if err := c.audit(ctx, audit.Record{What: fmt.Sprintf("ran %s on %s, %s", cmd.Summary, c.session.Node, c.shown.Word), Outcome: audit.Done}); err != nil {
		c.m.opt.Log.Error("a command is not carried out because it cannot be audited", "session", c.session.ID, "err", err)
		return "it cannot be written into the audit now"
	}
	c.mu.Lock()
	c.session.Changes++
	c.mu.Unlock()
	return ""
}

func rank(class engine.CommandClass) int {
	switch class {
	case engine.CommandRead:
		return 1
	case engine.CommandWrite:
		return 2
	case engine.CommandAdmin:
		return 3
	}
	return 0
}

// look follows the node, the person and the time.
func (c *carried) look(ctx context.Context) (end string) {
	if why, ok := c.still(); !ok {
		return why
	}
	c.follow(ctx)
	limit := time.Duration(c.m.Settings().IdleMinutes) * time.Minute
	switch idle := c.m.opt.Now().Sub(c.typedAt); {
	case idle >= limit:
		return fmt.Sprintf("no key was pressed for %.0f minutes", limit.Minutes())
	case idle >= limit-idleWarning && !c.warned:
		c.warned = true
		c.tell(ctx, Notice{Type: NoticeWarning, Text: fmt.Sprintf("This terminal ends in %.0f s unless a key is pressed.", (limit - idle).Seconds())})
	}
	return ""
}

// follow takes over the node's role: the banner changes, and a permission that
// was given for another role is suspended.
func (c *carried) follow(ctx context.Context) {
	now := c.m.opt.Role(c.session.Cluster, c.session.Node)
	if now == c.shown {
		return
	}
	before := c.shown
	c.shown = now
	mode := c.mode
	mode.Role = now.Word
	mode.Say = fmt.Sprintf("%s was %s and is %s now.", c.session.Node, before.Word, now.Word)
	if now.Role == engine.RoleUnknown {
		mode.Say = fmt.Sprintf("%s's role is not known now: it does not answer, or it is between roles.", c.session.Node)
	} else if mode.Level != engine.CommandRead && now.Role != mode.RoleFor && c.session.Kind != agent.TerminalOS {
		mode.Level, mode.RoleFor = engine.CommandRead, ""
		mode.Say += fmt.Sprintf(" The permission to write is suspended; type :write %s to be given it for this role.", c.session.Node)
	}
	c.enter(ctx, mode)
}

// enter makes a mode hold and tells everybody.
func (c *carried) enter(ctx context.Context, mode agent.TerminalMode) {
	c.mu.Lock()
	c.mode = mode
	c.mode.Say = ""
	c.session.Write = mode.Level != engine.CommandRead
	c.mu.Unlock()
	_ = c.term.Mode(mode) // or the link is gone, which Receive tells
	c.tell(ctx, Notice{Type: NoticeMode, Role: mode.Role, Level: string(mode.Level), Text: mode.Say})
}

// wish gives or takes back the permission to write.
func (c *carried) wish(ctx context.Context, w Wish) {
	mode := c.mode
	say := func(text string) {
		mode.Say = text
		c.enter(ctx, mode)
	}
	want := c.granted
	if want == engine.CommandRead {
		want = engine.CommandWrite
	}
	switch {
	case c.session.Kind == agent.TerminalOS:
		return
	case c.reads:
		say("This engine's shell only reads.")
	case w.ReadOnly:
		mode.Level, mode.RoleFor = engine.CommandRead, ""
		say("This terminal reads only now.")
	case w.Typed != c.session.Node:
		say("To be allowed to write, type :write " + c.session.Node + ".")
	case c.shown.Role == engine.RoleUnknown:
		say(c.session.Node + "'s role is not known now; try again when it is.")
	default:
		if why, ok := c.still(); !ok {
			say(why)
			return
		}
		if err := c.audit(ctx, audit.Record{What: fmt.Sprintf("took the permission to write on %s, %s", c.session.Node, c.shown.Word), Outcome: audit.Done}); err != nil {
			say("It cannot be written into the audit now; try again.")
			return
		}
		mode.Level, mode.RoleFor = want, c.shown.Role
		text := "Commands that change something are carried out now, and audited."
		if c.shown.Role != engine.RolePrimary {
			text += " This node is a " + c.shown.Word + ": it will refuse to change data."
		}
		say(text)
	}
}

func (c *carried) tell(ctx context.Context, n Notice) {
	ctx, cancel := context.WithTimeout(ctx, showTime)
	defer cancel()
	_ = c.screen.Tell(ctx, n) // a person who is gone is noticed by Next
}

// finish puts the end on record.
func (c *carried) finish(ctx context.Context, why string) {
	ctx = context.WithoutCancel(ctx)
	m := c.m
	c.mu.Lock()
	c.session.End, c.session.Why, c.session.Bytes = m.opt.Now(), why, c.rec.Size()
	s := c.session
	c.mu.Unlock()
	c.tell(ctx, Notice{Type: NoticeEnd, Text: why})
	if err := m.write(ctx, Ended, s); err != nil {
		m.opt.Log.Error("the end of a terminal is not recorded; the next control node that acts will", "session", s.ID, "err", err)
	}
	m.auditEnd(ctx, &s)
	m.mu.Lock()
	delete(m.live, s.ID)
	m.mu.Unlock()
}

func (m *Manager) auditEnd(ctx context.Context, s *Session) {
	c := &carried{m: m, session: *s}
	detail := fmt.Sprintf("%s; %d commands, %d of them changes, %d refused", s.Why, s.Commands, s.Changes, s.Refused)
	if s.Kind == agent.TerminalOS {
		detail = fmt.Sprintf("%s; %d lines typed", s.Why, s.Commands)
	}
	err := c.audit(ctx, audit.Record{What: fmt.Sprintf("left %s on %s", s.kindWord(), s.Node), Outcome: audit.Done, Detail: detail})
	if err != nil {
		m.opt.Log.Error("the end of a terminal is not in the audit", "session", s.ID, "err", err)
	}
}
