// Package trace holds what a trace is made of: the place in a trace that a
// request carries from process to process, and spans, the steps it consists of.
// It computes only; package tracing sends spans away.
//
// The text form of a place is the traceparent of the W3C Trace Context
// recommendation; see [Parse].
package trace

import (
	"encoding/binary"
	"encoding/hex"

	"github.com/cespare/xxhash/v2"
)

// Context is a place in a trace: the trace and the span that what comes next
// belongs to. The zero value is none.
type Context struct {
	Trace   [16]byte
	Span    [8]byte
	Sampled bool // the trace is kept: spans are to be recorded
}

// IsValid reports whether both ids are given.
func (c Context) IsValid() bool { return c.Trace != [16]byte{} && c.Span != [8]byte{} }

// textBytes is the length of a traceparent of version 00.
const textBytes = 55

// Parse reads a traceparent: version, trace, span and flags in hexadecimal
// digits, joined by dashes. Later versions may append more. It reports whether
// the text is one.
func Parse(text string) (Context, bool) {
	var c Context
	var version, flags [1]byte
	switch {
	case len(text) < textBytes, text[2] != '-', text[35] != '-', text[52] != '-', len(text) > textBytes && text[textBytes] != '-':
		return Context{}, false
	case !digits(version[:], text[:2]), version[0] == 0xff, version[0] == 0 && len(text) != textBytes,
		!digits(c.Trace[:], text[3:35]), !digits(c.Span[:], text[36:52]), !digits(flags[:], text[53:55]):
		return Context{}, false
	}
	c.Sampled = flags[0]&1 != 0
	if !c.IsValid() {
		return Context{}, false
	}
	return c, true
}

// digits decodes lower-case hexadecimal digits.
func digits(dst []byte, text string) bool {
	for i := range len(text) {
		if d := text[i]; (d < '0' || d > '9') && (d < 'a' || d > 'f') {
			return false
		}
	}
	_, err := hex.Decode(dst, []byte(text))
	return err == nil
}

// String is the traceparent.
func (c Context) String() string {
	flags := "-00"
	if c.Sampled {
		flags = "-01"
	}
	return "00-" + hex.EncodeToString(c.Trace[:]) + "-" + hex.EncodeToString(c.Span[:]) + flags
}

// Bytes is the size of the binary form: trace (16), span (8), flags (1, bit 0: sampled).
const Bytes = 25

// Append adds the binary form.
func (c Context) Append(b []byte) []byte {
	b = append(append(b, c.Trace[:]...), c.Span[:]...)
	if c.Sampled {
		return append(b, 1)
	}
	return append(b, 0)
}

// Decode reads the binary form off b. ok is false when it is not all there or
// names no place.
func Decode(b []byte) (c Context, rest []byte, ok bool) {
	if len(b) < Bytes {
		return Context{}, b, false
	}
	copy(c.Trace[:], b)
	copy(c.Span[:], b[16:])
	c.Sampled = b[24]&1 != 0
	return c, b[Bytes:], c.IsValid()
}

// Child is the place of the n-th span that begins here. Two processes that know
// the parent name its children alike without asking each other.
func (c Context) Child(n uint64) Context {
	var b [16]byte
	copy(b[:], c.Span[:])
	binary.BigEndian.PutUint64(b[8:], n)
	sum := xxhash.Sum64(b[:])
	if sum == 0 {
		sum = 1
	}
	binary.BigEndian.PutUint64(c.Span[:], sum)
	return c
}

// Kind is what a span is to the request it belongs to.
type Kind uint8

const (
	// Internal: a step inside one process.
	Internal Kind = iota
	// Server: the answering of a request of another process.
	Server
	// Client: a request to another process and the wait for its answer.
	Client
)

// Attribute is one fact about a span: Text, or Int when Text is empty.
type Attribute struct {
	Key  string
	Text string
	Int  int64
}

// Span is one step that has ended.
type Span struct {
	Parent     Context
	ID         [8]byte // zero: any
	Name       string
	Kind       Kind
	Start, End int64 // nanoseconds since the Unix epoch; an End before Start counts as Start
	Attributes []Attribute
	Error      string // empty: it succeeded
}
