package projection

import (
	"slices"
	"strings"

	"github.com/dop251/goja"
)

// The bounds of a definition.
const (
	maxSources  = 1000 // streams or categories
	maxHandlers = 1000
	maxSteps    = 100 // transformBy and filterBy
)

// defaultReorderLag is processingLag when it is not given, leastReorderLag the shortest that is allowed, in milliseconds.
const (
	defaultReorderLag = 500
	leastReorderLag   = 50
	mostReorderLag    = 60_000
)

// step is one transformBy or filterBy.
type step struct {
	filter bool
	call   goja.Callable
}

// described is what the top level of a script said.
type described struct {
	Definition
	sources   int // from... calls
	when      bool
	handlers  map[string]goja.Callable
	init      goja.Callable
	initShare goja.Callable
	any       goja.Callable
	deleted   goja.Callable
	created   []goja.Callable
	partition goja.Callable
	steps     []step
	lagGiven  bool
}

// follows says what may be called on what a definition function returns.
var follows = map[string][]string{
	"fromAll":        {"when", "partitionBy", "outputState", "foreachStream"},
	"fromCategory":   {"when", "partitionBy", "outputState", "foreachStream"},
	"fromCategories": {"when", "partitionBy", "outputState", "foreachStream"},
	"fromStream":     {"when", "partitionBy", "outputState"},
	"fromStreams":    {"when", "partitionBy", "outputState"},
	"foreachStream":  {"when"},
	"partitionBy":    {"when"},
	"when":           {"transformBy", "filterBy", "outputState", "outputTo", "$defines_state_transform"},
	"outputState":    {"transformBy", "filterBy", "outputTo"},
	"transformBy":    {"transformBy", "filterBy", "outputState", "outputTo"},
	"filterBy":       {"transformBy", "filterBy", "outputState", "outputTo"},
}

// definitionFunctions are there while the top level runs and gone afterwards.
var definitionFunctions = []string{"options", "fromAll", "fromStream", "fromStreams", "fromCategory", "fromCategories", "fromStreamsMatching", "on_event", "on_any"}

// describer gives the script its definition functions and takes down what it says.
type describer struct {
	e *engine
	d *described
}

func (b describer) install() {
	functions := map[string]func(goja.FunctionCall) goja.Value{
		"options":        b.options,
		"fromAll":        b.fromAll,
		"fromStream":     func(c goja.FunctionCall) goja.Value { return b.fromStreams("fromStream", c) },
		"fromStreams":    func(c goja.FunctionCall) goja.Value { return b.fromStreams("fromStreams", c) },
		"fromCategory":   func(c goja.FunctionCall) goja.Value { return b.fromCategories("fromCategory", c) },
		"fromCategories": func(c goja.FunctionCall) goja.Value { return b.fromCategories("fromCategories", c) },
		"fromStreamsMatching": func(goja.FunctionCall) goja.Value {
			panic(b.e.refuse("fromStreamsMatching is not supported: use fromAll() and look at streamId in the handler, or fromCategory()"))
		},
		"on_event": b.onEvent,
		"on_any":   b.onAny,
	}
	for _, name := range definitionFunctions {
		_ = b.e.vm.Set(name, functions[name])
	}
}

func (b describer) remove() {
	for _, name := range definitionFunctions {
		_ = b.e.vm.GlobalObject().Delete(name)
	}
}

// chain is what a definition function returns: an object with what may follow.
func (b describer) chain(after string) goja.Value {
	o := b.e.vm.NewObject()
	for _, name := range follows[after] {
		_ = o.Set(name, b.methods()[name])
	}
	return o
}

func (b describer) methods() map[string]func(goja.FunctionCall) goja.Value {
	return map[string]func(goja.FunctionCall) goja.Value{
		"when": b.when, "partitionBy": b.partitionBy, "foreachStream": b.foreachStream, "outputState": b.outputState, "outputTo": b.outputTo,
		"transformBy":              func(c goja.FunctionCall) goja.Value { return b.transform("transformBy", false, c) },
		"filterBy":                 func(c goja.FunctionCall) goja.Value { return b.transform("filterBy", true, c) },
		"$defines_state_transform": b.outputState,
	}
}

func (b describer) source() {
	if b.d.sources++; b.d.sources > 1 {
		panic(b.e.refuse("a projection has one source: only one of fromAll, fromStream, fromStreams and fromCategory can be called, once"))
	}
}

func (b describer) fromAll(goja.FunctionCall) goja.Value {
	b.source()
	b.d.All = true
	return b.chain("fromAll")
}

// names are a list of texts: one array, or the arguments themselves.
func (b describer) names(of string, c goja.FunctionCall) []string {
	values := c.Arguments
	if len(values) == 1 {
		if o, ok := values[0].(*goja.Object); ok && o.ClassName() == "Array" {
			n := o.Get("length").ToInteger()
			if n > maxSources {
				panic(b.e.refuse("%s takes at most %d names", of, maxSources))
			}
			values = nil
			for i := range n {
				values = append(values, o.Get(b.e.vm.ToValue(i).String()))
			}
		}
	}
	if len(values) > maxSources {
		panic(b.e.refuse("%s takes at most %d names", of, maxSources))
	}
	var names []string
	for _, v := range values {
		if v == nil || !goja.IsString(v) || v.String() == "" {
			panic(b.e.refuse("%s takes names: texts that are not empty", of))
		}
		if name := v.String(); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		panic(b.e.refuse("%s needs at least one name", of))
	}
	return names
}

func (b describer) fromStreams(of string, c goja.FunctionCall) goja.Value {
	b.source()
	b.d.Streams = b.names(of, c)
	if of == "fromStream" && (len(b.d.Streams) > 1 || len(c.Arguments) > 1) {
		panic(b.e.refuse("fromStream takes one name; use fromStreams for several"))
	}
	return b.chain(of)
}

func (b describer) fromCategories(of string, c goja.FunctionCall) goja.Value {
	b.source()
	b.d.Categories = b.names(of, c)
	return b.chain(of)
}

func (b describer) function(of string, v goja.Value) goja.Callable {
	f, ok := goja.AssertFunction(v)
	if !ok {
		panic(b.e.refuse("%s takes a function", of))
	}
	return f
}

func (b describer) when(c goja.FunctionCall) goja.Value {
	o, ok := c.Argument(0).(*goja.Object)
	if !ok {
		panic(b.e.refuse("when takes an object with a handler for each type of event"))
	}
	b.d.when = true
	for _, name := range o.Keys() {
		if f, ok := goja.AssertFunction(o.Get(name)); ok {
			b.handler(name, f)
		}
	}
	return b.chain("when")
}

func (b describer) handler(name string, f goja.Callable) {
	switch name {
	case "$init":
		b.d.init = f
	case "$initShared":
		b.d.BiState, b.d.initShare = true, f
	case "$any":
		b.d.any = f
	case "$created":
		if b.d.created = append(b.d.created, f); len(b.d.created) > maxHandlers {
			panic(b.e.refuse("there are more than %d handlers", maxHandlers))
		}
	case "$deleted":
		b.d.DeletedNotices, b.d.deleted = true, f
	default:
		if _, again := b.d.handlers[name]; again {
			panic(b.e.refuse("there are two handlers for events of type %s", name))
		}
		if len(b.d.handlers) == maxHandlers {
			panic(b.e.refuse("there are more than %d handlers", maxHandlers))
		}
		b.d.handlers[name] = f
		b.d.EventTypes = append(b.d.EventTypes, name)
	}
}

func (b describer) onEvent(c goja.FunctionCall) goja.Value {
	if !goja.IsString(c.Argument(0)) {
		panic(b.e.refuse("on_event takes the type of the events and a function"))
	}
	b.d.when = true
	b.handler(c.Argument(0).String(), b.function("on_event", c.Argument(1)))
	return goja.Undefined()
}

func (b describer) onAny(c goja.FunctionCall) goja.Value {
	b.d.when = true
	b.handler("$any", b.function("on_any", c.Argument(0)))
	return goja.Undefined()
}

func (b describer) partitionBy(c goja.FunctionCall) goja.Value {
	b.d.CustomPartitions, b.d.partition = true, b.function("partitionBy", c.Argument(0))
	return b.chain("partitionBy")
}

func (b describer) foreachStream(goja.FunctionCall) goja.Value {
	b.d.PerStream = true
	return b.chain("foreachStream")
}

func (b describer) outputState(goja.FunctionCall) goja.Value {
	b.d.Results = true
	return b.chain("outputState")
}

func (b describer) outputTo(c goja.FunctionCall) goja.Value {
	for _, v := range c.Arguments {
		if !goja.IsString(v) || v.String() == "" {
			panic(b.e.refuse("outputTo takes the name of a stream and, for partitions, a pattern for names"))
		}
	}
	switch len(c.Arguments) {
	case 2:
		b.d.PartitionResultPattern = c.Arguments[1].String()
		fallthrough
	case 1:
		b.d.ResultStream, b.d.Results = c.Arguments[0].String(), true
	default:
		panic(b.e.refuse("outputTo takes the name of a stream and, for partitions, a pattern for names"))
	}
	return b.chain("outputTo")
}

func (b describer) transform(of string, filter bool, c goja.FunctionCall) goja.Value {
	if len(b.d.steps) == maxSteps {
		panic(b.e.refuse("there are more than %d transformations", maxSteps))
	}
	b.d.steps = append(b.d.steps, step{filter, b.function(of, c.Argument(0))})
	b.d.Results = true
	return b.chain(of)
}

func (b describer) options(c goja.FunctionCall) goja.Value {
	o, ok := c.Argument(0).(*goja.Object)
	if !ok {
		panic(b.e.refuse("options takes an object"))
	}
	for _, name := range o.Keys() {
		v := o.Get(name)
		flag := func() bool {
			on, ok := v.Export().(bool)
			if !ok {
				panic(b.e.refuse("option %s is true or false", name))
			}
			return on
		}
		switch strings.ToLower(name) {
		case "$includelinks":
			b.d.Links = flag()
		case "bistate":
			b.d.BiState = flag()
		case "reorderevents":
			b.d.Reorder = flag()
		case "processinglag":
			if !goja.IsNumber(v) || v.ToInteger() < 0 || v.ToInteger() > mostReorderLag {
				panic(b.e.refuse("option %s is a number of milliseconds, at most %d", name, mostReorderLag))
			}
			b.d.ReorderLagMs, b.d.lagGiven = int(v.ToInteger()), true
		case "resultstreamname":
			if !goja.IsString(v) {
				panic(b.e.refuse("option %s is the name of a stream", name))
			}
			b.d.ResultStream = v.String()
		default:
			panic(b.e.refuse("there is no option %s; there are resultStreamName, $includeLinks, reorderEvents, processingLag, biState", name))
		}
	}
	return goja.Undefined()
}

// finish checks what was said as a whole. The text is the reason it cannot be.
func (d *described) finish() string {
	if d.any != nil {
		d.EventTypes = nil
	}
	switch {
	case d.sources == 0:
		return "the script names no source: it begins with fromAll(), fromStream(name), fromStreams(names) or fromCategory(name)"
	case d.BiState && d.deleted != nil:
		return "a projection with a shared state cannot handle $deleted"
	case d.Reorder && len(d.Streams) < 2:
		return "reorderEvents is only for fromStreams with several streams"
	case d.Reorder && d.lagGiven && d.ReorderLagMs < leastReorderLag:
		return "reorderEvents needs a processingLag of at least 50 milliseconds"
	}
	switch {
	case !d.Reorder:
		d.ReorderLagMs = 0
	case !d.lagGiven:
		d.ReorderLagMs = defaultReorderLag
	}
	return ""
}
