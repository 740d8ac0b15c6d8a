package reader

import (
	"fmt"
	"regexp"

	"baton/eventstore/stream"
)

// DefaultWindow is how many events are examined per page when a filter names no
// window.
const DefaultWindow = 32

// maxRegexBytes bounds a filter's regular expression.
const maxRegexBytes = 4 << 10

// FilterSpec is a filter on all streams as a client sends it. It needs either
// Prefixes or a Regex.
type FilterSpec struct {
	ByType   bool     // looks at the event type, else at the stream name
	Prefixes []string // matches what begins with any of them; case matters
	Regex    string   // RE2 syntax, matches anywhere in the text
	Window   uint32   // events examined per page; 0 = DefaultWindow
	// CheckpointMultiplier times Window examined events make a checkpoint
	// interval. 0 is refused.
	CheckpointMultiplier uint32
}

// Filter is a checked FilterSpec. Safe for concurrent use.
type Filter struct {
	byType   bool
	prefixes []string
	regex    *regexp.Regexp
	interval uint64 // examined events per checkpoint
}

// NewFilter checks a filter. Its errors wrap ErrInvalidFilter.
func NewFilter(s FilterSpec) (*Filter, error) {
	bad := func(format string, args ...any) (*Filter, error) {
		return nil, fmt.Errorf("%w: %s", ErrInvalidFilter, fmt.Sprintf(format, args...))
	}
	if s.CheckpointMultiplier == 0 {
		return bad("the checkpoint interval multiplier must be at least 1")
	}
	if s.Window == 0 {
		s.Window = DefaultWindow
	}
	f := &Filter{byType: s.ByType, prefixes: s.Prefixes, interval: uint64(s.Window) * uint64(s.CheckpointMultiplier)}
	switch {
	case s.Regex != "" && len(s.Prefixes) > 0:
		return bad("give prefixes or a regular expression, not both")
	case len(s.Regex) > maxRegexBytes:
		return bad("the regular expression is longer than %d bytes", maxRegexBytes)
	case s.Regex != "":
		re, err := regexp.Compile(s.Regex)
		if err != nil {
			return bad("%v (look-around and back-references are not supported)", err)
		}
		f.regex = re
	case len(s.Prefixes) == 0:
		return bad("neither prefixes nor a regular expression")
	}
	return f, nil
}

// Interval is how many examined events make a checkpoint.
func (f *Filter) Interval() uint64 { return f.interval }

// matches judges an event; links are judged themselves, not their target.
func (f *Filter) matches(r stream.Record, v stream.EventView) bool {
	if f == nil {
		return true
	}
	text := v.Type()
	if !f.byType {
		text = r.Write(v.Write()).Stream
	}
	if f.regex != nil {
		return f.regex.Match(text)
	}
	for _, p := range f.prefixes {
		if len(text) >= len(p) && string(text[:len(p)]) == p {
			return true
		}
	}
	return false
}
