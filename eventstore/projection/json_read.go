package projection

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/dop251/goja"
)

// maxDepth is how deeply JSON may be nested, read or written. Values are walked by recursion: without a bound a small event could use up the stack, which ends the process.
const maxDepth = 512

var errJSON = errors.New("not valid JSON")

// reader makes values of an interpreter out of JSON (RFC 8259, one value with space around it).
type reader struct {
	vm    *goja.Runtime
	text  []byte
	at    int
	depth int
	check func() // panics when the call is to stop
	count int
}

// readJSON parses text. Errors wrap errJSON. Halves of surrogate pairs stay as they are; bytes that are not UTF-8 become U+FFFD.
func (e *engine) readJSON(text []byte) (goja.Value, error) {
	r := reader{vm: e.vm, text: text, check: e.check}
	v, err := r.value()
	if err != nil {
		return nil, err
	}
	r.space()
	if r.at != len(r.text) {
		return nil, r.wrong("text after the end")
	}
	return v, nil
}

func (r *reader) wrong(what string) error {
	return fmt.Errorf("%w: %s at byte %d", errJSON, what, r.at)
}

func (r *reader) space() {
	for r.at < len(r.text) {
		switch r.text[r.at] {
		case ' ', '\t', '\n', '\r':
			r.at++
		default:
			return
		}
	}
}

// next is the first byte after space; 0 at the end.
func (r *reader) next() byte {
	r.space()
	if r.at == len(r.text) {
		return 0
	}
	return r.text[r.at]
}

func (r *reader) value() (goja.Value, error) {
	if r.count++; r.count%1024 == 0 {
		r.check()
	}
	switch c := r.next(); c {
	case '{':
		return r.nested(r.object)
	case '[':
		return r.nested(r.array)
	case '"':
		return r.text16()
	case 't':
		return r.word("true", r.vm.ToValue(true))
	case 'f':
		return r.word("false", r.vm.ToValue(false))
	case 'n':
		return r.word("null", goja.Null())
	case 0:
		return nil, r.wrong("it ends too early")
	default:
		if c == '-' || c >= '0' && c <= '9' {
			return r.number()
		}
		return nil, r.wrong("a value was expected")
	}
}

func (r *reader) nested(parse func() (goja.Value, error)) (goja.Value, error) {
	if r.depth++; r.depth > maxDepth {
		return nil, r.wrong("it is nested too deeply")
	}
	v, err := parse()
	r.depth--
	return v, err
}

func (r *reader) word(word string, v goja.Value) (goja.Value, error) {
	if len(r.text)-r.at < len(word) || string(r.text[r.at:r.at+len(word)]) != word {
		return nil, r.wrong("a value was expected")
	}
	r.at += len(word)
	return v, nil
}

func (r *reader) object() (goja.Value, error) {
	o := r.vm.NewObject()
	r.at++
	if r.next() == '}' {
		r.at++
		return o, nil
	}
	for {
		if r.next() != '"' {
			return nil, r.wrong("a name was expected")
		}
		name, err := r.str()
		if err != nil {
			return nil, err
		}
		if r.next() != ':' {
			return nil, r.wrong("a colon was expected")
		}
		r.at++
		v, err := r.value()
		if err != nil {
			return nil, err
		}
		// Defining, not assigning: what a script hung on Object.prototype has no say.
		if err := o.DefineDataProperty(name, v, goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_TRUE); err != nil {
			return nil, err
		}
		switch r.next() {
		case ',':
			r.at++
		case '}':
			r.at++
			return o, nil
		default:
			return nil, r.wrong("a comma or the end of the object was expected")
		}
	}
}

func (r *reader) array() (goja.Value, error) {
	var items []any
	r.at++
	if r.next() == ']' {
		r.at++
		return r.vm.NewArray(), nil
	}
	for {
		v, err := r.value()
		if err != nil {
			return nil, err
		}
		items = append(items, v)
		switch r.next() {
		case ',':
			r.at++
		case ']':
			r.at++
			return r.vm.NewArray(items...), nil
		default:
			return nil, r.wrong("a comma or the end of the array was expected")
		}
	}
}

func (r *reader) number() (goja.Value, error) {
	start, whole := r.at, true
	digits := func() bool {
		from := r.at
		for r.at < len(r.text) && r.text[r.at] >= '0' && r.text[r.at] <= '9' {
			r.at++
		}
		return r.at > from
	}
	at := func(c byte) bool { return r.at < len(r.text) && r.text[r.at] == c }
	if at('-') {
		r.at++
	}
	if at('0') {
		r.at++
	} else if !digits() {
		return nil, r.wrong("a digit was expected")
	}
	if at('.') {
		r.at++
		whole = false
		if !digits() {
			return nil, r.wrong("a digit was expected")
		}
	}
	if at('e') || at('E') {
		r.at++
		whole = false
		if at('+') || at('-') {
			r.at++
		}
		if !digits() {
			return nil, r.wrong("a digit was expected")
		}
	}
	text := string(r.text[start:r.at])
	if whole && len(text) <= 15 && text != "-0" {
		n, _ := strconv.ParseInt(text, 10, 64)
		return r.vm.ToValue(n), nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil && !math.IsInf(f, 0) {
		return nil, r.wrong("a number was expected")
	}
	return r.vm.ToValue(f), nil
}

// text16 reads a string as a value.
func (r *reader) text16() (goja.Value, error) {
	start := r.at
	s, err := r.str()
	if err != nil {
		return nil, err
	}
	if !halves(r.text[start:r.at]) {
		return r.vm.ToValue(s), nil
	}
	return r.units(r.text[start+1 : r.at-1]), nil
}

// str reads a string as UTF-8; halves of pairs become U+FFFD.
func (r *reader) str() (string, error) {
	r.at++
	start := r.at
	for r.at < len(r.text) {
		switch c := r.text[r.at]; {
		case c == '"':
			raw := r.text[start:r.at]
			r.at++
			return valid(raw), nil
		case c == '\\':
			return r.escaped(start)
		case c < 0x20:
			return "", r.wrong("a control character in a string")
		}
		r.at++
	}
	return "", r.wrong("it ends in a string")
}

// valid is raw as text.
func valid(raw []byte) string {
	if utf8.Valid(raw) {
		return string(raw)
	}
	return string([]rune(string(raw)))
}

func (r *reader) escaped(start int) (string, error) {
	out := append([]byte(nil), r.text[start:r.at]...)
	for r.at < len(r.text) {
		c := r.text[r.at]
		r.at++
		switch {
		case c == '"':
			return valid(out), nil
		case c < 0x20:
			return "", r.wrong("a control character in a string")
		case c != '\\':
			out = append(out, c)
			continue
		}
		if r.at == len(r.text) {
			break
		}
		c = r.text[r.at]
		r.at++
		switch c {
		case '"', '\\', '/':
			out = append(out, c)
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			u, ok := hex4(r.text[r.at:])
			if !ok {
				return "", r.wrong("four hexadecimal digits were expected")
			}
			r.at += 4
			if utf16.IsSurrogate(u) && len(r.text)-r.at >= 6 && r.text[r.at] == '\\' && r.text[r.at+1] == 'u' {
				if low, ok := hex4(r.text[r.at+2:]); ok {
					if pair := utf16.DecodeRune(u, low); pair != utf8.RuneError {
						r.at += 6
						u = pair
					}
				}
			}
			out = utf8.AppendRune(out, u)
		default:
			return "", r.wrong("an unknown escape in a string")
		}
	}
	return "", r.wrong("it ends in a string")
}

func hex4(text []byte) (rune, bool) {
	if len(text) < 4 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(text[:4]), 16, 16)
	if err != nil || text[0] == '+' || text[0] == '_' {
		return 0, false
	}
	return rune(n), true
}

// halves says whether an escape of a surrogate stands in a string that was read without error.
func halves(raw []byte) bool {
	for i := 0; i+2 < len(raw); i++ {
		if raw[i] == '\\' {
			if raw[i+1] == 'u' && (raw[i+2] == 'd' || raw[i+2] == 'D') {
				return true
			}
			i++
		}
	}
	return false
}

// units makes a string of a valid literal's inside that may have halves of pairs.
func (r *reader) units(raw []byte) goja.Value {
	var out []uint16
	for i := 0; i < len(raw); {
		if raw[i] != '\\' {
			c, n := utf8.DecodeRune(raw[i:])
			out = utf16.AppendRune(out, c)
			i += n
			continue
		}
		if raw[i+1] == 'u' {
			u, _ := hex4(raw[i+2:])
			out = append(out, uint16(u))
			i += 6
			continue
		}
		c := raw[i+1]
		switch c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		}
		out = append(out, uint16(c))
		i += 2
	}
	return goja.StringFromUTF16(out)
}
