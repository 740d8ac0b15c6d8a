package redis

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"baton/control/engine"
)

const (
	// consoleName marks the connections of people's terminals.
	consoleName = "baton-terminal"
	// bigKeyspace is from how many keys on listing all of them is worth a warning.
	bigKeyspace = 10_000
	// consoleDialTime bounds connecting and logging in.
	consoleDialTime = 5 * time.Second
)

var _ engine.Consoler = (*Driver)(nil)

// Console prepares a connection of its own, so that MULTI, WATCH and SELECT
// work as people expect.
func (d *Driver) Console(in engine.Instance) (engine.Console, error) {
	if _, err := d.node(in); err != nil {
		return nil, err
	}
	return &console{in: in, facts: map[string]*commandFacts{}}, nil
}

// console has two connections: what a person has begun on the first (MULTI) must
// not swallow what we ask on the second.
type console struct {
	in    engine.Instance
	facts map[string]*commandFacts // by command, nil where the server knows none

	mu           sync.Mutex // guards the rest
	closed       bool
	theirs, ours wire
}

// wire is one connection, or none yet.
type wire struct {
	conn net.Conn
	r    *replyReader
}

// Close ends the connections.
func (c *console) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.theirs.drop()
	c.ours.drop()
}

// drop closes the connection; the next command makes another.
func (w *wire) drop() {
	if w.conn != nil {
		_ = w.conn.Close() // nothing is waiting to be written
		w.conn = nil
	}
}

// Words splits a line as redis-cli does.
func (c *console) Words(line string) ([]string, error) {
	all, ok := tokens(line)
	if !ok {
		return nil, errQuotes
	}
	words := make([]string, len(all))
	for i, t := range all {
		words[i] = t.text
	}
	return words, nil
}

// Help is what can be typed.
func (c *console) Help() string {
	return "Type commands as in redis-cli, with \"quotes\" where an argument has spaces.\n" +
		"What changes roles is refused here: Baton does that, with checks and a proof."
}

// Role asks the server.
func (c *console) Role(ctx context.Context) (engine.Role, error) {
	v, err := c.call(ctx, &c.ours, "ROLE")
	if err != nil {
		return engine.RoleUnknown, err
	}
	if v.kind == '*' && len(v.items) > 0 {
		switch v.items[0].text {
		case "master":
			return engine.RolePrimary, nil
		case "slave":
			return engine.RoleReplica, nil
		}
	}
	return engine.RoleUnknown, nil
}

// Judge asks the table first, then the server.
func (c *console) Judge(ctx context.Context, words []string) (engine.Judgement, error) {
	if len(words) == 0 {
		return engine.Judgement{}, bad("there is no command")
	}
	r, sure := known(words)
	if sure && r.class == engine.CommandRefused {
		return engine.Judgement{Class: r.class, Summary: summary(words, nil), Why: r.why, Instead: r.instead}, nil
	}
	f, err := c.factsOf(ctx, strings.ToLower(words[0]))
	if err != nil {
		return engine.Judgement{}, err
	}
	j := engine.Judgement{Class: r.class, Danger: r.danger, Summary: summary(words, f)}
	switch {
	case sure:
	case f == nil: // the server will say that it does not know it
		j.Class = engine.CommandRead
	default:
		j.Class = classOf(f)
	}
	if strings.EqualFold(words[0], "keys") {
		v, err := c.call(ctx, &c.ours, "DBSIZE")
		if err != nil {
			return engine.Judgement{}, err
		}
		if n, _ := strconv.ParseInt(v.text, 10, 64); n >= bigKeyspace {
			j.Danger = fmt.Sprintf("KEYS looks at all %d keys at once and stops the server for all clients meanwhile; SCAN does not.", n)
		}
	}
	return j, nil
}

// factsOf asks the server about a command; nil for one it does not know.
func (c *console) factsOf(ctx context.Context, name string) (*commandFacts, error) {
	if f, ok := c.facts[name]; ok {
		return f, nil
	}
	v, err := c.call(ctx, &c.ours, "COMMAND", "INFO", name)
	if err != nil {
		return nil, err
	}
	if v.kind != '*' || len(v.items) != 1 {
		return &commandFacts{flags: []string{"admin"}}, nil // the server does not tell: the worst is assumed
	}
	item := v.items[0]
	if item.kind != '*' || len(item.items) < 6 {
		c.facts[name] = nil
		return nil, nil
	}
	f := &commandFacts{}
	for _, flag := range item.items[2].items {
		f.flags = append(f.flags, flag.text)
	}
	f.first, _ = strconv.Atoi(item.items[3].text)
	f.last, _ = strconv.Atoi(item.items[4].text)
	f.step, _ = strconv.Atoi(item.items[5].text)
	if len(item.items) > 6 {
		for _, category := range item.items[6].items {
			f.categories = append(f.categories, category.text)
		}
	}
	c.facts[name] = f
	return f, nil
}

// Run carries a command out.
func (c *console) Run(ctx context.Context, words []string) (string, error) {
	v, err := c.call(ctx, &c.theirs, words...)
	if err != nil {
		return "", err
	}
	name := strings.ToLower(words[0])
	return show(v, name == "acl" || name == "exec"), nil
}

// call sends one command and reads its reply. When ctx ends the connection is
// closed.
func (c *console) call(ctx context.Context, w *wire, words ...string) (reply, error) {
	conn, r, err := c.connect(ctx, w)
	if err != nil {
		return reply{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	v, err := exchange(conn, r, words)
	if !stop() || err != nil {
		c.mu.Lock()
		w.drop()
		c.mu.Unlock()
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return reply{}, ctx.Err()
	case err != nil:
		return reply{}, &engine.ActionError{Code: engine.CodeUnknown, Detail: "the server closed the connection or did not answer; whether the command was carried out is not known", Err: err}
	}
	return v, nil
}

func exchange(conn net.Conn, r *replyReader, words []string) (reply, error) {
	w := bufio.NewWriter(conn)
	fmt.Fprintf(w, "*%d\r\n", len(words))
	for _, word := range words {
		fmt.Fprintf(w, "$%d\r\n%s\r\n", len(word), word)
	}
	if err := w.Flush(); err != nil {
		return reply{}, err
	}
	return r.next()
}

// connect returns the connection, which it makes and logs in when there is none.
func (c *console) connect(ctx context.Context, w *wire) (net.Conn, *replyReader, error) {
	c.mu.Lock()
	if c.closed || w.conn != nil {
		defer c.mu.Unlock()
		if c.closed {
			return nil, nil, net.ErrClosed
		}
		return w.conn, w.r, nil
	}
	c.mu.Unlock()
	dialer := net.Dialer{Timeout: consoleDialTime}
	conn, err := dialer.DialContext(ctx, "tcp", c.in.Address())
	if err != nil {
		return nil, nil, &engine.ActionError{Code: engine.CodeUnreachable, Detail: c.in.Node + " does not take connections at " + c.in.Address(), Fix: "see whether it runs: baton nodes " + c.in.Cluster, Err: err}
	}
	r := &replyReader{r: bufio.NewReader(conn)}
	_ = conn.SetDeadline(time.Now().Add(consoleDialTime))
	if err := c.login(conn, r); err != nil {
		conn.Close()
		return nil, nil, err
	}
	_ = conn.SetDeadline(time.Time{})
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		conn.Close()
		return nil, nil, net.ErrClosed
	}
	w.conn, w.r = conn, r
	return conn, r, nil
}

func (c *console) login(conn net.Conn, r *replyReader) error {
	hello := [][]string{{"CLIENT", "SETNAME", consoleName}}
	if c.in.Auth.Password != "" {
		user := c.in.Auth.User
		if user == "" {
			user = "default"
		}
		hello = append([][]string{{"AUTH", user, c.in.Auth.Password}}, hello...)
	}
	for _, words := range hello {
		v, err := exchange(conn, r, words)
		if err != nil {
			return &engine.ActionError{Code: engine.CodeUnreachable, Detail: c.in.Node + " did not answer a login", Err: err}
		}
		if v.kind == '-' && words[0] == "AUTH" {
			return &engine.ActionError{Code: engine.CodeAuth, Detail: "login or permission refused", Fix: "check the user and password Baton uses for this instance", Err: errors.New(v.text)}
		}
	}
	return nil
}
