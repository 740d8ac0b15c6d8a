package projection

import (
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/dop251/goja"
)

// writer writes values of an interpreter as JSON, as JSON.stringify does, with bounds on length and depth. It notes whether reading the text back gives the
// same value: [writer.exact].
type writer struct {
	e     *engine
	out   []byte
	limit int
	what  string // what is written, for the fault
	depth int
	count int

	// replacer and names are the second argument of JSON.stringify; indent is the third.
	replacer goja.Callable
	names    []string
	indent   string

	// exact: reading back gives the same value. Only found out when seen is not nil.
	exact bool
	seen  map[*goja.Object]struct{}
	few   []*goja.Object // the first ones of seen
}

// plainType is what objects say that are neither functions nor Go's nor of a class of the language.
var plainType = reflect.TypeFor[map[string]any]()

// fewObjects is how many objects are looked for one by one; more are kept in a map.
const fewObjects = 12

// writeJSON is v as JSON, nil for undefined and functions. More than limit bytes, or deeper than maxDepth, is a fault that says what was written.
func (e *engine) writeJSON(v goja.Value, limit int, what string) []byte {
	w := writer{e: e, limit: limit, what: what}
	if !w.member("", nil, v) {
		return nil
	}
	return w.out
}

// member writes one value and says whether there was one.
func (w *writer) member(name string, holder *goja.Object, v goja.Value) bool {
	if w.count++; w.count%1024 == 0 {
		w.e.check()
	}
	if o, ok := v.(*goja.Object); ok {
		if f, ok := goja.AssertFunction(o.Get("toJSON")); ok {
			w.exact = false
			v = w.e.must(f(o, w.e.vm.ToValue(name)))
		}
	}
	if w.replacer != nil {
		if holder == nil {
			holder = w.e.vm.NewObject()
			_ = holder.Set(name, v)
		}
		v = w.e.must(w.replacer(holder, w.e.vm.ToValue(name), v))
	}
	if o, ok := v.(*goja.Object); ok {
		return w.object(o)
	}
	return w.primitive(v)
}

func (w *writer) primitive(v goja.Value) bool {
	switch {
	case v == nil || goja.IsUndefined(v):
		w.exact = false
		return false
	case goja.IsNull(v):
		w.add("null")
	case goja.IsString(v):
		w.text(v.(goja.String))
	case goja.IsNumber(v):
		switch n := v.Export().(type) {
		case int64:
			w.out = strconv.AppendInt(w.out, n, 10)
		case float64:
			switch {
			case math.IsNaN(n) || math.IsInf(n, 0):
				w.exact = false
				w.add("null")
			case n == 0:
				w.exact = w.exact && !math.Signbit(n)
				w.add("0")
			default:
				w.add(v.String())
			}
		}
	default:
		if b, ok := v.Export().(bool); ok {
			w.out = strconv.AppendBool(w.out, b)
			break
		}
		w.exact = false
		return false // a symbol
	}
	w.bounded()
	return true
}

func (w *writer) add(s string) { w.out = append(w.out, s...) }

func (w *writer) bounded() {
	if len(w.out) > w.limit {
		panic(w.e.tooMuch("%s is longer than %d bytes as JSON", w.what, w.limit))
	}
}

func (w *writer) object(o *goja.Object) bool {
	if w.depth++; w.depth > maxDepth {
		panic(w.e.tooMuch("%s is nested more than %d deep, or holds itself", w.what, maxDepth))
	}
	defer func() { w.depth-- }()
	w.once(o)
	switch o.ClassName() {
	case "Array":
		w.exact = w.exact && w.seen != nil && o.Prototype() == w.e.arrayProto
		w.array(o)
		return true
	case "Function":
		w.exact = false
		return false
	case "String":
		w.exact = false
		w.text(o.ToString().(goja.String))
		w.bounded()
		return true
	case "Number":
		w.exact = false
		return w.primitive(o.ToNumber())
	case "Boolean":
		w.exact = false
		w.out = strconv.AppendBool(w.out, w.e.isTrue(o))
		return true
	}
	w.exact = w.exact && w.seen != nil && o.Prototype() == w.e.objectProto && o.ExportType() == plainType && len(o.Symbols()) == 0
	w.fields(o)
	return true
}

// once notes that o is part of the value. Met again, the text would make two of one.
func (w *writer) once(o *goja.Object) {
	if !w.exact || w.seen == nil {
		return
	}
	if slices.Contains(w.few, o) {
		w.exact = false
		return
	}
	if len(w.few) < fewObjects {
		w.few = append(w.few, o)
		return
	}
	if _, twice := w.seen[o]; twice {
		w.exact = false
		return
	}
	w.seen[o] = struct{}{}
}

func (w *writer) array(o *goja.Object) {
	n := int(o.Get("length").ToInteger())
	keys := o.Keys()
	whole := len(keys) == n
	w.exact = w.exact && whole
	w.out = append(w.out, '[')
	for i := range n {
		if i > 0 {
			w.out = append(w.out, ',')
		}
		w.line(w.depth)
		key := ""
		if whole {
			key = keys[i]
		} else {
			key = strconv.Itoa(i)
		}
		if !w.member(key, o, o.Get(key)) {
			w.add("null")
		}
		w.bounded() // holes have a length too
	}
	if n > 0 {
		w.line(w.depth - 1)
	}
	w.out = append(w.out, ']')
}

func (w *writer) fields(o *goja.Object) {
	w.out = append(w.out, '{')
	keys, any := w.names, false
	if keys == nil {
		keys = o.Keys()
	}
	for _, key := range keys {
		before := len(w.out)
		if any {
			w.out = append(w.out, ',')
		}
		w.line(w.depth)
		w.key(key)
		w.out = append(w.out, ':')
		if w.indent != "" {
			w.out = append(w.out, ' ')
		}
		if w.member(key, o, o.Get(key)) {
			any = true
		} else {
			w.out = w.out[:before]
		}
	}
	if any {
		w.line(w.depth - 1)
	}
	w.out = append(w.out, '}')
	w.bounded()
}

func (w *writer) line(depth int) {
	if w.indent != "" {
		w.out = append(w.out, '\n')
		w.add(strings.Repeat(w.indent, depth))
	}
}

func (w *writer) key(s string) { w.out = appendString(w.out, s) }

// text writes a string. Halves of surrogate pairs are written as escapes.
func (w *writer) text(s goja.String) {
	if len(w.out)+s.Length() > w.limit {
		w.out = append(w.out, make([]byte, s.Length())...)
		w.bounded()
	}
	utf := s.String()
	if !strings.ContainsRune(utf, '\uFFFD') {
		w.out = appendString(w.out, utf)
		return
	}
	w.out = append(w.out, '"')
	for i := 0; i < s.Length(); i++ {
		u := rune(s.CharAt(i))
		if !utf16.IsSurrogate(u) {
			w.out = appendEscaped(w.out, string(u))
			continue
		}
		if i+1 < s.Length() {
			if pair := utf16.DecodeRune(u, rune(s.CharAt(i+1))); pair != '\uFFFD' {
				w.add(string(pair))
				i++
				continue
			}
		}
		w.add(`\u` + strconv.FormatInt(int64(u), 16))
	}
	w.out = append(w.out, '"')
}

func appendString(out []byte, s string) []byte {
	return append(appendEscaped(append(out, '"'), s), '"')
}

const hexDigits = "0123456789abcdef"

func appendEscaped(out []byte, s string) []byte {
	from := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		out = append(out, s[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			out = append(out, '\\', c)
		case '\b':
			out = append(out, '\\', 'b')
		case '\f':
			out = append(out, '\\', 'f')
		case '\n':
			out = append(out, '\\', 'n')
		case '\r':
			out = append(out, '\\', 'r')
		case '\t':
			out = append(out, '\\', 't')
		default:
			out = append(out, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return append(out, s[from:]...)
}
