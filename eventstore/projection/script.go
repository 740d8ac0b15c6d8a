package projection

import (
	"bytes"
	"strconv"

	"github.com/dop251/goja"
)

// DeletedType is the type of the event that tells a projection with a handler for $deleted of the end of a stream. It is fed like an event, with the stream's name. A
// tombstone (type $streamDeleted) tells the same.
const DeletedType = "$deleted"

// leakCheckEvery is how many calls lie between two looks at what a script keeps in its own variables.
const leakCheckEvery = 1024

// script is a projection in JavaScript.
type script struct {
	e      *engine
	d      *described
	limits Limits
	cache  cache

	defined  bool // the definition was checked
	fresh    bool // the interpreter has run the script's top level
	keep     bool // parsed states may be kept
	closed   bool
	shared   kept // the shared state as the last call left it
	calls    int
	baseline int64 // live heap when the interpreter was made
}

// Compile makes a projection of a script. The error is of type [*Fault].
func Compile(name, source string, l Limits) (Projection, error) {
	l = l.withDefaults()
	e, fault := newEngine(name, source, l)
	if fault != nil {
		return nil, fault
	}
	s := &script{e: e, limits: l, keep: !unkeepable.MatchString(source)}
	s.cache.init(l.CachedStates, l.CachedBytes)
	if fault := s.start(); fault != nil {
		e.watch.close()
		return nil, fault
	}
	if reason := s.d.finish(); reason != "" {
		s.Close()
		return nil, &Fault{Projection: name, Kind: Invalid, Reason: reason}
	}
	s.defined = true
	return s, nil
}

// start runs the top level in a new interpreter.
func (s *script) start() *Fault {
	s.cache.clear()
	s.shared, s.fresh = kept{}, false
	d := &described{handlers: map[string]goja.Callable{}}
	b := describer{e: s.e, d: d}
	if fault := s.e.start(func() {
		b.install()
		_ = s.e.vm.Set("log", s.e.log)
	}); fault != nil {
		if fault.Kind == Failed {
			fault.Kind = Invalid
		}
		return fault
	}
	b.remove()
	s.e.installEmit()
	if s.defined {
		d.Definition = s.d.Definition // what it said first holds
	}
	s.d, s.fresh, s.baseline = d, true, live()
	return nil
}

// Definition is the same at every call.
func (s *script) Definition() Definition { return s.d.Definition }

// Close lets go of the interpreter.
func (s *script) Close() {
	s.closed = true
	s.e.watch.close()
	s.drop()
}

// drop leaves nothing of the interpreter reachable. What the script defined is kept.
func (s *script) drop() {
	s.fresh = false
	s.cache.clear()
	s.shared = kept{}
	s.d = &described{Definition: s.d.Definition}
	s.e.vm, s.e.objectProto, s.e.arrayProto, s.e.joining = nil, nil, nil, nil
}

// ready is called before anything is looked up: after a fault the interpreter may have to be made anew.
func (s *script) ready() *Fault {
	if s.closed {
		return &Fault{Projection: s.e.name, Kind: Failed, Reason: "the projection is closed"}
	}
	if s.fresh {
		return s.leaks()
	}
	return s.start()
}

// call runs f in the interpreter. After a fault that came from outside the script the interpreter is made anew, and what was parsed is forgotten after any.
func (s *script) call(verb string, e Event, f func(*envelope)) *Fault {
	at := ""
	if e.Stream != "" {
		at = strconv.FormatInt(e.Revision, 10) + "@" + e.Stream
	}
	v := &envelope{e: s.e, event: e}
	s.e.emitted, s.e.emittedBytes = nil, 0
	fault := s.e.run(s.limits.HandleTime, verb, at, func() { f(v) })
	v.close()
	if fault != nil {
		s.e.emitted = nil
		s.cache.clear()
		s.shared = kept{}
		s.fresh = fault.Kind == Failed
	}
	return fault
}

// Partition is the state an event belongs to.
func (s *script) Partition(e Event) (partition string, ok bool, err error) {
	if fault := s.ready(); fault != nil {
		return "", false, fault
	}
	switch notice := s.notice(e); {
	case s.d.PerStream:
		return e.Stream, true, nil
	case !s.d.CustomPartitions:
		return "", true, nil
	case notice:
		return "", false, nil
	}
	fault := s.call("name the partition of an event", e, func(v *envelope) {
		result := s.e.must(s.d.partition(goja.Undefined(), s.e.vm.NewDynamicObject(v)))
		if goja.IsString(result) || goja.IsNumber(result) {
			partition, ok = result.String(), true
		}
	})
	if fault != nil {
		return "", false, fault
	}
	return partition, ok && partition != "", nil
}

// notice says whether e tells of the end of a stream to a projection that wants to know.
func (s *script) notice(e Event) bool {
	return s.d.deleted != nil && (e.Type == DeletedType || e.Type == typeTombstone)
}

// Handle feeds an event.
func (s *script) Handle(partition string, state, shared []byte, e Event) (Outcome, error) {
	if fault := s.ready(); fault != nil {
		return Outcome{}, fault
	}
	notice := s.notice(e)
	handler := s.d.handlers[e.Type]
	if handler == nil {
		handler = s.d.any
	}
	if e.JSON && len(bytes.TrimSpace(e.Data)) == 0 && !notice {
		handler = nil // an event marked as JSON with nothing in it is no event to upstream's handlers
	} else if handler == nil && !s.d.when {
		handler = passThrough
	}
	if handler == nil && !notice {
		return Outcome{State: state, Shared: shared}, nil
	}
	var out Outcome
	fault := s.call("handle an event", e, func(v *envelope) {
		v.partition = partition
		out = s.handle(partition, state, shared, v, handler, notice)
	})
	if fault != nil {
		return Outcome{}, fault
	}
	out.Handled, out.Emitted = true, s.e.emitted
	s.e.emitted = nil
	return out, nil
}

// passThrough stands for the handlers of a script without when: the state is the last event.
func passThrough(_ goja.Value, args ...goja.Value) (goja.Value, error) {
	return args[1].(*goja.Object).Get("body"), nil
}

func (s *script) handle(partition string, state, shared []byte, v *envelope, handler goja.Callable, notice bool) Outcome {
	vm, undefined := s.e.vm, goja.Undefined()
	event := vm.NewDynamicObject(v)
	current, isNew := s.load(s.cache.take(partition, state), state, s.d.init)
	argument, pair := current, (*goja.Object)(nil)
	if s.d.BiState {
		common, _ := s.load(s.shared.of(shared), shared, s.d.initShare)
		pair = vm.NewArray(current, common)
		argument = pair
	}
	if isNew {
		for _, f := range s.d.created {
			s.e.must(f(undefined, argument, event))
		}
	}
	var result goja.Value
	if notice {
		result = s.e.must(s.d.deleted(undefined, argument, goja.Null(), vm.ToValue(partition), vm.ToValue(false))) // upstream says false of every end
	} else {
		result = s.e.must(handler(undefined, argument, event))
	}
	if !goja.IsUndefined(result) {
		argument = result
	}
	return s.outcome(partition, state, shared, argument, pair != nil)
}

// load is a state as a value, and whether it had to begin.
func (s *script) load(known goja.Value, text []byte, init goja.Callable) (v goja.Value, isNew bool) {
	if known != nil {
		return known, false
	}
	if len(text) > 0 && string(text) != "null" {
		v, err := s.e.readJSON(text)
		if err != nil {
			panic(&Fault{Projection: s.e.name, Kind: Broken, Event: s.e.event, Reason: "the state that was kept cannot be read: " + err.Error()})
		}
		return v, false
	}
	if init == nil {
		return s.e.vm.NewObject(), true
	}
	return s.e.must(init(goja.Undefined())), true
}

// outcome writes what a handler left.
func (s *script) outcome(partition string, state, shared []byte, left goja.Value, two bool) (out Outcome) {
	mine, common := left, goja.Value(nil)
	if two {
		mine, common = s.parts(left)
	}
	w := writer{e: s.e, limit: s.limits.StateBytes, what: "the state", exact: s.keep, seen: map[*goja.Object]struct{}{}}
	out.State = w.state(mine, state)
	if two {
		exact := w.exact
		w.out, w.what, w.exact = nil, "the shared state", true
		out.Shared = w.state(common, shared)
		w.exact = w.exact && exact
	}
	if s.d.Results {
		out.Result = s.result(out.State, out.Shared)
	}
	if w.exact {
		s.cache.put(partition, kept{out.State, mine})
		s.shared = kept{out.Shared, common}
	} else {
		s.shared = kept{}
	}
	return out
}

// parts are the two states of a handler that has two: it returns an array, or changes the one it was given.
func (s *script) parts(left goja.Value) (mine, common goja.Value) {
	o, ok := left.(*goja.Object)
	if !ok || o.ClassName() != "Array" {
		panic(s.e.refuse("a handler of a projection with a shared state returns an array of two: the partition's state and the shared one"))
	}
	mine, common = o.Get("0"), o.Get("1")
	if mine == nil {
		mine = goja.Undefined()
	}
	if common == nil {
		common = goja.Undefined()
	}
	return mine, common
}

// state writes a state. nil stands for null. What is as before is not given anew.
func (w *writer) state(v goja.Value, before []byte) []byte {
	if !w.member("", nil, v) || string(w.out) == "null" {
		w.exact = w.exact && goja.IsNull(v)
		return nil
	}
	if bytes.Equal(w.out, before) {
		return before
	}
	return w.out
}

// result makes a result of a state that was written. It is read again: what a transformation changes is not the state.
func (s *script) result(state, shared []byte) []byte {
	if len(s.d.steps) == 0 || len(state) == 0 {
		return state
	}
	v, err := s.e.readJSON(state)
	if err != nil {
		panic(&Fault{Projection: s.e.name, Kind: Broken, Event: s.e.event, Reason: "the state that was kept cannot be read: " + err.Error()})
	}
	if s.d.BiState {
		common := goja.Null()
		if len(shared) > 0 {
			if common, err = s.e.readJSON(shared); err != nil {
				panic(&Fault{Projection: s.e.name, Kind: Broken, Event: s.e.event, Reason: "the shared state that was kept cannot be read: " + err.Error()})
			}
		}
		v = s.e.vm.NewArray(v, common)
	}
	for _, step := range s.d.steps {
		got := s.e.must(step.call(goja.Undefined(), v))
		if step.filter {
			if yes, ok := got.Export().(bool); !ok || !yes {
				return nil
			}
			continue
		}
		if v = got; goja.IsUndefined(v) || goja.IsNull(v) {
			return nil
		}
	}
	return s.e.writeJSON(v, s.limits.StateBytes, "the result")
}

// Result is what the transformations make of a state.
func (s *script) Result(state, shared []byte) (result []byte, err error) {
	if fault := s.ready(); fault != nil {
		return nil, fault
	}
	if len(s.d.steps) == 0 {
		return state, nil
	}
	fault := s.call("make a result", Event{}, func(*envelope) { result = s.result(state, shared) })
	if fault != nil {
		return nil, fault
	}
	return result, nil
}
