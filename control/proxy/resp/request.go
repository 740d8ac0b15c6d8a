package resp

import (
	"bytes"
	"errors"
	"fmt"
)

// Limits of one request.
type Limits struct {
	Bytes  int // of the whole request
	Args   int // number of arguments, the command's name included
	Inline int // bytes of a request in the inline form
}

// DefaultLimits allow what the server allows by default, except that a request
// is at most 64 MiB where the server takes 512 MiB for each argument: a proxy
// keeps a request whole while it waits.
var DefaultLimits = Limits{Bytes: 64 << 20, Args: 1 << 20, Inline: 64 << 10}

// ErrTooLarge is in the chain of errors about a request beyond the limits.
var ErrTooLarge = errors.New("the request is too large")

// protocol is an error in the server's own words.
func protocol(what string) error { return fmt.Errorf("%s: %s", protocolError, what) }

func tooLarge(most int) error {
	return fmt.Errorf("%s: %w: at most %d bytes are taken", protocolError, ErrTooLarge, most)
}

const protocolError = "Protocol error"

// Requests finds the end of one request after the other in a buffer that grows
// at its end. The zero value with Limits set is ready. It looks at each byte
// once, however the bytes arrive.
type Requests struct {
	Limits Limits

	pos   int // how far the request that begins at 0 has been looked at
	left  int // arguments still missing; -1 before the header
	begun bool
	spans []span
}

type span struct{ from, to int }

// Request is one complete request. Args are parts of the buffer it was found
// in, valid until the buffer changes.
type Request struct {
	Size   int  // bytes of the buffer that it takes
	Inline bool // a line of words, not an array of strings
	Args   [][]byte
}

// Partial tells whether a request has begun and not ended.
func (p *Requests) Partial() bool { return p.begun }

// Next looks for the end of the request that begins at buf[0]. ok is false
// when bytes are missing: call again with the same bytes and more. After an ok
// the next call begins at the next request: the caller cuts Size bytes off. A
// request without arguments (an empty line, an empty array) is ok and gets no
// answer from a server. An error is one the server would end the connection
// for; its text is fit for an error reply.
func (p *Requests) Next(buf []byte, r *Request) (ok bool, err error) {
	if len(buf) == 0 {
		return false, nil
	}
	if !p.begun {
		p.begun, p.pos, p.left, p.spans = true, 0, -1, p.spans[:0]
	}
	if buf[0] != '*' {
		return p.inline(buf, r)
	}
	if p.left < 0 {
		n, ok, err := p.number(buf, "multibulk", int64(p.Limits.Args))
		if !ok || err != nil {
			return false, err
		}
		p.left = max(int(n), 0)
	}
	for p.left > 0 {
		if p.pos == len(buf) {
			return false, nil
		}
		if buf[p.pos] != '$' {
			return false, protocol(fmt.Sprintf("expected '$', got '%c'", printable(buf[p.pos])))
		}
		start := p.pos
		n, ok, err := p.number(buf, "bulk", int64(p.Limits.Bytes))
		if !ok || err != nil {
			return false, err
		}
		if n < 0 {
			return false, protocol("invalid bulk length")
		}
		if p.pos+int(n)+2 > p.Limits.Bytes {
			return false, tooLarge(p.Limits.Bytes)
		}
		if len(buf) < p.pos+int(n)+2 {
			p.pos = start
			return false, nil
		}
		p.spans = append(p.spans, span{p.pos, p.pos + int(n)})
		p.pos += int(n) + 2
		p.left--
	}
	p.done(buf, r)
	return true, nil
}

func (p *Requests) done(buf []byte, r *Request) {
	r.Size, r.Inline, r.Args = p.pos, false, r.Args[:0]
	for _, s := range p.spans {
		r.Args = append(r.Args, buf[s.from:s.to])
	}
	p.begun = false
}

// maxNumber is the longest line with a length that a server reads.
const maxNumber = 64 << 10

// number reads "*12\r\n" or "$12\r\n" at pos.
func (p *Requests) number(buf []byte, what string, most int64) (n int64, ok bool, err error) {
	line := buf[p.pos:]
	end := bytes.IndexByte(line, '\r')
	if end < 0 || end+1 == len(line) {
		if len(line) > maxNumber {
			return 0, false, protocol(fmt.Sprintf("too big %s count string", what))
		}
		return 0, false, nil
	}
	n, valid := parseInt(line[1:end])
	switch {
	case !valid:
		return 0, false, protocol(fmt.Sprintf("invalid %s length", what))
	case n > most && what == "bulk":
		return 0, false, tooLarge(p.Limits.Bytes)
	case n > most:
		return 0, false, protocol(fmt.Sprintf("invalid %s length", what))
	}
	p.pos += end + 2
	return n, true, nil
}

func (p *Requests) inline(buf []byte, r *Request) (bool, error) {
	end := bytes.IndexByte(buf[p.pos:], '\n')
	if end < 0 {
		p.pos = len(buf)
		if len(buf) > p.Limits.Inline {
			return false, protocol("too big inline request")
		}
		return false, nil
	}
	end += p.pos
	if end > p.Limits.Inline {
		return false, protocol("too big inline request")
	}
	args, ok := words(bytes.TrimSuffix(buf[:end], []byte("\r")), r.Args[:0])
	if !ok {
		return false, protocol("unbalanced quotes in request")
	}
	r.Size, r.Inline, r.Args = end+1, true, args
	p.begun = false
	return true, nil
}

// words splits a line as the server does: at spaces, with double quotes
// (escapes \n \r \t \b \a \xHH) and single quotes (escape \').
func words(line []byte, out [][]byte) (_ [][]byte, ok bool) {
	for i := 0; ; {
		for i < len(line) && space(line[i]) {
			i++
		}
		if i == len(line) {
			return out, true
		}
		var w []byte
		for quote := byte(0); ; i++ {
			if i == len(line) {
				if quote != 0 {
					return out, false
				}
				break
			}
			c := line[i]
			if quote == 0 && space(c) {
				break
			}
			switch {
			case quote == 0 && (c == '"' || c == '\''):
				quote = c
				continue
			case quote != 0 && c == quote:
				if i+1 < len(line) && !space(line[i+1]) {
					return out, false
				}
				quote = 0
				continue
			case quote == '"' && c == '\\' && i+3 < len(line) && line[i+1] == 'x' && hex(line[i+2]) >= 0 && hex(line[i+3]) >= 0:
				w = append(w, byte(hex(line[i+2])<<4|hex(line[i+3])))
				i += 3
				continue
			case quote == '"' && c == '\\' && i+1 < len(line):
				i++
				w = append(w, unescape(line[i]))
				continue
			case quote == '\'' && c == '\\' && i+1 < len(line) && line[i+1] == '\'':
				i++
				c = '\''
			}
			w = append(w, c)
		}
		if w == nil {
			w = []byte{}
		}
		out = append(out, w)
	}
}

func space(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' || c == 0 }

func hex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

func unescape(c byte) byte {
	switch c {
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	case 'b':
		return '\b'
	case 'a':
		return '\a'
	}
	return c
}

func printable(c byte) byte {
	if c < 32 || c > 126 {
		return '?'
	}
	return c
}

// parseInt reads a decimal number without allocating; at most 18 digits.
func parseInt(b []byte) (n int64, ok bool) {
	neg := len(b) > 0 && b[0] == '-'
	if neg {
		b = b[1:]
	}
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	if neg {
		n = -n
	}
	return n, true
}

// Append writes a request as an array of strings.
func Append(dst []byte, args ...[]byte) []byte {
	dst = appendHeader(dst, '*', len(args))
	for _, a := range args {
		dst = appendHeader(dst, '$', len(a))
		dst = append(append(dst, a...), '\r', '\n')
	}
	return dst
}

// AppendStrings is Append for strings.
func AppendStrings(dst []byte, args ...string) []byte {
	dst = appendHeader(dst, '*', len(args))
	for _, a := range args {
		dst = appendHeader(dst, '$', len(a))
		dst = append(append(dst, a...), '\r', '\n')
	}
	return dst
}

func appendHeader(dst []byte, kind byte, n int) []byte {
	return append(fmt.Appendf(append(dst, kind), "%d", n), '\r', '\n')
}
