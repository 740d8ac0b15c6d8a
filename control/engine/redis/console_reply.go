package redis

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// Bounds of what is kept of one reply; the rest is read and counted.
const (
	keptReplyBytes    = 128 << 10
	keptReplyElements = 10_000
	maxReplyDepth     = 16
	maxReplyLine      = 64 << 10
)

// errReply tells that the server did not speak its protocol.
var errReply = errors.New("the server's answer is not of its protocol")

// reply is one reply of the server, or as much of it as was kept.
type reply struct {
	kind  byte // '+', '-', ':', '$', '*'; '_' for null
	text  string
	size  int64   // bytes of a bulk string, elements of an array
	items []reply // as many as were kept
}

// replyReader reads replies from r, keeping at most the bounds above of each.
type replyReader struct {
	r        *bufio.Reader
	bytes    int64
	elements int
}

func (p *replyReader) next() (reply, error) {
	p.bytes, p.elements = keptReplyBytes, keptReplyElements
	return p.read(0)
}

func (p *replyReader) read(depth int) (reply, error) {
	line, err := p.line()
	if err != nil {
		return reply{}, err
	}
	if line == "" || depth > maxReplyDepth {
		return reply{}, errReply
	}
	v := reply{kind: line[0], text: line[1:]}
	switch v.kind {
	case '+', '-', ':':
		p.bytes -= int64(len(v.text))
		return v, nil
	case '$', '*':
	default:
		return v, errReply
	}
	if v.size, err = strconv.ParseInt(v.text, 10, 64); err != nil || v.size < -1 || v.size > 1<<40 {
		return v, errReply
	}
	v.text = ""
	switch {
	case v.size == -1:
		v.kind = '_'
	case v.kind == '$':
		v.text, err = p.bulk(v.size)
	default:
		for range v.size {
			item, err := p.read(depth + 1)
			if err != nil {
				return v, err
			}
			if p.elements > 0 && p.bytes > 0 {
				p.elements--
				v.items = append(v.items, item)
			}
		}
	}
	return v, err
}

func (p *replyReader) line() (string, error) {
	var b strings.Builder
	for {
		part, err := p.r.ReadSlice('\n')
		b.Write(part)
		if err == nil {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return "", err
		}
		if b.Len() > maxReplyLine {
			return "", errReply
		}
	}
	s, ok := strings.CutSuffix(b.String(), "\r\n")
	if !ok {
		return "", errReply
	}
	return s, nil
}

func (p *replyReader) bulk(size int64) (string, error) {
	keep := max(0, min(size, p.bytes))
	p.bytes -= keep
	b := make([]byte, keep)
	if _, err := io.ReadFull(p.r, b); err != nil {
		return "", err
	}
	if _, err := io.CopyN(io.Discard, p.r, size-keep); err != nil {
		return "", err
	}
	var end [2]byte
	if _, err := io.ReadFull(p.r, end[:]); err != nil {
		return "", err
	}
	if end != [2]byte{'\r', '\n'} {
		return "", errReply
	}
	return string(b), nil
}

var passwordHash = regexp.MustCompile(`^[0-9a-f]{64}$`)

// hashRule is a password in a user's rules.
var hashRule = regexp.MustCompile(`#[0-9a-f]{64}`)

// printer writes replies as redis-cli does, except for passwords.
type printer struct {
	b bytes.Buffer
	// hashes hides strings that are nothing but a password's hash.
	hashes bool
}

func (p *printer) print(v reply, indent string, hide bool) {
	switch v.kind {
	case '+':
		p.b.WriteString(plainText(v.text))
	case '-':
		p.b.WriteString("(error) " + plainText(v.text))
	case ':':
		p.b.WriteString("(integer) " + v.text)
	case '_':
		p.b.WriteString("(nil)")
	case '$':
		p.bulk(v, indent, hide)
	case '*':
		p.array(v, indent)
	}
}

func (p *printer) bulk(v reply, indent string, hide bool) {
	switch {
	case hide && v.size > 0, p.hashes && passwordHash.MatchString(v.text):
		p.b.WriteString("(hidden)")
		return
	case indent == "" && strings.ContainsAny(v.text, "\r\n") && printableText(v.text): // INFO, CLIENT LIST
		for line := range strings.Lines(hashRule.ReplaceAllString(v.text, "#(hidden)")) {
			p.b.WriteString(strings.TrimRight(line, "\r\n") + "\n")
		}
		p.trim()
	default:
		p.b.WriteString(strconv.Quote(hashRule.ReplaceAllString(v.text, "#(hidden)")))
	}
	if more := v.size - int64(len(v.text)); more > 0 {
		fmt.Fprintf(&p.b, " ... and %d bytes more that are not shown", more)
	}
}

func (p *printer) array(v reply, indent string) {
	if v.size == 0 {
		p.b.WriteString("(empty array)")
		return
	}
	width := len(strconv.FormatInt(v.size, 10))
	for i, item := range v.items {
		if i > 0 {
			p.b.WriteString(indent)
		}
		head := fmt.Sprintf("%*d) ", width, i+1)
		p.b.WriteString(head)
		hide := i > 0 && v.items[i-1].kind == '$' && secretSettings[strings.ToLower(v.items[i-1].text)]
		p.print(item, indent+strings.Repeat(" ", len(head)), hide)
		p.b.WriteByte('\n')
	}
	if more := v.size - int64(len(v.items)); more > 0 {
		fmt.Fprintf(&p.b, "%s... and %d more that are not shown", indent, more)
	} else {
		p.trim()
	}
}

// trim takes the last line's end back.
func (p *printer) trim() {
	p.b.Truncate(len(bytes.TrimRight(p.b.Bytes(), "\n")))
}

func printableText(s string) bool {
	for _, r := range s {
		if r < ' ' && r != '\n' && r != '\r' && r != '\t' || r == 0x7f || r == '\uFFFD' || r >= 0x80 && r < 0xa0 {
			return false
		}
	}
	return true
}

// plainText is a line without what a terminal would take for a command.
func plainText(s string) string {
	if printableText(s) {
		return s
	}
	q := strconv.Quote(s)
	return q[1 : len(q)-1]
}

// show is a reply in lines for people.
func show(v reply, hashes bool) string {
	p := &printer{hashes: hashes}
	p.print(v, "", false)
	return p.b.String()
}
