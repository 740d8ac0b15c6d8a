package projection

import "fmt"

// Kind is what a fault is about.
type Kind string

// The kinds of faults.
const (
	// Invalid: the script cannot be a projection; it is refused before it runs.
	Invalid Kind = "invalid"
	// Failed: the script threw.
	Failed Kind = "failed"
	// TooLong: a call did not end in its time.
	TooLong Kind = "too long"
	// TooMuch: a call wanted to hold or emit more than it may.
	TooMuch Kind = "too much"
	// Broken: the interpreter itself broke down over the script.
	Broken Kind = "broken"
)

// Fault is why a script was refused or stopped. Its text names the projection, the reason and the place.
type Fault struct {
	// Projection is its name.
	Projection string
	Kind       Kind
	// Reason is a sentence without a stop: what happened, and what to do where that is known.
	Reason string
	// Location is "line L, column C" of the script, and the function where it has a name; empty where it is not known.
	Location string
	// Line and Column count from 1; 0 where they are not known.
	Line, Column int
	// Event is the event that was handled, "revision@stream"; empty when there was none.
	Event string
}

// Error is one line.
func (f *Fault) Error() string {
	text := fmt.Sprintf("projection %q: %s", f.Projection, f.Reason)
	if f.Location != "" {
		text += " (" + f.Location + ")"
	}
	if f.Event != "" {
		text += " at event " + f.Event
	}
	return text
}
