package projection

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The scripts of the restart test keep nothing between events but their states; they do to them whatever may look different after JSON.
var restartScripts = []string{
	`fromAll().when({$init:()=>({n:0, list:[]}), A(s,e){s.n+=e.body.by; s.list.push(e.body)}, B(s,e){s.list.shift(); s.o={n:s.n}}, C(){return null}, D:(s)=>({was:s})})`,
	`fromAll().foreachStream().when({$init:()=>({}), A(s,e){s.a={x:1}; s.b=s.a; s.e=e}, B(s,e){s.a.x+=e.body.by; if(s.e) s.t=s.e.streamId}, C(s){s.d=new Date(0)}, D(s){s.kind=typeof s.d; s.neg=-0; s.inv=1/s.neg}})`,
	`fromAll().partitionBy(e=>e.body.by%3).when({$init:()=>[], $any(s,e){s.push(e.eventType,undefined,NaN); s.x=1; if(s.length>12) return s.slice(6); if (s.length>9) delete s[2]; s.has=s.x}})`,
	`fromAll().foreachStream().when({$init:()=>({n:0}), $initShared:()=>({all:0,by:{}}), A(s,e){s[0].n++; s[1].all++}, B(s,e){s[1].by[e.streamId]=s[0]; return s}, C(s,e){return [null,s[1]]}, D(s,e){s[0]={ref:s[1].by}}})`,
	`fromAll().when({$init:()=>({m:new Map(), u:undefined}), A(s,e){s.m instanceof Map ? s.m.set(1,2) : s.k=1; s.u===undefined && (s.c=(s.c||0)+1)}, B(s){s.f=()=>1}, C(s){s.r=typeof s.f; s[5]=1; s[3]=2; s.z=1}, D(s){s.keys=Object.keys(s); linkTo("x",{streamId:"a",sequenceNumber:s.keys.length})}})`,
	`class P { constructor(){this.x=1} up(){this.x++} } fromAll().when({$init:()=>({p:new P()}), A(s){s.isP=s.p instanceof P}, B(s){s.p=new P()}, C(s){s.up=typeof s.p.up}, D(s){s.g=s.p}})`,
	`fromAll().when({A(s){Object.defineProperty(s,"h",{value:1,enumerable:false,configurable:true})}, B(s){s.seen=s.h}, C(s){Object.freeze(s)}, D(s){s.d=(s.d||0)+1}})`,
	`fromAll().when({$init:()=>"", A:(s,e)=>s+e.body.by, B:(s)=>s.length>40?"":s+"\ud800", C:(s)=>s+"ä", D:s=>s.slice(1)}).transformBy(s=>({s})).filterBy(r=>r.s.length%2===0)`,
	`fromAll().when({A(s,e){s.last=e.body; s.prev=s.last}, B(s,e){if(s.prev) s.prev.by=99; emit("o","E",s)}, C(s,e){s.last=s.last&&{...s.last}}, D(s){s.__proto__===Object.prototype && (s.p=1)}})`,
}

// TestRestartsMakeNoDifference: events are fed to a projection that goes on, and to one that is made anew now and then with states read back from their JSON. States, results,
// emitted events and faults are the same.
func TestRestartsMakeNoDifference(t *testing.T) {
	t.Parallel()
	for i, source := range restartScripts {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(12) {
				restarts(t, source, seed)
			}
		})
	}
}

// restarts tries one sequence of events, which follows from seed.
func restarts(t *testing.T, source string, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 7))
	steady, other := quick(t, source), quick(t, source)
	var states [2]map[string][]byte
	states[0], states[1] = map[string][]byte{}, map[string][]byte{}
	var shared [2][]byte
	for n := range 25 {
		e := event(n, string("ABCD"[random.IntN(4)]), fmt.Sprintf(`{"by":%d}`, random.IntN(12)-3))
		e.Stream = []string{"account-1", "b"}[random.IntN(2)]
		if random.IntN(4) == 0 {
			other.(*script).drop() // what it held is gone, as after a restart
		}
		var told [2]string
		for k, p := range []Projection{steady, other} {
			partition, ok, err := p.Partition(e)
			if err != nil || !ok {
				told[k] = fmt.Sprint(ok, err)
				continue
			}
			out, err := p.Handle(partition, states[k][partition], shared[k], e)
			if told[k] = tell(out) + fmt.Sprint(err); err != nil {
				continue
			}
			for _, text := range [][]byte{out.State, out.Shared, out.Result} {
				if text != nil && !json.Valid(text) {
					t.Fatalf("seed %d: not JSON: %s", seed, text)
				}
			}
			states[k][partition], shared[k] = out.State, out.Shared
		}
		if told[0] != told[1] {
			t.Fatalf("seed %d, event %d %s:\n steady %s\nrestart %s", seed, n, e.Type, told[0], told[1])
		}
	}
	steady.Close()
	other.Close()
}

func tell(o Outcome) string {
	var lines []string
	for _, m := range o.Emitted {
		lines = append(lines, show(m))
	}
	return fmt.Sprintf("state %s shared %s result %s handled %v emitted %v", o.State, o.Shared, o.Result, o.Handled, lines)
}

// TestJSONIsTheSame: what is read and written here is what the standard library reads, except for the numbers' form.
func TestJSONIsTheSame(t *testing.T) {
	t.Parallel()
	p := quick(t, `fromAll().when({$any:(s,e)=>({v:e.body})})`)
	rapid.Check(t, func(rt *rapid.T) {
		text, err := json.Marshal(anyJSON(3).Draw(rt, "value"))
		if err != nil {
			rt.Fatal(err)
		}
		out, err := p.Handle("", nil, nil, event(0, "A", string(text)))
		if err != nil {
			rt.Fatal(err)
		}
		var want, got any
		if json.Unmarshal(text, &want) != nil || json.Unmarshal(out.State, &got) != nil {
			rt.Fatalf("%s gave %s", text, out.State)
		}
		if !reflect.DeepEqual(map[string]any{"v": want}, got) {
			rt.Fatalf("%s gave %s", text, out.State)
		}
	})
}

func anyJSON(depth int) *rapid.Generator[any] {
	leaf := []*rapid.Generator[any]{
		rapid.Just[any](nil), rapid.Bool().AsAny(), rapid.String().AsAny(), rapid.Float64().AsAny(), rapid.IntRange(-1<<53, 1<<53).AsAny(),
		rapid.StringOf(rapid.SampledFrom([]rune{'"', '\\', '\n', '\u2028', '<', 0, 0x1F, 'ä', '😀', 0xFFFD})).AsAny(),
	}
	if depth > 0 {
		leaf = append(leaf, rapid.SliceOfN(anyJSON(depth-1), 0, 5).AsAny(), rapid.MapOfN(rapid.StringN(0, 5, -1), anyJSON(depth-1), 0, 5).AsAny())
	}
	return rapid.OneOf(leaf...)
}

// fuzzLimits are short: a fuzzer tries much.
var fuzzLimits = Limits{CompileTime: 200 * time.Millisecond, HandleTime: 200 * time.Millisecond, Memory: 64 << 20, StateBytes: 64 << 10, EmittedEvents: 100, EmittedBytes: 64 << 10, CallDepth: 100}

// FuzzCompile: any text is taken or refused with a fault, and what is taken handles an event or refuses it with a fault.
func FuzzCompile(f *testing.F) {
	for _, source := range restartScripts {
		f.Add(source)
	}
	for _, source := range []string{
		``, `fromAll()`, "\x00", "fromAll().when({$any(s,e){return `${s}${e}`}})", `options({`, `fromAll().when({$any: s=>s.x.y})`, strings.Repeat("!", 1000), `class A { static { for(;;); } }`,
		`fromAll().partitionBy(e=>{throw e}).when({})`, `fromAll().when({$any(s,e){e.toString=1; return e}})`, `fromAll().when({$any(){ return Symbol.iterator }})`, `fromAll().when({$any(){ return globalThis }})`,
		`s.n=[..."ab"].map(x=>x.repeat(3)).join("-").replace(/a(b)?/g,"$1$&").split("").sort().reverse().flat().concat([1,[2]])`, `s.j=JSON.stringify(e,null,2)+JSON.parse(e.bodyRaw).by`,
		`s[Symbol.iterator]=function*(){yield* [1,2]}; s.x=[...s]; class A extends Array{}; s.y=new A(3).fill(s.x)`, `s.x=new Map([[s,e]]); s.d=new Date(e.created); delete s.x; s.r=Reflect.ownKeys(e)`,
		`fromAll().when({$any(){ label: for(const x of [1,2]) { try { continue label } finally { break label } } }})`,
	} {
		f.Add(source)
	}
	f.Fuzz(func(t *testing.T, source string) {
		p, err := Compile("fuzzed", source, fuzzLimits)
		if err != nil {
			faultOnly(t, err)
			if p, err = Compile("fuzzed", "fromAll().when({$any(s,e){"+source+"\n}})", fuzzLimits); err != nil {
				faultOnly(t, err)
				return
			}
		}
		defer p.Close()
		p.Definition()
		for i := range 3 {
			e := event(i, "A", `{"by":1,"a":[1,{"b":null}]}`)
			partition, ok, err := p.Partition(e)
			faultOnly(t, err)
			if !ok {
				continue
			}
			out, err := p.Handle(partition, nil, nil, e)
			faultOnly(t, err)
			if err == nil && out.State != nil && !json.Valid(out.State) {
				t.Fatalf("state %q", out.State)
			}
			_, err = p.Result(out.State, out.Shared)
			faultOnly(t, err)
		}
	})
}

// FuzzHandle: any bytes as state, data and metadata of an event are handled, or refused with a fault.
func FuzzHandle(f *testing.F) {
	f.Add([]byte(`{"n":1}`), []byte(`{"a":1}`), []byte(`null`), true, "stream", "A")
	f.Add([]byte(`nul`), []byte(`{"a":"\ud83d\ude00\ud800"}`), []byte(`{"__proto__":1}`), true, "", "B")
	f.Add([]byte(`[1e999,-0,1.5e-7]`), []byte("\xff"), []byte(strings.Repeat("[", 2000)), false, "\xff", "")
	f.Add([]byte(`"`), []byte(`"\u12"`), []byte(`"\`), true, "s", "A")
	const source = `fromAll().when({$any(s,e){ return {s, t:[e.body,e.data,e.bodyRaw,e.metadata,e.metadataRaw,e.linkMetadata,e.created,e.streamId,e.eventType]} }}).transformBy(s=>s.t)`
	limits := fuzzLimits
	limits.CompileTime = time.Minute
	p, err := Compile("fuzzed", source, limits)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(p.Close)
	f.Fuzz(func(t *testing.T, state, data, metadata []byte, isJSON bool, stream, kind string) {
		out, err := p.Handle("", state, nil, Event{Stream: stream, Type: kind, JSON: isJSON, Data: data, Metadata: metadata, LinkMetadata: metadata})
		faultOnly(t, err)
		for _, text := range [][]byte{out.State, out.Result} {
			if out.Handled && text != nil && !json.Valid(text) {
				t.Fatalf("not JSON: %q", text)
			}
		}
	})
}

func faultOnly(t *testing.T, err error) {
	t.Helper()
	var fault *Fault
	if err == nil {
		return
	}
	if !errors.As(err, &fault) || fault.Projection == "" || fault.Reason == "" {
		t.Fatalf("not a fault that says anything: %v", err)
	}
	if fault.Kind == Broken && !strings.Contains(fault.Reason, "state that was kept") {
		t.Fatalf("the interpreter broke down: %v", err)
	}
}
