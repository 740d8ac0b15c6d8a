package stream

import (
	"strings"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
)

// MaxNameBytes bounds a stream's name. The protocol sets no bound; ours keeps
// index keys and heads small.
const MaxNameBytes = 16 << 10

// RequestError says why a request is refused whatever the state of streams.
type RequestError struct {
	Reason string // a sentence for the client
}

func (e *RequestError) Error() string { return e.Reason }

// CheckName returns a *RequestError if no stream can have the name.
func CheckName(name string) error {
	switch {
	case name == "":
		return &RequestError{"the stream name is empty"}
	case name == metaPrefix:
		return &RequestError{"\"$$\" names the metadata of a stream without a name"}
	case len(name) > MaxNameBytes:
		return &RequestError{"the stream name is longer than 16384 bytes"}
	case !utf8.ValidString(name):
		return &RequestError{"the stream name is not valid UTF-8"}
	}
	return nil
}

// checkWritable is CheckName and what more a written stream must satisfy.
func checkWritable(name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if name == AllStream {
		return &RequestError{"$all is the stream of all events and cannot be written or deleted"}
	}
	if strings.HasPrefix(name, metaPrefix+metaPrefix) {
		return &RequestError{"a metadata stream has no metadata of its own"}
	}
	return nil
}

// Interner gives one string for equal bytes as far as its bounded memory goes.
// It spares an allocation for each event of a stream or type seen lately. The
// zero value is ready. Not safe for concurrent use.
type Interner struct {
	slots []string
}

// internSlots bounds an Interner: 512 strings, 8 KiB beside the strings.
const internSlots = 512

// internWays is the number of neighbouring slots a string may stand in.
const internWays = 4

// String returns b as a string that does not alias b.
func (t *Interner) String(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if t.slots == nil {
		t.slots = make([]string, internSlots)
	}
	h := xxhash.Sum64(b)
	for i := range uint64(internWays) {
		if s := t.slots[(h+i)%internSlots]; s == string(b) {
			return s
		}
	}
	s := string(b)
	if len(s) <= 256 { // long names are not worth the memory
		t.slots[(h+h>>32%internWays)%internSlots] = s
	}
	return s
}
