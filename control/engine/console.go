package engine

import "context"

// Consoler is what a driver offers beside Driver when people may type commands
// to its instances.
type Consoler interface {
	// Console prepares one person's connection to the instance; the first
	// command connects.
	Console(in Instance) (Console, error)
	// Conceal returns a line as it may be shown and kept while it is typed: as
	// many runes, those of passwords replaced by '*'.
	Conceal(line string) string
}

// Console is one person's connection to an instance. Its methods are called
// one after the other, except Close, which may interrupt any of them.
type Console interface {
	// Words splits a line into a command and its arguments.
	Words(line string) ([]string, error)
	// Judge says what a command would do. It carries nothing out.
	Judge(ctx context.Context, words []string) (Judgement, error)
	// Run carries a command out, whatever Judge says of it, and returns the
	// answer in lines for people, bounded. A command refused by the server is an
	// answer; the error is kept for a server that does not answer. When ctx ends
	// the connection is closed, and with it what the connection held (MULTI, WATCH).
	Run(ctx context.Context, words []string) (answer string, err error)
	// Role is what the instance says it is at this moment.
	Role(ctx context.Context) (Role, error)
	// Help is what can be typed, a few lines.
	Help() string
	// Close ends the connection.
	Close()
}

// CommandClass says what a command needs.
type CommandClass string

// Classes of commands, from harmless to impossible.
const (
	// CommandRead changes nothing.
	CommandRead CommandClass = "read"
	// CommandWrite may change data.
	CommandWrite CommandClass = "write"
	// CommandAdmin may change the server, or all data at once.
	CommandAdmin CommandClass = "admin"
	// CommandRefused is never carried out in a terminal.
	CommandRefused CommandClass = "refused"
)

// Judgement is what is known of a command before it is carried out.
type Judgement struct {
	Class CommandClass
	// Summary is the command as the audit keeps it: name and keys, no values.
	Summary string
	// Danger is one sentence about what may follow when it should be confirmed,
	// else "".
	Danger string
	// Why it is refused and what to use instead, each one sentence; set with
	// CommandRefused.
	Why     string
	Instead string
}
