package projection

import (
	"syscall"
	"testing"
	"time"
)

func BenchmarkCount(b *testing.B) {
	p := quick(b, `fromAll().when({$init:()=>({count:0}), A(s,e){s.count++}})`)
	benchmark(b, p, `{"amount":12,"name":"a name"}`)
}

func BenchmarkSum(b *testing.B) {
	p := quick(b, `fromAll().when({$init:()=>({sum:0}), A(s,e){s.sum+=e.body.amount}})`)
	benchmark(b, p, `{"amount":12,"name":"a name"}`)
}

func BenchmarkLink(b *testing.B) {
	p := quick(b, `fromAll().when({A(s,e){linkTo("to-"+e.body.name,e)}})`)
	benchmark(b, p, `{"amount":12,"name":"a name"}`)
}

// BenchmarkLargeState changes one number in a state of 100 kB.
func BenchmarkLargeState(b *testing.B) {
	p := quick(b, `fromAll().when({$init(){const s={n:0, by:{}}; for(let i=0;i<3000;i++) s.by["customer-"+i]={total:i}; return s}, A(s,e){s.n++}})`)
	benchmark(b, p, `{"amount":12,"name":"a name"}`)
}

func BenchmarkCompile(b *testing.B) {
	before := cpu()
	for b.Loop() {
		p, err := Compile("benchmark", `fromAll().when({$init:()=>({count:0}), A(s,e){s.count++}})`, Limits{})
		if err != nil {
			b.Fatal(err)
		}
		p.Close()
	}
	b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op")
}

func benchmark(b *testing.B, p Projection, data string) {
	e := event(0, "A", data)
	var state []byte
	b.ReportAllocs()
	before := cpu()
	for b.Loop() {
		out, err := p.Handle("", state, nil, e)
		if err != nil {
			b.Fatal(err)
		}
		state = out.State
	}
	b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op")
}

// cpu is the time this process has computed, which a busy machine does not make longer.
func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
