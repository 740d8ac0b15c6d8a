package projection

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dlclark/regexp2/v2"
	"github.com/dop251/goja"
)

// matchTime is how long one match of a regular expression with look-around or back-references may take, see [engine.matched].
const matchTime = 2 * time.Second

// longestReason is how much of a script's own message a fault repeats, in bytes.
const longestReason = 500

var boundMatches = sync.OnceFunc(func() { regexp2.DefaultMatchTimeout = matchTime })

// engine is one interpreter with one script in it.
type engine struct {
	name    string
	limits  Limits
	program *goja.Program
	watch   *watch

	vm                      *goja.Runtime
	objectProto, arrayProto *goja.Object
	joining                 []*goja.Object // arrays whose join is going on
	event                   string         // being handled, for faults

	emitted      []Emitted
	emittedBytes int
}

// newEngine compiles source, which is to be run by start.
func newEngine(name, source string, l Limits) (*engine, *Fault) {
	boundMatches()
	program, fault := parse(name, source)
	if fault != nil {
		return nil, fault
	}
	return &engine{name: name, limits: l, program: program, watch: &watch{memory: l.Memory}}, nil
}

// start makes a new interpreter and runs the script's top level in it. Whatever the script kept in variables is gone.
func (e *engine) start(define func()) *Fault {
	e.vm = goja.New()
	e.vm.SetMaxCallStackSize(e.limits.CallDepth)
	e.objectProto = e.vm.NewObject().Prototype()
	e.arrayProto = e.vm.NewArray().Prototype()
	e.joining = nil
	return e.run(e.limits.CompileTime, "say what it projects", "", func() {
		e.fence()
		define()
		if _, err := e.vm.RunProgram(e.program); err != nil {
			panic(err)
		}
	})
}

// run does something with the interpreter, within limit, and turns whatever goes wrong into a fault.
func (e *engine) run(limit time.Duration, verb, event string, f func()) (fault *Fault) {
	e.event = event
	e.watch.begin(e.vm, limit, verb)
	defer func() {
		thrown := recover()
		if thrown != nil {
			fault = e.explain(thrown)
		}
		reason := e.watch.end()
		if fault != nil && reason != nil {
			fault.Kind, fault.Reason = reason.kind, reason.reason
		} else if reason != nil {
			// It ended by itself between being told to stop and stopping. It had its chance; but the interpreter was told, so nothing of it is used.
			fault = &Fault{Projection: e.name, Kind: reason.kind, Reason: reason.reason, Event: event}
		}
	}()
	if ex := e.vm.Try(f); ex != nil {
		return e.explain(ex)
	}
	return nil
}

// explain is called while the watch runs: texts are made by the script's own toString.
func (e *engine) explain(thrown any) (fault *Fault) {
	fault = &Fault{Projection: e.name, Event: e.event}
	defer func() {
		if again := recover(); again != nil {
			fault.Kind = Failed
			if fault.Reason == "" {
				fault.Reason = "the script threw something that cannot be shown"
			}
		}
	}()
	var (
		mine        *Fault
		interrupted *goja.InterruptedError
		overflow    *goja.StackOverflowError
		exception   *goja.Exception
	)
	err, ok := thrown.(error)
	switch {
	case !ok:
		fault.Kind, fault.Reason = Broken, cut(fmt.Sprintf("the interpreter broke down: %v", thrown))
	case errors.As(err, &mine):
		return mine
	case errors.As(err, &interrupted):
		fault.Kind, fault.Reason = TooLong, "the script was stopped"
		fault.locate(interrupted.Stack(), e.name)
	case errors.As(err, &overflow):
		fault.Kind = TooMuch
		fault.Reason = fmt.Sprintf("more than %d calls stand inside each other; a function may be calling itself for ever", e.limits.CallDepth)
		fault.locate(overflow.Stack(), e.name)
	case errors.As(err, &exception):
		fault.Kind = Failed
		fault.locate(exception.Stack(), e.name)
		fault.Reason = cut("the script threw " + exception.Value().String())
	default:
		fault.Kind, fault.Reason = Broken, cut("the interpreter broke down: "+err.Error())
	}
	return fault
}

func cut(s string) string {
	if len(s) > longestReason {
		return valid([]byte(s[:longestReason])) + "..."
	}
	return s
}

// locate takes the innermost place that is in the script.
func (f *Fault) locate(stack []goja.StackFrame, name string) {
	for i := range stack {
		p := stack[i].Position()
		if p.Line == 0 || stack[i].SrcName() != name {
			continue
		}
		f.Line, f.Column = p.Line, p.Column
		f.Location = fmt.Sprintf("line %d, column %d", p.Line, p.Column)
		if fn := stack[i].FuncName(); fn != "" && fn[0] != '<' {
			f.Location += ", in " + cut(fn)
		}
		return
	}
}

// tooMuch is a fault to panic with. A script cannot catch it.
func (e *engine) tooMuch(format string, args ...any) *Fault {
	f := &Fault{Projection: e.name, Kind: TooMuch, Reason: fmt.Sprintf(format, args...), Event: e.event}
	f.locate(e.vm.CaptureCallStack(0, nil), e.name)
	return f
}

// check panics when the call is to stop. Go code that goes on for long calls it now and then.
func (e *engine) check() {
	if e.watch.stop.Load() {
		panic(e.tooMuch("the script was stopped"))
	}
}

// matched is called after a regular expression was tried: one that came to the end of matchTime says "no match", which nobody may believe.
func (e *engine) matched(since time.Time) {
	if time.Since(since) >= matchTime {
		panic(e.tooMuch("a regular expression took longer than %v", matchTime))
	}
}

// must is for calls into the script from Go code that the script called.
func (e *engine) must(v goja.Value, err error) goja.Value {
	if err != nil {
		panic(err)
	}
	return v
}

// isTrue is the value of a Boolean object.
func (e *engine) isTrue(o *goja.Object) bool {
	f, ok := goja.AssertFunction(o.Get("valueOf"))
	return ok && e.must(f(o)).ToBoolean()
}

// refuse is an error the script can catch.
func (e *engine) refuse(format string, args ...any) *goja.Object {
	return e.vm.NewTypeError(append([]any{format}, args...)...)
}
