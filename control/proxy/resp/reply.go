package resp

import (
	"bytes"
	"errors"
	"fmt"
)

// ErrReply is in the chain of errors about bytes that are no reply.
var ErrReply = errors.New("the server's answer is not understood")

const (
	// maxDepth bounds how deep answers are nested; servers nest a handful.
	maxDepth = 128
	// maxLine bounds a line that is waited for, and so what is kept of one that
	// comes in pieces.
	maxLine = 1 << 20
)

// Replies finds where answers end in a stream of bytes that comes in pieces.
// The zero value is ready. It keeps nothing of an answer but an unfinished line.
type Replies struct {
	line  []byte  // the beginning of a line that did not end yet
	left  int64   // bytes of a string still missing, its line end included
	stack []int64 // values missing on each level
	begun bool
	kind  byte
}

// Partial tells whether an answer has begun and not ended.
func (p *Replies) Partial() bool { return p.begun }

// Kind is the first byte of the answer that ended last, or is under way.
func (p *Replies) Kind() byte { return p.kind }

// Next consumes at most one answer from b: n bytes, and done when the answer
// ended with them. Without done all of b was consumed.
func (p *Replies) Next(b []byte) (n int, done bool, err error) {
	if !p.begun && len(b) > 0 {
		p.begun, p.kind, p.stack = true, b[0], p.stack[:0]
	}
	for n < len(b) {
		if p.left > 0 {
			take := min(p.left, int64(len(b)-n))
			p.left -= take
			n += int(take)
			if p.left == 0 && p.value() {
				return n, true, nil
			}
			continue
		}
		end := bytes.IndexByte(b[n:], '\n')
		if end < 0 {
			if len(p.line)+len(b)-n > maxLine {
				return n, false, fmt.Errorf("%w: a line does not end within %d bytes", ErrReply, maxLine)
			}
			p.line = append(p.line, b[n:]...)
			return len(b), false, nil
		}
		line := b[n : n+end]
		n += end + 1
		if len(p.line) > 0 {
			line = append(p.line, line...)
			p.line = p.line[:0]
		}
		ended, err := p.header(line)
		if err != nil {
			return n, false, err
		}
		if ended && p.value() {
			return n, true, nil
		}
	}
	return n, false, nil
}

// header takes one line in, without its "\n", and tells whether a value ended
// with it.
func (p *Replies) header(line []byte) (ended bool, err error) {
	if len(line) < 2 || line[len(line)-1] != '\r' {
		return false, fmt.Errorf("%w: line %q", ErrReply, clip(line))
	}
	kind, text := line[0], line[1:len(line)-1]
	switch kind {
	case '+', '-', ':', '_', ',', '#', '(':
		return true, nil
	case '$', '!', '=':
		n, ok := parseInt(text)
		switch {
		case !ok || n < -1:
			return false, fmt.Errorf("%w: length %q", ErrReply, clip(line))
		case n == -1:
			return true, nil
		}
		p.left = n + 2
		return false, nil
	case '*', '~', '>', '%', '|':
		n, ok := parseInt(text)
		if !ok || n < -1 || n > 1<<40 {
			return false, fmt.Errorf("%w: length %q", ErrReply, clip(line))
		}
		if kind == '%' || kind == '|' {
			n *= 2
		}
		if kind == '|' { // belongs to the value that follows
			n++
		}
		if n <= 0 {
			return true, nil
		}
		if len(p.stack) == maxDepth {
			return false, fmt.Errorf("%w: nested deeper than %d", ErrReply, maxDepth)
		}
		p.stack = append(p.stack, n)
		return false, nil
	}
	return false, fmt.Errorf("%w: it begins with %q", ErrReply, clip(line))
}

// value counts one value that ended and tells whether the answer did.
func (p *Replies) value() bool {
	for len(p.stack) > 0 {
		top := len(p.stack) - 1
		p.stack[top]--
		if p.stack[top] > 0 {
			return false
		}
		p.stack = p.stack[:top]
	}
	p.begun = false
	return true
}

func clip(b []byte) []byte { return b[:min(len(b), 40)] }

// Strings returns the first strings of an array or push, at most most, as far
// as they are strings: of ["message", "a", "b"] all three.
func Strings(answer []byte, most int) [][]byte {
	rest := answer
	line := func() (kind byte, n int64, ok bool) {
		end := bytes.IndexByte(rest, '\n')
		if end < 2 {
			return 0, 0, false
		}
		kind = rest[0]
		text := rest[1 : end-1]
		if kind == '+' {
			rest = rest[1:]
			return kind, int64(len(text)), true
		}
		rest = rest[end+1:]
		n, ok = parseInt(text)
		return kind, n, ok
	}
	kind, n, ok := line()
	if !ok || kind != '*' && kind != '>' {
		return nil
	}
	var out [][]byte
	for range min(n, int64(most)) {
		kind, size, ok := line()
		if !ok || kind != '$' && kind != '+' || size < 0 || int64(len(rest)) < size+2 {
			return out
		}
		out = append(out, rest[:size])
		rest = rest[size+2:]
	}
	return out
}
