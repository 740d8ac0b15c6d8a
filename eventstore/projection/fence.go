package projection

import (
	_ "embed"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dop251/goja"
)

// The interpreter can be stopped between two of its steps, not within one; and everything built in is one step. What is built in and could go on for ever, or make much of little, is
// therefore fenced: it looks at its arguments first. What cannot be fenced is taken away. With these bounds every step ends, and makes at most some times as much as there
// was before.
const (
	// longestText is what may be made by repeating, joining, replacing: in characters.
	longestText = 16 << 20
	// longestSubject is the longest text that is split, replaced in, or matched.
	longestSubject = 1 << 20
	// longestProduct bounds what replacing can make: the text's length times the replacement's.
	longestProduct = 256 << 20
	// longestMatch bounds the steps of one match, see [engine.worth].
	longestMatch = 1 << 27
	// longestPattern is the length of a regular expression.
	longestPattern = 4 << 10
	// longestArray is the longest array that is gone through by what is built in. Its own elements count and holes do too.
	longestArray = 1 << 20
	// mostArguments is what apply hands over.
	mostArguments = 1 << 16
	// deepestJoin is how many arrays may stand inside each other when they are made text or made flat.
	deepestJoin = 100
)

// fenceScript is the part of the fences that is easier said in JavaScript. It runs first and takes away the function it is handed.
//
//go:embed fence.js
var fenceScript string

var fenceProgram = goja.MustCompile("fence.js", fenceScript, true)

// native is something built in.
type native func(this goja.Value, args ...goja.Value) (goja.Value, error)

// fence puts fences around what is built in.
func (e *engine) fence() {
	array, str := e.prototype("Array"), e.prototype("String")
	for _, name := range []string{
		"copyWithin", "entries", "every", "fill", "filter", "find", "findIndex", "findLast", "findLastIndex", "flatMap", "forEach", "includes", "indexOf", "keys",
		"lastIndexOf", "map", "reduce", "reduceRight", "reverse", "shift", "slice", "some", "splice", "unshift", "values", "toReversed", "toSpliced", "with",
	} {
		e.wrap(array, name, e.listed)
	}
	e.wrap(array, "sort", e.sorted)
	e.wrap(array, "toSorted", e.sorted)
	e.wrap(array, "concat", e.concatenated)
	e.wrap(array, "flat", e.flattened)
	e.replace(array, "join", e.join)
	e.replace(array, "toLocaleString", e.join)
	if values, ok := array.Get("values").(*goja.Object); ok {
		_ = array.SetSymbol(goja.SymIterator, values)
	}
	e.fenceIterator(e.vm.NewArray())

	for _, name := range []string{"repeat", "padStart", "padEnd"} {
		e.wrap(str, name, func(c goja.FunctionCall, f native) goja.Value { return e.lengthened(name == "repeat", c, f) })
	}
	e.wrap(str, "concat", e.joined)
	for _, name := range []string{"match", "matchAll", "search"} {
		e.wrap(str, name, e.searched)
	}
	for _, name := range []string{"split", "replace", "replaceAll"} {
		e.wrap(str, name, e.subject)
	}
	for _, name := range []string{"normalize", "localeCompare", "toLocaleUpperCase", "toLocaleLowerCase", "toUpperCase", "toLowerCase"} {
		e.wrap(str, name, e.subject)
	}
	e.wrapSymbol(str, goja.SymIterator, e.subject)
	for _, name := range []string{"indexOf", "lastIndexOf", "includes"} {
		e.wrap(str, name, e.found)
	}
	if constructor, ok := e.vm.Get("String").(*goja.Object); ok {
		e.replace(constructor, "raw", e.raw)
	}

	pattern := e.prototype("RegExp")
	for _, name := range []string{"exec", "test"} {
		e.wrap(pattern, name, e.tried)
	}
	for _, symbol := range []*goja.Symbol{goja.SymMatch, goja.SymMatchAll, goja.SymReplace, goja.SymSearch, goja.SymSplit} {
		e.wrapSymbol(pattern, symbol, e.tried)
	}
	_ = pattern.Delete("compile")

	function := e.prototype("Function")
	e.wrap(function, "apply", func(c goja.FunctionCall, f native) goja.Value { return e.applied(1, c, f) })
	if reflect, ok := e.vm.Get("Reflect").(*goja.Object); ok {
		e.wrap(reflect, "apply", func(c goja.FunctionCall, f native) goja.Value { return e.applied(2, c, f) })
		e.wrap(reflect, "construct", func(c goja.FunctionCall, f native) goja.Value { return e.applied(1, c, f) })
	}
	if constructor, ok := e.vm.Get("Array").(*goja.Object); ok {
		e.wrap(constructor, "from", e.from)
	}
	if json, ok := e.vm.Get("JSON").(*goja.Object); ok {
		e.wrap(json, "parse", e.jsonParse)
		_ = json.Set("stringify", e.jsonStringify)
	}
	bounds := e.vm.ToValue(longestPattern)
	prelude := e.must(e.vm.RunProgram(fenceProgram))
	f, _ := goja.AssertFunction(prelude)
	e.must(f(goja.Undefined(), bounds))
}

func (e *engine) prototype(of string) *goja.Object {
	return e.vm.Get(of).(*goja.Object).Get("prototype").(*goja.Object)
}

// wrap puts fence around the method name of o, where there is one.
func (e *engine) wrap(o *goja.Object, name string, fence func(goja.FunctionCall, native) goja.Value) {
	if f, ok := goja.AssertFunction(o.Get(name)); ok {
		e.replace(o, name, func(c goja.FunctionCall) goja.Value { return fence(c, native(f)) })
	}
}

func (e *engine) wrapSymbol(o *goja.Object, name *goja.Symbol, fence func(goja.FunctionCall, native) goja.Value) {
	if f, ok := goja.AssertFunction(o.GetSymbol(name)); ok {
		_ = o.DefineDataPropertySymbol(name, e.vm.ToValue(func(c goja.FunctionCall) goja.Value { return fence(c, native(f)) }), goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_FALSE)
	}
}

func (e *engine) replace(o *goja.Object, name string, f func(goja.FunctionCall) goja.Value) {
	v := e.vm.ToValue(f).(*goja.Object)
	_ = v.DefineDataProperty("name", e.vm.ToValue(name), goja.FLAG_FALSE, goja.FLAG_TRUE, goja.FLAG_FALSE)
	_ = o.DefineDataProperty(name, v, goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_FALSE)
}

// call goes on to what is built in.
func (e *engine) call(c goja.FunctionCall, f native) goja.Value {
	return e.must(f(c.This, c.Arguments...))
}

// list is v as an array whose length is bounded: itself, or a copy of something like an array. The length of an array cannot be made up by the script, that of
// something like it can.
func (e *engine) list(v goja.Value, most int64) *goja.Object {
	o, ok := v.(*goja.Object)
	if !ok {
		if v == nil || goja.IsUndefined(v) || goja.IsNull(v) {
			panic(e.refuse("this is neither an array nor anything like one"))
		}
		o = v.ToObject(e.vm)
	}
	length := o.Get("length")
	if length == nil {
		return e.vm.NewArray()
	}
	n := length.ToInteger()
	if n > most {
		panic(e.tooMuch("an array of %d is to be gone through; at most %d are allowed", n, most))
	}
	if o.ClassName() == "Array" {
		return o
	}
	items := make([]any, 0, max(n, 0))
	for i := range n {
		if i%1024 == 0 {
			e.check()
		}
		item := o.Get(e.vm.ToValue(i).String())
		if item == nil {
			item = goja.Undefined()
		}
		items = append(items, item)
	}
	return e.vm.NewArray(items...)
}

// listed fences methods of arrays that go through all of it.
func (e *engine) listed(c goja.FunctionCall, f native) goja.Value {
	c.This = e.list(c.This, longestArray)
	return e.call(c, f)
}

func (e *engine) concatenated(c goja.FunctionCall, f native) goja.Value {
	c.This = e.list(c.This, longestArray)
	total := c.This.(*goja.Object).Get("length").ToInteger()
	for _, v := range c.Arguments {
		if o, ok := v.(*goja.Object); ok && o.ClassName() == "Array" {
			total += o.Get("length").ToInteger()
		}
		if total > longestArray {
			panic(e.tooMuch("arrays of %d are to be put together; at most %d are allowed", total, longestArray))
		}
	}
	return e.call(c, f)
}

func (e *engine) flattened(c goja.FunctionCall, f native) goja.Value {
	depth := int64(1)
	if v := c.Argument(0); !goja.IsUndefined(v) {
		depth = min(v.ToInteger(), deepestJoin)
	}
	total := int64(0)
	var count func(o *goja.Object, depth int64)
	count = func(o *goja.Object, depth int64) {
		n := o.Get("length").ToInteger()
		if total += n; total > longestArray {
			panic(e.tooMuch("an array of more than %d is to be made flat", longestArray))
		}
		if depth <= 0 {
			return
		}
		e.check()
		for _, key := range o.Keys() {
			if inner, ok := o.Get(key).(*goja.Object); ok && inner.ClassName() == "Array" {
				count(inner, depth-1)
			}
		}
	}
	this := e.list(c.This, longestArray)
	count(this, depth)
	return e.must(f(this, e.vm.ToValue(depth)))
}

// join is Array.prototype.join and what stands on it.
func (e *engine) join(c goja.FunctionCall) goja.Value {
	o := e.list(c.This, longestArray)
	if slices.Contains(e.joining, o) {
		return e.vm.ToValue("")
	}
	if len(e.joining) >= deepestJoin {
		panic(e.tooMuch("more than %d arrays inside each other are to be made text", deepestJoin))
	}
	depth := len(e.joining)
	e.joining = append(e.joining, o)
	defer func() { e.joining = e.joining[:depth] }()
	between := ","
	if v := c.Argument(0); !goja.IsUndefined(v) {
		between = v.String()
	}
	n := int(o.Get("length").ToInteger())
	if n > 0 && (n-1)*len(between) > longestText {
		panic(e.tooMuch("a text of more than %d characters is to be joined", longestText))
	}
	var text goja.StringBuilder
	length := 0
	separator := e.vm.ToValue(between).(goja.String)
	for i := range n {
		if i%1024 == 0 {
			e.check()
		}
		if i > 0 {
			text.WriteString(separator)
			length += separator.Length()
		}
		v := o.Get(e.vm.ToValue(i).String())
		if v == nil || goja.IsUndefined(v) || goja.IsNull(v) {
			continue
		}
		part := e.asText(v)
		if length += part.Length(); length > longestText {
			panic(e.tooMuch("a text of more than %d characters is to be joined", longestText))
		}
		text.WriteString(part)
	}
	return text.String()
}

// text is this as text of at most most characters.
func (e *engine) text(v goja.Value, most int) goja.String {
	if v == nil || goja.IsUndefined(v) || goja.IsNull(v) {
		panic(e.refuse("this is not a text"))
	}
	return e.bounded(v, most)
}

// bounded is v as text, whatever it is, of at most most characters.
func (e *engine) bounded(v goja.Value, most int) goja.String {
	s := e.asText(v)
	if s.Length() > most {
		panic(e.tooMuch("a text of %d characters is to be worked on; at most %d are allowed", s.Length(), most))
	}
	return s
}

// asText is v as text, made by the script where v is an object.
func (e *engine) asText(v goja.Value) goja.String {
	v = v.ToString()
	if s, ok := v.(goja.String); ok {
		return s
	}
	return e.vm.ToValue(v.String()).(goja.String)
}

// lengthened fences repeat, padStart and padEnd.
func (e *engine) lengthened(times bool, c goja.FunctionCall, f native) goja.Value {
	s := e.text(c.This, longestText)
	n := c.Argument(0).ToNumber().ToFloat()
	made := n
	if times {
		made = n * float64(s.Length())
	}
	if made > longestText {
		panic(e.tooMuch("a text of more than %d characters is to be made", longestText))
	}
	args := []goja.Value{e.vm.ToValue(n)}
	if len(c.Arguments) > 1 {
		args = append(args, c.Arguments[1:]...)
	}
	return e.must(f(s, args...))
}

func (e *engine) joined(c goja.FunctionCall, f native) goja.Value {
	s := e.text(c.This, longestText)
	total := s.Length()
	args := make([]goja.Value, len(c.Arguments))
	for i, v := range c.Arguments {
		part := e.asText(v)
		if total += part.Length(); total > longestText {
			panic(e.tooMuch("a text of more than %d characters is to be put together", longestText))
		}
		args[i] = part
	}
	return e.must(f(s, args...))
}

// subject fences what goes through a text, and splits it or replaces in it.
func (e *engine) subject(c goja.FunctionCall, f native) goja.Value {
	s := e.text(c.This, longestSubject)
	c.This = s
	c.Arguments = slices.Clone(c.Arguments)
	if len(c.Arguments) > 0 {
		c.Arguments[0] = e.needle(s, c.Arguments[0])
	}
	e.replacement(s, c.Arguments)
	return e.timed(c, f)
}

// needle is what is looked for in s: something that searches by itself, or a text not too long to be compared at each place.
func (e *engine) needle(s goja.String, v goja.Value) goja.Value {
	if goja.IsUndefined(v) {
		return v
	}
	if o, ok := v.(*goja.Object); ok {
		for _, symbol := range []*goja.Symbol{goja.SymReplace, goja.SymSplit} {
			if _, ok := goja.AssertFunction(o.GetSymbol(symbol)); ok {
				return v
			}
		}
	}
	t := e.asText(v)
	if t.Length() <= s.Length() && t.Length()*s.Length() > longestProduct {
		panic(e.tooMuch("a text of %d characters is to be looked for in one of %d: that may take too long", t.Length(), s.Length()))
	}
	return t
}

// found fences indexOf and its like.
func (e *engine) found(c goja.FunctionCall, f native) goja.Value {
	s := e.text(c.This, longestText)
	c.This = s
	if len(c.Arguments) > 0 {
		if o, ok := c.Arguments[0].(*goja.Object); !ok || o.ClassName() != "RegExp" {
			c.Arguments = slices.Clone(c.Arguments)
			c.Arguments[0] = e.needle(s, c.Arguments[0])
		}
	}
	return e.call(c, f)
}

// raw is String.raw.
func (e *engine) raw(c goja.FunctionCall) goja.Value {
	o, ok := c.Argument(0).(*goja.Object)
	if !ok {
		panic(e.refuse("String.raw is called for templates"))
	}
	parts := e.list(o.Get("raw"), mostArguments)
	n := int(parts.Get("length").ToInteger())
	var text goja.StringBuilder
	length := 0
	add := func(v goja.Value) {
		if v == nil {
			v = goja.Undefined()
		}
		s := e.asText(v)
		if length += s.Length(); length > longestText {
			panic(e.tooMuch("a text of more than %d characters is to be put together", longestText))
		}
		text.WriteString(s)
	}
	for i := range n {
		add(parts.Get(e.vm.ToValue(i).String()))
		if i+1 < n && i+1 < len(c.Arguments) {
			add(c.Arguments[i+1])
		}
	}
	return text.String()
}

// sorted fences sorting: elements are compared by a function that can be stopped, also where the script gave none.
func (e *engine) sorted(c goja.FunctionCall, f native) goja.Value {
	c.This = e.list(c.This, longestArray)
	if goja.IsUndefined(c.Argument(0)) {
		c.Arguments = []goja.Value{e.vm.ToValue(func(c goja.FunctionCall) goja.Value {
			e.check()
			return e.vm.ToValue(e.asText(c.Argument(0)).CompareTo(e.asText(c.Argument(1))))
		})}
	}
	return e.call(c, f)
}

// replacement bounds what a second argument that is text can make of s.
func (e *engine) replacement(s goja.String, args []goja.Value) {
	if len(args) < 2 {
		return
	}
	if _, ok := goja.AssertFunction(args[1]); ok {
		return
	}
	with := e.asText(args[1])
	args[1] = with
	each := with.Length()
	if utf := with.String(); strings.Contains(utf, "$`") || strings.Contains(utf, "$'") {
		each *= s.Length() // each stands for up to all of the text
	}
	if (s.Length()+1)*each > longestProduct {
		panic(e.tooMuch("a text of %d characters is to be replaced by one of %d at each place: that may become too long", s.Length(), with.Length()))
	}
}

// searched fences methods of texts whose argument becomes a regular expression.
func (e *engine) searched(c goja.FunctionCall, f native) goja.Value {
	c.This = e.text(c.This, longestSubject)
	if v := c.Argument(0); !goja.IsUndefined(v) {
		if o, ok := v.(*goja.Object); !ok || o.ClassName() != "RegExp" {
			c.Arguments = slices.Clone(c.Arguments)
			pattern := e.bounded(v, longestPattern)
			c.Arguments[0] = pattern
			e.worth(pattern.String(), c.This.(goja.String))
		}
	}
	return e.timed(c, f)
}

// tried fences methods of regular expressions: the first argument is the text.
func (e *engine) tried(c goja.FunctionCall, f native) goja.Value {
	s := e.bounded(c.Argument(0), longestSubject)
	c.Arguments = slices.Clone(c.Arguments)
	if len(c.Arguments) == 0 {
		c.Arguments = []goja.Value{s}
	}
	c.Arguments[0] = s
	e.replacement(s, c.Arguments)
	if o, ok := c.This.(*goja.Object); ok && o.ClassName() == "RegExp" {
		if source := o.Get("source"); source != nil {
			e.worth(source.String(), s)
		}
	}
	return e.timed(c, f)
}

// worth bounds the steps of one match: a regular expression's length, times what its counted repetitions make of it, times the text's length.
func (e *engine) worth(pattern string, s goja.String) {
	size, repeat := len(pattern), 1
	for rest := pattern; ; {
		at := strings.IndexByte(rest, '{')
		if at < 0 {
			break
		}
		rest = rest[at+1:]
		end := strings.IndexByte(rest, '}')
		if end < 0 {
			break
		}
		for number := range strings.SplitSeq(rest[:end], ",") {
			if n, err := strconv.Atoi(number); err == nil {
				repeat = min(max(repeat, n), 1000)
			}
		}
	}
	if size*repeat*(s.Length()+1) > longestMatch {
		panic(e.tooMuch("a regular expression of %d characters that repeats up to %d times is to be matched with a text of %d: that may take too long", size, repeat, s.Length()))
	}
}

func (e *engine) timed(c goja.FunctionCall, f native) goja.Value {
	since := time.Now()
	v := e.call(c, f)
	e.matched(since)
	return v
}

// applied fences what takes arguments as a list, at place at.
func (e *engine) applied(at int, c goja.FunctionCall, f native) goja.Value {
	if v := c.Argument(at); !goja.IsUndefined(v) && !goja.IsNull(v) {
		if _, ok := v.(*goja.Object); ok {
			c.Arguments = slices.Clone(c.Arguments)
			c.Arguments[at] = e.dense(e.list(v, mostArguments))
		}
	}
	return e.call(c, f)
}

// dense is an array without holes, whose length is its elements'.
func (e *engine) dense(o *goja.Object) *goja.Object {
	n := int(o.Get("length").ToInteger())
	items := make([]any, n)
	for i := range items {
		if items[i] = o.Get(e.vm.ToValue(i).String()); items[i] == goja.Value(nil) {
			items[i] = goja.Undefined()
		}
	}
	return e.vm.NewArray(items...)
}

// from fences Array.from: what cannot be iterated has a length that it may have made up.
func (e *engine) from(c goja.FunctionCall, f native) goja.Value {
	if o, ok := c.Argument(0).(*goja.Object); ok {
		if _, iterable := goja.AssertFunction(o.GetSymbol(goja.SymIterator)); !iterable {
			c.Arguments = slices.Clone(c.Arguments)
			c.Arguments[0] = e.list(o, longestArray)
		}
	}
	return e.call(c, f)
}

// fenceIterator makes the iterator of arrays stop when the call is to stop: an array may grow after its iterator was made, and what takes all elements at once is one step.
func (e *engine) fenceIterator(sample *goja.Object) {
	f, ok := goja.AssertFunction(sample.GetSymbol(goja.SymIterator))
	if !ok {
		return
	}
	iterator, ok := e.must(f(sample)).(*goja.Object)
	if !ok {
		return
	}
	e.wrap(iterator.Prototype(), "next", func(c goja.FunctionCall, f native) goja.Value {
		e.check()
		return e.call(c, f)
	})
}

// jsonParse bounds how deeply JSON is nested.
func (e *engine) jsonParse(c goja.FunctionCall, f native) goja.Value {
	s := e.bounded(c.Argument(0), longestText)
	if _, ok := goja.AssertFunction(c.Argument(1)); !ok {
		v, err := e.readJSON([]byte(s.String()))
		if err != nil {
			panic(e.syntaxError("JSON.parse: " + err.Error()))
		}
		return v
	}
	if nesting(s.String()) > maxDepth {
		panic(e.syntaxError("JSON.parse: the text is nested too deeply"))
	}
	return e.must(f(c.This, s, c.Argument(1)))
}

func (e *engine) syntaxError(text string) *goja.Object {
	constructor, ok := goja.AssertConstructor(e.vm.Get("SyntaxError"))
	if !ok {
		return e.refuse("%s", text)
	}
	o, err := constructor(nil, e.vm.ToValue(text))
	if err != nil {
		panic(err)
	}
	return o
}

// jsonStringify bounds how deep a value goes and how long its text becomes.
func (e *engine) jsonStringify(c goja.FunctionCall) goja.Value {
	w := writer{e: e, limit: longestText, what: "what is to be made JSON"}
	if f, ok := goja.AssertFunction(c.Argument(1)); ok {
		w.replacer = f
	} else if o, ok := c.Argument(1).(*goja.Object); ok && o.ClassName() == "Array" {
		w.names = []string{}
		o = e.list(o, longestArray)
		for i := range o.Get("length").ToInteger() {
			if v := o.Get(e.vm.ToValue(i).String()); v != nil && (goja.IsString(v) || goja.IsNumber(v)) && !slices.Contains(w.names, v.String()) {
				if len(w.names) == mostArguments {
					panic(e.tooMuch("JSON.stringify is given more than %d names", mostArguments))
				}
				w.names = append(w.names, v.String())
			}
		}
	}
	switch v := c.Argument(2); {
	case goja.IsNumber(v):
		w.indent = strings.Repeat(" ", int(min(max(v.ToInteger(), 0), 10)))
	case goja.IsString(v):
		w.indent = v.String()
		if len(w.indent) > 10 {
			w.indent = valid([]byte(w.indent[:10]))
		}
	}
	if !w.member("", nil, c.Argument(0)) {
		return goja.Undefined()
	}
	return e.vm.ToValue(string(w.out))
}
