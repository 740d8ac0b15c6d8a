package projection

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// tight are limits that a test need not wait for.
var tight = Limits{HandleTime: 100 * time.Millisecond, Memory: 64 << 20, StateBytes: 1 << 20, EmittedEvents: 100, EmittedBytes: 1 << 20, CallDepth: 200}

// TestScriptsThatGoOnForEver: whatever a handler does, it ends, with the projection's name and a reason; and the projection goes on afterwards from the
// state it had.
func TestScriptsThatGoOnForEver(t *testing.T) {
	tests := []struct{ name, handler, want string }{
		{"loop", `for(;;);`, "took longer"},
		{"loop that catches", `for(;;){ try { for(;;); } catch(x) {} finally { for(;;); } }`, "took longer"},
		{"exception whose text is made for ever", `throw {toString(){ for(;;); }}`, "took longer"},
		{"recursion", `(function f(){ f() })()`, "calls stand inside"},
		{"recursion through a getter", `const o={get x(){return this.x}}; o.x`, "calls stand inside"},
		{"recursion through toString", `const o={toString(){return ""+this}}; ""+o`, "calls stand inside"},
		{"array that grows", `const a=[]; for(;;) a.push([1,2,3,4])`, ""},
		{"text that doubles", `let x="abcdefgh"; for(;;) x+=x`, ""},
		{"texts that are kept", `const a=[]; for(let i=0;;i++) a.push("some text "+i)`, ""},
		{"map that grows", `const m=new Map(); for(let i=0;;i++) m.set(i,{i})`, ""},
		{"objects inside each other", `let o={}; for(;;) o={o}`, ""},
		{"closures inside each other", `let f=()=>1; for(;;){ const g=f; f=()=>g }`, ""},
		{"repeat", `"x".repeat(2**30)`, "characters is to be made"},
		{"padding", `"x".padEnd(2**30)`, "characters is to be made"},
		{"array of holes made text", `new Array(4294967295).join("")`, "to be gone through"},
		{"array of holes filled", `new Array(4294967295).fill(0)`, "to be gone through"},
		{"array of holes spread", `const a=[]; a.length=4294967295; [...a]`, "to be gone through"},
		{"array that grows under its iterator", `const a=[1]; const i=a.values(); a.length=4294967295; [...i]`, ""},
		{"array of holes for arguments", `const a=[]; a.length=4294967295; Math.max.apply(null,a)`, "to be gone through"},
		{"made-up length", `Array.from({length:2**40})`, "to be gone through"},
		{"made-up length for a method", `Array.prototype.indexOf.call({length:2**40},1)`, "to be gone through"},
		{"made-up length for arguments", `Reflect.apply(Math.max,null,{length:2**40})`, "to be gone through"},
		{"join that multiplies", `const x="x".repeat(1e6); new Array(1e4).fill(x).join("")`, "to be joined"},
		{"concat that multiplies", `const x="x".repeat(1e6); String.prototype.concat.apply("",new Array(1e4).fill(x))`, "to be put together"},
		{"replace that multiplies", `"x".repeat(1e6).replace(/x/g,"y".repeat(1e6))`, "replaced"},
		{"replace that multiplies by itself", `"x".repeat(1e6).replace(/x/g,"$'")`, "replaced"},
		{"template that multiplies", "let x='x'.repeat(1e6); for(;;) x=`" + strings.Repeat("${x}", 400) + "`", ""},
		{"JSON that multiplies", `const x="x".repeat(1e6); JSON.stringify(new Array(1e4).fill(x))`, "longer than"},
		{"JSON that is endless", `const o={toJSON(){return {o}}}; JSON.stringify(o)`, "nested more than"},
		{"JSON of a ring", `const o={}; o.o=o; JSON.stringify(o)`, "nested more than"},
		{"state of a ring", `s.s=s`, "nested more than"},
		{"state that is too long", `s.x="x".repeat(2e6)`, "the state is longer than 1048576 bytes"},
		{"arrays inside each other made text", `let a=[]; for(let i=0;i<1000;i++) a=[a]; String(a)`, "inside each other"},
		{"regular expression that tries everything", `/^(a+)+(?=b)$/.test("a".repeat(40))`, ""},
		{"matches that look far", `"a".repeat(20000).replace(/a|a*b/g,"")`, ""},
		{"matches that look far, listed", `"a".repeat(20000).match(/a|a*b/g)`, ""},
		{"pattern that repeats", `/(x?y?z?){1000}w/.test("xyz".repeat(1e5))`, "may take too long"},
		{"pattern that repeats, as text", `"xyz".repeat(1e5).search("(x?y?z?){1000}w")`, "may take too long"},
		{"needle that nearly fits", `("ä"+"a".repeat(1e6)).indexOf("ä"+"a".repeat(5e5)+"b")`, "may take too long"},
		{"separator that nearly fits", `("ä"+"a".repeat(1e6)).split("ä"+"a".repeat(5e5)+"b")`, "may take too long"},
		{"raw template with a made-up length", `String.raw({raw:{length:2**40}})`, "to be gone through"},
		{"sort of long texts", `const x="x".repeat(1e6), a=[]; for(let i=0;i<1e5;i++) a.push(i%2?x+"":"x".repeat(5e5)+x.slice(5e5)); for(;;) a.sort()`, ""},
		{"set of an endless iterator", `new Set({[Symbol.iterator](){return {next(){return {value:{},done:false}}}}})`, ""},
		{"flat that goes on", `let a=[1,2,3,4]; for(let i=0;i<12;i++) a=[a,a,a,a]; a.flat(Infinity)`, "made flat"},
		{"concat that multiplies arrays", `let a=[1]; for(;;) a=a.concat(a)`, ""},
		{"spread that multiplies arrays", `let a=[1]; for(;;) a=[...a,...a]`, ""},
		{"events without end", `for(;;) emit("a","b",{})`, "more than 100 events"},
		{"bytes without end", `for(let i=0;i<50;i++) emit("a","b",{x:"x".repeat(1e5)})`, "longer than 1048576 bytes"},
		{"sort that goes on", `new Array(1000).fill(0).sort(()=>{for(;;);})`, "took longer"},
		{"generator that goes on", `function* g(){for(;;) yield 1} [...g()]`, ""},
		{"bound again and again", `let f=()=>1; for(let i=0;i<3000;i++) f=f.bind(null); f()`, "calls stand inside"},
		{"numbers of any length", `BigInt(2)**BigInt(1e9)`, "BigInt is not defined"},
		{"buffers", `new ArrayBuffer(8e9)`, "ArrayBuffer is not defined"},
		{"promises", `Promise.resolve()`, "Promise is not defined"},
		{"long pattern", `new RegExp("(".repeat(1e5))`, "longer than"},
		{"long pattern of match", `"x".match("(".repeat(1e5))`, "at most"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			limits := tight
			if test.want != "" && test.want != "took longer" {
				limits.HandleTime = time.Minute // something else ends it
			}
			p, err := Compile("greedy", `fromAll().when({$init:()=>({n:0}), Good(s){s.n++}, Bad(s,e){`+test.handler+`}})`, limits)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			first, err := patient(p, nil, event(0, "Good", `{}`))
			if err != nil {
				t.Fatal(err)
			}
			out, err := p.Handle("", first.State, nil, event(1, "Bad", `{}`))
			var fault *Fault
			if !errors.As(err, &fault) {
				t.Fatalf("outcome %+v, error %v; want a fault", out, err)
			}
			if !strings.Contains(fault.Error(), `projection "greedy"`) || fault.Event != "1@account-1" || !strings.Contains(fault.Reason, test.want) {
				t.Errorf("fault is %v, want one with %q", fault, test.want)
			}
			if out.Emitted != nil || out.State != nil {
				t.Errorf("a fault left an outcome: %+v", out)
			}
			again, err := patient(p, first.State, event(2, "Good", `{}`))
			if err != nil || string(again.State) != `{"n":2}` {
				t.Errorf("afterwards: %s, %v", again.State, err)
			}
		})
	}
}

// patient feeds an event that takes no time to a projection that has little of it, on a machine that may be busy.
func patient(p Projection, state []byte, e Event) (out Outcome, err error) {
	for range 100 {
		var fault *Fault
		if out, err = p.Handle("", state, nil, e); !errors.As(err, &fault) || fault.Kind != TooLong {
			break
		}
	}
	return out, err
}

func TestFaultsNameThePlace(t *testing.T) {
	t.Parallel()
	p := quick(t, "fromAll().when({\n  A(s, e) {\n    return s.missing.field;\n  },\n  B: function broken() { throw new Error('no ' + 'good') }, D() { throw undefined }})")
	for kind, want := range map[string]string{
		"A": "line 3, column 22, in A) at event 5@account-1",
		"B": "the script threw Error: no good (line 5, column",
		"D": "the script threw undefined",
	} {
		_, err := p.Handle("", nil, nil, event(5, kind, `{}`))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", kind, err, want)
		}
	}
}

// TestArgumentsThatAreWrong: what writes events refuses what is not right, and the script may catch it.
func TestArgumentsThatAreWrong(t *testing.T) {
	t.Parallel()
	for _, call := range []string{
		`emit()`, `emit("","t",{})`, `emit(" ","t",{})`, `emit("s",1,{})`, `emit("s","t")`, `emit("s","t","text")`, `emit("s","t",{},"meta")`, `emit("s","t",()=>1)`,
		`linkTo("s")`, `linkTo("s",{})`, `linkTo("s",{streamId:"a",sequenceNumber:"1"})`, `linkTo(null,e)`, `linkStreamTo("s")`, `copyTo("s",{})`,
	} {
		p := quick(t, `fromAll().when({A(s,e){ try { `+call+`; s.x="taken" } catch(x) { s.x=String(x) } }})`)
		out, err := p.Handle("", nil, nil, event(0, "A", `{}`))
		if err != nil || !strings.HasPrefix(string(out.State), `{"x":"TypeError: `) || len(out.Emitted) != 0 {
			t.Errorf("%s: state %s, emitted %v, error %v", call, out.State, out.Emitted, err)
		}
	}
}

// TestVariablesThatGrow: what a script hoards in its own variables over many events is found.
func TestVariablesThatGrow(t *testing.T) {
	p, err := Compile("hoarder", `var all=[]; fromAll().when({$init:()=>({n:0}), A(s,e){ all.push("x".repeat(50000)+s.n); s.n++ }})`, Limits{Memory: 32 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var state []byte
	for i := range 20_000 {
		out, err := p.Handle("", state, nil, event(i, "A", `{}`))
		if err != nil {
			if !strings.Contains(err.Error(), `projection "hoarder": the script keeps`) {
				t.Fatal(err)
			}
			return
		}
		state = out.State
	}
	t.Fatal("20,000 events of 50 kB each were kept and nobody noticed")
}

func TestKeptEventsAreEmpty(t *testing.T) {
	t.Parallel()
	p := quick(t, `var old; fromAll().when({A(s,e){ s.x=old===undefined?"none":[old.bodyRaw, typeof old.body, old.eventType]; old=e }})`)
	data := []byte(`{"a":1}`)
	e := event(0, "A", string(data))
	e.Data = data
	if _, err := p.Handle("", nil, nil, e); err != nil {
		t.Fatal(err)
	}
	copy(data, `garbage`) // the bytes belong to the caller again
	out, err := p.Handle("", nil, nil, event(1, "A", `{}`))
	if err != nil || string(out.State) != `{"x":[null,"undefined","A"]}` {
		t.Errorf("%s, %v", out.State, err)
	}
}

// TestNothingStaysBehind: what watches a projection ends with it.
func TestNothingStaysBehind(t *testing.T) {
	p, err := Compile("short", `fromAll().when({A(){}})`, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	w := p.(*script).e.watch
	if _, err := p.Handle("", nil, nil, event(0, "A", `{}`)); err != nil {
		t.Fatal(err)
	}
	p.Close()
	deadline := time.Now().Add(time.Minute)
	for looks := time.NewTicker(time.Millisecond); ; <-looks.C {
		w.mu.Lock()
		looking := w.looking
		w.mu.Unlock()
		if !looking {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the goroutine that watches goes on after Close")
		}
	}
}

func TestClosed(t *testing.T) {
	t.Parallel()
	p := quick(t, `fromAll().when({A(){}})`)
	p.Close()
	p.Close()
	if _, err := p.Handle("", nil, nil, event(0, "A", `{}`)); err == nil {
		t.Error("a closed projection handled an event")
	}
}
