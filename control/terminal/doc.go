// Package terminal is the control plane's part in people's terminals on nodes:
// who may open one, what may be done in it at each moment, its recording, its
// limits and its end. Commands are typed in a browser or by the command line,
// carried over the agent's own link and run beside the node (package agent).
//
// A terminal begins with a ticket: one use, TicketLife long, for one person.
// While it is open the node's role is looked at twice a second; the permission
// to write was given for a role and is suspended when the node has another one.
// Each command that may change something is asked about, audited, and only then
// carried out. Everything shown is recorded; a terminal that cannot be recorded
// ends.
//
// Sessions are in the journal's stream "terminals", recordings in files of the
// control node that carried the session. A Manager may be used from many
// goroutines.
package terminal
