package eventstore

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode"

	"baton/control/engine"
	"baton/gen/eventstore/client"
	"baton/gen/eventstore/streams"

	"google.golang.org/grpc/metadata"
)

const (
	// maxEvents is how many events one command shows.
	maxEvents = 1000
	// shownData is how much of an event's data is shown, in bytes.
	shownData = 300
	// shownAnswer bounds a document that is shown, in bytes.
	shownAnswer = 256 << 10
)

var _ engine.Consoler = (*Driver)(nil)

// Console reads: the event store is written to by its clients.
func (d *Driver) Console(in engine.Instance) (engine.Console, error) {
	n, err := d.node(in)
	if err != nil {
		return nil, err
	}
	return &console{n: n}, nil
}

// Conceal hides nothing: no command takes a password.
func (d *Driver) Conceal(line string) string { return line }

type console struct {
	n      *node
	target *probeTarget // nil before the first read
}

// consoleCommand is one command: its form and meaning for people, and what
// carries it out.
type consoleCommand struct {
	form, help string
	least      int // arguments
	most       int
	run        func(ctx context.Context, c *console, args []string) (string, error)
}

var consoleCommands = map[string]consoleCommand{
	"cluster":   {"cluster", "members with roles, positions, and who may be promoted", 0, 0, document("/cluster")},
	"info":      {"info", "version and state of this node", 0, 0, document("/info")},
	"elections": {"elections", "how this node's candidacies ended, and what each voter answered", 0, 0, document("/cluster/elections")},
	"gossip":    {"gossip", "what clients are told of the members", 0, 0, document("/gossip")},
	"stats":     {"stats", "counters of this node", 0, 0, document("/stats")},
	"options":   {"options", "the options this node runs with", 0, 0, document("/info/options")},
	"health":    {"health", "whether this node lives and is ready", 0, 0, health},
	"stream":    {"stream NAME [COUNT]", "the newest events of a stream, 10 by default", 1, 2, readStream},
	"all":       {"all [COUNT]", "the newest events of all streams", 0, 1, readAll},
}

// Help lists the commands.
func (c *console) Help() string {
	var lines []string
	for _, k := range consoleCommands {
		lines = append(lines, fmt.Sprintf("%-22s%s", k.form, k.help))
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

// Words splits at spaces; "..." holds a name with spaces in it.
func (c *console) Words(line string) ([]string, error) {
	var out []string
	for rest := strings.TrimSpace(line); rest != ""; rest = strings.TrimSpace(rest) {
		if rest[0] != '"' {
			word, after, _ := strings.Cut(rest, " ")
			out, rest = append(out, word), after
			continue
		}
		quoted, err := strconv.QuotedPrefix(rest)
		if err != nil {
			return nil, errors.New("a quote is not closed")
		}
		word, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, err
		}
		out, rest = append(out, word), rest[len(quoted):]
	}
	return out, nil
}

// Judge knows only commands that read.
func (c *console) Judge(_ context.Context, words []string) (engine.Judgement, error) {
	return engine.Judgement{Class: engine.CommandRead, Summary: strings.ToLower(words[0])}, nil
}

// Run carries a command out.
func (c *console) Run(ctx context.Context, words []string) (string, error) {
	k, ok := consoleCommands[strings.ToLower(words[0])]
	if !ok {
		return fmt.Sprintf("There is no command %s. These are:\n%s", strconv.Quote(words[0]), c.Help()), nil
	}
	if args := len(words) - 1; args < k.least || args > k.most {
		return "It is used like this: " + k.form, nil
	}
	text, err := k.run(ctx, c, words[1:])
	if err != nil && ctx.Err() != nil {
		return "", ctx.Err()
	}
	return text, err
}

// Role is what the node's view says.
func (c *console) Role(ctx context.Context) (engine.Role, error) {
	v, err := c.n.view(ctx)
	if err != nil {
		return engine.RoleUnknown, err
	}
	if self := v.find(v.Self); self != nil {
		return v.role(self), nil
	}
	return engine.RoleUnknown, nil
}

// Close ends the connection.
func (c *console) Close() {
	if c.target != nil {
		_ = c.target.conn.Close()
	}
}

// document shows an address of the node's, indented where it is JSON.
func document(path string) func(context.Context, *console, []string) (string, error) {
	return func(ctx context.Context, c *console, _ []string) (string, error) {
		var raw json.RawMessage
		if err := c.n.call(ctx, http.MethodGet, c.n.base, path, nil, &raw); err != nil {
			return "", asActionError(err, "read "+path, false)
		}
		var b bytes.Buffer
		if err := json.Indent(&b, raw, "", "  "); err != nil {
			return "", err
		}
		if b.Len() > shownAnswer {
			return fmt.Sprintf("%s\n... and %d bytes more that are not shown", b.String()[:shownAnswer], b.Len()-shownAnswer), nil
		}
		return b.String(), nil
	}
}

func health(ctx context.Context, c *console, _ []string) (string, error) {
	var lines []string
	for _, path := range []string{"/health/live", "/health/ready"} {
		state := "yes"
		if err := c.n.call(ctx, http.MethodGet, c.n.base, path, nil, nil); err != nil {
			state = "no: " + err.Error()
		}
		lines = append(lines, fmt.Sprintf("%-7s%s", strings.TrimPrefix(path, "/health/"), state))
	}
	return strings.Join(lines, "\n"), nil
}

func eventCount(args []string) (uint64, error) {
	if len(args) == 0 {
		return 10, nil
	}
	n, err := strconv.ParseUint(args[0], 10, 64)
	if err != nil || n < 1 || n > maxEvents {
		return 0, bad("%q is not a number of events from 1 to %d", args[0], maxEvents)
	}
	return n, nil
}

func readStream(ctx context.Context, c *console, args []string) (string, error) {
	count, err := eventCount(args[1:])
	if err != nil {
		return "", err
	}
	return c.read(ctx, &streams.ReadReq_Options{CountOption: &streams.ReadReq_Options_Count{Count: count}, StreamOption: &streams.ReadReq_Options_Stream{
		Stream: &streams.ReadReq_Options_StreamOptions{StreamIdentifier: &client.StreamIdentifier{StreamName: []byte(args[0])},
			RevisionOption: &streams.ReadReq_Options_StreamOptions_End{End: &client.Empty{}}}}})
}

func readAll(ctx context.Context, c *console, args []string) (string, error) {
	count, err := eventCount(args)
	if err != nil {
		return "", err
	}
	return c.read(ctx, &streams.ReadReq_Options{CountOption: &streams.ReadReq_Options_Count{Count: count}, StreamOption: &streams.ReadReq_Options_All{
		All: &streams.ReadReq_Options_AllOptions{AllOption: &streams.ReadReq_Options_AllOptions_End{End: &client.Empty{}}}}})
}

// read shows events, newest last.
func (c *console) read(ctx context.Context, o *streams.ReadReq_Options) (string, error) {
	if c.target == nil {
		alone := c.n.in
		alone.Peers = nil
		ts, err := newTargets(alone)
		if err != nil {
			return "", asActionError(fmt.Errorf("%w: %w", errNotSent, err), "connect", false)
		}
		c.target = ts[0]
		c.target.auth = metadata.MD{"authorization": ts[0].auth.Get("authorization")} // any role may answer
	}
	o.ReadDirection = streams.ReadReq_Options_Backwards
	o.FilterOption = &streams.ReadReq_Options_NoFilter{NoFilter: &client.Empty{}}
	o.UuidOption = &streams.ReadReq_Options_UUIDOption{Content: &streams.ReadReq_Options_UUIDOption_String_{String_: &client.Empty{}}}
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(ctx, c.target.auth))
	defer cancel()
	s, err := c.target.api.Read(ctx, &streams.ReadReq{Options: o})
	var blocks []string
	for err == nil {
		var m *streams.ReadResp
		if m, err = s.Recv(); err != nil {
			break
		}
		if m.GetStreamNotFound() != nil {
			return "There is no such stream.", nil
		}
		if e := m.GetEvent().GetEvent(); e != nil {
			blocks = append(blocks, eventText(e))
		}
	}
	if !errors.Is(err, io.EOF) {
		return "", asActionError(err, "read events", false)
	}
	if len(blocks) == 0 {
		return "There are no events.", nil
	}
	var b strings.Builder
	for i := len(blocks) - 1; i >= 0; i-- {
		b.WriteString(blocks[i])
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

func eventText(e *streams.ReadResp_ReadEvent_RecordedEvent) string {
	at := ""
	if ticks, err := strconv.ParseInt(e.GetMetadata()["created"], 10, 64); err == nil {
		at = time.Unix(0, ticks*100).UTC().Format("2006-01-02 15:04:05.000Z")
	}
	return fmt.Sprintf("%s@%d  %s  %s  %s\n  %s\n", readable(string(e.GetStreamIdentifier().GetStreamName())), e.GetStreamRevision(), at, readable(e.GetMetadata()["type"]),
		readable(e.GetId().GetString_()), data(e.GetData()))
}

// data is an event's data as far as it is shown: text as it is, else in
// hexadecimal digits.
func data(p []byte) string {
	cut := p[:min(len(p), shownData)]
	text := strings.ToValidUTF8(string(cut), "")
	if len(text) < len(cut)-3 || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) && !unicode.IsSpace(r) }) {
		text = hex.EncodeToString(cut)
	}
	text = strings.Join(strings.Fields(text), " ")
	if more := len(p) - len(cut); more > 0 {
		text += fmt.Sprintf(" ... and %d bytes more", more)
	}
	return text
}

// readable is a name without what a terminal would take for a command.
func readable(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}
