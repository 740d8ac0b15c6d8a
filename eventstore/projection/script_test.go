package projection

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// quick makes a projection that is closed with the test.
func quick(t testing.TB, source string) Projection {
	t.Helper()
	p, err := Compile("under-test", source, Limits{})
	if err != nil {
		t.Fatalf("compile: %v", err)
	}
	t.Cleanup(p.Close)
	return p
}

// event is a JSON event in stream "account-1".
func event(n int, kind, data string) Event {
	return Event{Stream: "account-1", Revision: int64(n), Type: kind, ID: "a1b2c3d4-e5f6-7890-abcd-ef1234567890", Position: int64(100 + n), JSON: true,
		Data: []byte(data), Category: "account", Created: time.Date(2023, 4, 5, 12, 34, 56, 0, time.UTC)}
}

// feed runs events one after the other, as a runtime does, and returns the last outcome and everything emitted as lines.
func feed(t testing.TB, p Projection, events ...Event) (map[string]string, []string, Outcome) {
	t.Helper()
	states, shared := map[string][]byte{}, []byte(nil)
	var lines []string
	var last Outcome
	for _, e := range events {
		partition, ok, err := p.Partition(e)
		if err != nil {
			t.Fatalf("partition of %v: %v", e.Revision, err)
		}
		if !ok {
			continue
		}
		out, err := p.Handle(partition, states[partition], shared, e)
		if err != nil {
			t.Fatalf("event %d: %v", e.Revision, err)
		}
		states[partition], shared, last = out.State, out.Shared, out
		for _, m := range out.Emitted {
			lines = append(lines, show(m))
		}
	}
	text := map[string]string{}
	for k, v := range states {
		text[k] = string(v)
	}
	if shared != nil {
		text["(shared)"] = string(shared)
	}
	return text, lines, last
}

func show(m Emitted) string {
	line := fmt.Sprintf("%s %s %s", m.Stream, m.Type, m.Data)
	if m.Metadata != nil {
		line += " " + string(m.Metadata)
	}
	return line
}

func TestScripts(t *testing.T) {
	t.Parallel()
	in := func(stream string, e Event) Event { e.Stream = stream; return e }
	raw := event(0, "Raw", "\xff\x00")
	raw.JSON = false
	linked := event(7, "T", `{"the-key":"the-value"}`)
	linked.Metadata, linked.LinkMetadata = []byte(`{"m":1}`), []byte(`{"l":2}`)
	tests := []struct {
		name, source string
		events       []Event
		states       string // partition=state, in the order of the test's own words, joined by spaces
		emitted      string // joined by " | "
		result       string
	}{
		{name: "counts", source: `fromAll().when({$init(){return {n:0}}, Added(s,e){s.n++}})`,
			events: []Event{event(0, "Added", `{}`), event(1, "Other", `{}`), event(2, "Added", `{}`)}, states: `={"n":2}`},
		{name: "state that is returned replaces", source: `fromAll().when({$any:(s,e)=>({last:e.sequenceNumber})})`,
			events: []Event{event(0, "A", `{}`), event(4, "B", `{}`)}, states: `={"last":4}`},
		{name: "state is an object without $init", source: `fromStream("account-1").when({A(s,e){s.x=(s.x||0)+e.data.by; return s}})`,
			events: []Event{event(0, "A", `{"by":2}`), event(1, "A", `{"by":3.5}`)}, states: `={"x":5.5}`},
		{name: "null begins anew", source: `fromAll().when({$init:()=>({n:10}), Add(s){s.n++}, Reset(){return null}})`,
			events: []Event{event(0, "Add", `{}`), event(1, "Reset", `{}`), event(2, "Add", `{}`)}, states: `={"n":11}`},
		{name: "numbers and texts are states", source: `fromAll().when({$init:()=>0, Add:(s)=>s+1, Name:(s,e)=>"at "+s})`,
			events: []Event{event(0, "Add", `{}`), event(1, "Add", `{}`), event(2, "Name", `{}`)}, states: `="at 2"`},
		{name: "each stream", source: `fromCategory("account").foreachStream().when({$init:()=>({n:0}), A(s,e){s.n++}})`,
			events: []Event{event(0, "A", `{}`), in("account-2", event(0, "A", `{}`)), event(1, "A", `{}`)}, states: `account-1={"n":2} account-2={"n":1}`},
		{name: "partitions of its own", source: `fromAll().partitionBy(e=>e.data.region).when({$init:()=>({n:0}), A(s,e){s.n++; s.p=e.partition}})`,
			events: []Event{event(0, "A", `{"region":"eu"}`), event(1, "A", `{"region":7}`), event(2, "A", `{}`), event(3, "A", `{"region":"eu"}`)},
			states: `eu={"n":2,"p":"eu"} 7={"n":1,"p":"7"}`},
		{name: "two states", source: `fromAll().foreachStream().when({$init:()=>({n:0}), $initShared:()=>({all:0}), A(s,e){s[0].n++; s[1].all++; return s}})`,
			events: []Event{event(0, "A", `{}`), in("b", event(0, "A", `{}`)), event(1, "A", `{}`)}, states: `account-1={"n":2} b={"n":1} (shared)={"all":3}`},
		{name: "two states by option", source: `options({biState:true}); fromAll().foreachStream().when({$any(s,e){s[1].c=(s[1].c||0)+1; return [{own:1}, s[1]]}})`,
			events: []Event{event(0, "A", `{}`), in("b", event(0, "A", `{}`))}, states: `account-1={"own":1} b={"own":1} (shared)={"c":2}`},
		{name: "emits", source: `fromAll().when({A(s,e){emit("out-"+e.data.k,"Seen",{was:e.data,nr:e.sequenceNumber},{why:"test"}); linkTo("links",e); linkTo("more",e,{by:1}); linkStreamTo("refs",e.streamId); copyTo("copies",e)}})`,
			events:  []Event{event(3, "A", `{"k":"x"}`)},
			states:  `={}`,
			emitted: `out-x Seen {"was":{"k":"x"},"nr":3} {"why":"test"} | links $> 3@account-1 | more $> 3@account-1 {"by":1} | refs $@ account-1 | copies A {"k":"x"}`},
		{name: "fields of events", source: `fromAll().when({$any(s,e){
			for (const k of ["isJson","data","body","bodyRaw","eventType","streamId","sequenceNumber","metadata","metadataRaw","linkMetadata","linkMetadataRaw","partition","eventId","category","created"]) s[k]=e[k]}})`,
			events: []Event{linked},
			states: `={"isJson":true,"data":{"the-key":"the-value"},"body":{"the-key":"the-value"},"bodyRaw":"{\"the-key\":\"the-value\"}","eventType":"T","streamId":"account-1",` +
				`"sequenceNumber":7,"metadata":{"m":1},"metadataRaw":"{\"m\":1}","linkMetadata":{"l":2},"linkMetadataRaw":"{\"l\":2}","partition":"","eventId":"a1b2c3d4-e5f6-7890-abcd-ef1234567890",` +
				`"category":"account","created":"2023-04-05T12:34:56.0000000Z"}`},
		{name: "an event is not changed", source: `fromAll().when({$any(s,e){e.streamId="other"; e.x=1; delete e.eventType; s.a=e.streamId; s.b=e.x===undefined; s.c=e.eventType; s.d=Object.keys(e).length; s.e="body" in e}})`,
			events: []Event{event(0, "A", `{}`)}, states: `={"a":"account-1","b":true,"c":"A","d":15,"e":true}`},
		{name: "data that is not JSON", source: `fromAll().when({$any(s,e){s[e.eventType]=[e.body, e.isJson, e.data===null]}})`,
			events: []Event{raw, event(1, "Broken", `{"a":`), event(2, "Empty", ` `)}, states: `={"Raw":[null,false,true],"Broken":[null,true,true]}`},
		{name: "body can be changed by the one who reads it", source: `fromAll().when({$any(s,e){e.body.x=1; s.same=e.body===e.data; s.x=e.data.x}})`,
			events: []Event{event(0, "A", `{}`)}, states: `={"same":true,"x":1}`},
		{name: "created runs once for each partition", source: `fromAll().foreachStream().when({$init:()=>({}), $created(s,e){emit("new","New",{of:e.streamId})}, A(s){}})`,
			events: []Event{event(0, "A", `{}`), event(1, "A", `{}`), in("b", event(0, "A", `{}`))}, states: `account-1={} b={}`,
			emitted: `new New {"of":"account-1"} | new New {"of":"b"}`},
		{name: "deleted streams", source: `fromAll().foreachStream().when({A(s){s.n=1}, $deleted(s,e,partition,soft){s.gone=[partition,soft,e]}})`,
			events: []Event{event(0, "A", `{}`), event(1, DeletedType, ``), in("b", event(0, typeTombstone, ``))},
			states: `account-1={"n":1,"gone":["account-1",false,null]} b={"gone":["b",false,null]}`},
		{name: "on_event and on_any", source: `fromAll(); on_event("A",(s,e)=>{s.a=1}); on_any((s,e)=>{s.any=(s.any||0)+1})`,
			events: []Event{event(0, "A", `{}`), event(1, "B", `{}`)}, states: `={"a":1,"any":1}`},
		{name: "without when the state is the last event", source: `fromStream("account-1").outputState()`,
			events: []Event{event(0, "A", `{"x":1}`), event(1, "B", `{"x":2}`)}, states: `={"x":2}`, result: `{"x":2}`},
		{name: "results", source: `fromAll().when({$init:()=>({n:0}), A(s){s.n++}}).transformBy(s=>({total:s.n})).filterBy(s=>s.total>1).transformBy(s=>{s.seen=true; return s}).outputState()`,
			events: []Event{event(0, "A", `{}`), event(1, "A", `{}`)}, states: `={"n":2}`, result: `{"total":2,"seen":true}`},
		{name: "results that are filtered away", source: `fromAll().when({$init:()=>({n:0}), A(s){s.n++}}).filterBy(s=>s.n>5)`,
			events: []Event{event(0, "A", `{}`)}, states: `={"n":1}`},
		{name: "a transformation does not change the state", source: `fromAll().when({$init:()=>({n:0}), A(s){s.n++}}).transformBy(s=>{s.n+=100; return s})`,
			events: []Event{event(0, "A", `{}`), event(1, "A", `{}`)}, states: `={"n":2}`, result: `{"n":102}`},
		{name: "a result of two states", source: `fromAll().when({$init:()=>({n:1}), $initShared:()=>({m:2}), A(s){return s}}).transformBy(s=>s[0].n+s[1].m)`,
			events: []Event{event(0, "A", `{}`)}, states: `={"n":1} (shared)={"m":2}`, result: `3`},
		{name: "what JSON does not have", source: `fromAll().when({$any(s,e){s.f=()=>1; s.u=undefined; s.nan=NaN; s.d=new Date(0); s.a=[,undefined,()=>1]; s.neg=-0; s.o=new Number(4); s.b=new Boolean(false); s.t=Object("x"); s.m=new Map([[1,2]])}})`,
			events: []Event{event(0, "A", `{}`)}, states: `={"nan":null,"d":"1970-01-01T00:00:00.000Z","a":[null,null,null],"neg":0,"o":4,"b":false,"t":"x","m":{}}`},
		{name: "texts of every kind", source: `fromAll().when({$any(s,e){s.a=e.body.a; s.b="\ud800"+e.body.b; s.c=e.body.c.length; s["k\"\n"]="\u0001\t"; s.e=e.body.e}})`,
			events: []Event{event(0, "A", `{"a":"ä😀\u00e4\ud83d\ude00\/","b":"x","c":"\udc00\\u\n","e":"`+"\xff"+`"}`)},
			states: `={"a":"ä😀ä😀/","b":"\ud800x","c":4,"k\"\n":"\u0001\t","e":"` + "\uFFFD" + `"}`},
		{name: "names that mean something elsewhere", source: `fromAll().when({$any(s,e){s.p=Object.keys(e.body); s.v=e.body.toString; s.c=e.body.constructor}})`,
			events: []Event{event(0, "A", `{"__proto__":{"x":1},"toString":5,"constructor":null}`)}, states: `={"p":["__proto__","toString","constructor"],"v":5,"c":null}`},
		{name: "long templates", source: "fromAll().when({$any(s,e){const n=e.sequenceNumber; s.t=`a${n}b${n}c${n}d${n}e${n}f${n}g${n}h${n}i${n}j${n}k${n}l${n}m${n}n${n}o${n}p${n}q${n}r`}})",
			events: []Event{event(1, "A", `{}`)}, states: `={"t":"a1b1c1d1e1f1g1h1i1j1k1l1m1n1o1p1q1r"}`},
		{name: "what is built in works behind its fence", source: `fromAll().when({$any(s,e){
			const a=[3,1,2];
			s.r=[a.slice().sort().join("-"), [1,[2,[3]]].flat(Infinity).length, "a,b".split(","), "x".repeat(3), "5".padStart(3,"0"), "aXbX".replace(/X/g,(m)=>m+"!"), "a.b".replaceAll(".","_"),
				[...a], Array.from({length:2},(_, i)=>i), Array.from("hé"), Math.max.apply(null,a), [1].concat([2],3), String([1,[2,null]]), JSON.stringify({a:[1,{b:2}]},null,1), JSON.stringify({a:1,b:2},["b"]),
				JSON.stringify({a:1},(k,v)=>k==="a"?v+1:v), JSON.parse("[1,{\"a\":2}]"), JSON.parse("[1,2]",(k,v)=>typeof v==="number"?v*2:v), "2020-01-02".match(/(\d+)-(\d+)/)[2], /a+/.test("caat"), new RegExp("^b").test("bc"),
				a.map(x=>x*2), a.filter(x=>x>1), a.reduce((x,y)=>x+y), a.indexOf(2), a.includes(9), Array.prototype.slice.call({length:1,0:"q"}), (function(){return this.v}).bind({v:8})(), Object.entries({z:1}),
				"abc".search("c"), [..."ab"].reverse(), new Set([1,1,2]).size, a instanceof Array, /x/ instanceof RegExp, (()=>1) instanceof Function, [2,1].toSorted(), a.at(-1), "%", encodeURIComponent("ä"), [1,2,3].splice(1,1), "a-b-c".split("-",2), "aaa".lastIndexOf("a")]}})`,
			events: []Event{event(0, "A", `{}`)},
			states: `={"r":["1-2-3",3,["a","b"],"xxx","005","aX!bX!","a_b",[3,1,2],[0,1],["h","é"],3,[1,2,3],"1,2,","{\n \"a\": [\n  1,\n  {\n   \"b\": 2\n  }\n ]\n}","{\"b\":2}",` +
				`"{\"a\":2}",[1,{"a":2}],[2,4],"01",true,true,[6,2,4],[3,2],6,2,false,["q"],8,[["z",1]],2,["b","a"],2,true,true,true,[1,2],2,"%","%C3%A4",[2],["a","b"],2]}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := quick(t, test.source)
			states, emitted, last := feed(t, p, test.events...)
			for _, word := range splitStates(test.states) {
				partition, want, _ := strings.Cut(word, "=")
				if got := states[partition]; got != want {
					t.Errorf("state of %q:\n got %s\nwant %s", partition, got, want)
				}
				delete(states, partition)
			}
			for partition, state := range states {
				t.Errorf("unexpected state of %q: %s", partition, state)
			}
			if got := strings.Join(emitted, " | "); got != test.emitted {
				t.Errorf("emitted:\n got %s\nwant %s", got, test.emitted)
			}
			if string(last.Result) != test.result {
				t.Errorf("result: got %s, want %s", last.Result, test.result)
			}
		})
	}
}

// Goal: a result of two states does not depend on which instance handled the events.
// Method: one handles events, a fresh one is asked for results of the states they left.
func TestResultOfTwoStatesInAFreshInstance(t *testing.T) {
	t.Parallel()
	const source = `fromAll().foreachStream().when({$init:()=>({n:0}), $initShared:()=>({all:0}), A(s){s[0].n++; s[1].all++; return s}}).transformBy(s=>s[1] ? s[0].n+" of "+s[1].all : "none")`
	_, _, last := feed(t, quick(t, source), event(0, "A", `{}`), event(1, "A", `{}`))
	if string(last.Result) != `"2 of 2"` {
		t.Fatalf("result after the last event: %s", last.Result)
	}
	p := quick(t, source)
	for shared, want := range map[string]string{string(last.Shared): `"2 of 2"`, `{"all":7}`: `"2 of 7"`, ``: `"none"`} {
		if got, err := p.Result(last.State, []byte(shared)); err != nil || string(got) != want {
			t.Errorf("with shared state %q: %s %v, want %s", shared, got, err, want)
		}
	}
}

// splitStates splits at the spaces between states, which have none in them at depth 0.
func splitStates(s string) (words []string) {
	depth, from, quoted := 0, 0, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		case c == ' ' && depth == 0:
			words = append(words, s[from:i])
			from = i + 1
		}
	}
	return append(words, s[from:])
}

func TestDefinitions(t *testing.T) {
	t.Parallel()
	tests := []struct{ source, want string }{
		{`fromAll().when({$any(){}})`, `{Source:{All:true Streams:[] Categories:[] EventTypes:[] Links:false DeletedNotices:false} PerStream:false CustomPartitions:false BiState:false ResultStream: PartitionResultPattern: Results:false Reorder:false ReorderLagMs:0}`},
		{`fromStream("a").when({B(){},A(){}}).outputState()`, `{Source:{All:false Streams:[a] Categories:[] EventTypes:[B A] Links:false DeletedNotices:false} PerStream:false CustomPartitions:false BiState:false ResultStream: PartitionResultPattern: Results:true Reorder:false ReorderLagMs:0}`},
		{`options({$includeLinks:true,reorderEvents:true,processingLag:80,resultStreamName:"r"}); fromStreams(["a","b","a"]).partitionBy(e=>1).when({A(){}, $deleted(){}})`, `{Source:{All:false Streams:[a b] Categories:[] EventTypes:[A] Links:true DeletedNotices:true} PerStream:false CustomPartitions:true BiState:false ResultStream:r PartitionResultPattern: Results:false Reorder:true ReorderLagMs:80}`},
		{`fromStreams("a","b").when({A(){}, $any(){}}).outputTo("out","out-{0}")`, `{Source:{All:false Streams:[a b] Categories:[] EventTypes:[] Links:false DeletedNotices:false} PerStream:false CustomPartitions:false BiState:false ResultStream:out PartitionResultPattern:out-{0} Results:true Reorder:false ReorderLagMs:0}`},
		{`fromCategories("x","y").foreachStream().when({$initShared(){}})`, `{Source:{All:false Streams:[] Categories:[x y] EventTypes:[] Links:false DeletedNotices:false} PerStream:true CustomPartitions:false BiState:true ResultStream: PartitionResultPattern: Results:false Reorder:false ReorderLagMs:0}`},
	}
	for _, test := range tests {
		p := quick(t, test.source)
		if got := fmt.Sprintf("%+v", p.Definition()); got != test.want {
			t.Errorf("%s\n got %s\nwant %s", test.source, got, test.want)
		}
	}
}

func TestScriptsThatAreRefused(t *testing.T) {
	t.Parallel()
	tests := []struct{ source, want string }{
		{``, `names no source`},
		{`fromAll().when({`, `cannot be read: Unexpected end of input`},
		{"fromAll()\n  .when({A(){ 1 + }})", `line 2, column 19`},
		{`fromAll(); fromStream("a")`, `a projection has one source`},
		{`fromStream()`, `needs at least one name`},
		{`fromStreams(1)`, `takes names: texts that are not empty`},
		{`fromStreamsMatching(()=>true)`, `fromStreamsMatching is not supported`},
		{`fromAll().foreachStream().outputState()`, `outputState`},
		{`fromAll().when({$initShared(){}, $deleted(){}})`, `cannot handle $deleted`},
		{`options({speed:1})`, `there is no option speed`},
		{`options({reorderEvents:true}); fromAll()`, `only for fromStreams`},
		{`options({reorderEvents:true,processingLag:10}); fromStreams("a","b")`, `at least 50`},
		{`fromAll().when({A(){ return 10n }})`, `JSON has none`},
		{`fromAll().when({async A(){ }})`, `async functions are not for projections`},
		{`fromAll().when({A(){ return async()=>1 }})`, `async functions are not for projections`},
		{`with({}) fromAll()`, `with is not for projections`},
		{`fromAll().when({A(){}}); emit("a","b",{})`, `emit is not defined`},
		{`throw new Error("my own words")`, `my own words`},
		{`for(;;);`, `took longer than`},
		{`function f(){f()} f()`, `calls stand inside each other`},
		{`require("fs")`, `require is not defined`},
		{`eval("1")`, `eval is not defined`},
		{`(()=>{}).constructor("return 1")()`, `cannot be made out of text`},
		{`new Function("return 1")()`, `cannot be made out of text`},
		{`Object.getPrototypeOf(function*(){}).constructor("yield 1")`, `cannot be made out of text`},
		{strings.Repeat("(", 600), `brackets stand open`},
		{strings.Repeat(" ", 300<<10), `at most 262144`},
		{`//# sourceMappingURL=/etc/passwd`, `names no source`},
	}
	for _, test := range tests {
		limits := Limits{CompileTime: time.Minute}
		if test.want == "took longer than" {
			limits.CompileTime = 100 * time.Millisecond
		}
		p, err := Compile("refused", test.source, limits)
		if err == nil {
			p.Close()
			t.Errorf("%s: was taken", test.source)
			continue
		}
		var fault *Fault
		if !errors.As(err, &fault) || fault.Projection != "refused" || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%.80s: error is %v, want one with %q", test.source, err, test.want)
		}
	}
}
