package projection

import (
	"fmt"
	"runtime"
)

// leaks looks, now and then, whether the script keeps more in its own variables than a call may use. Nobody can ask an interpreter what it holds; but when the process
// has grown enough to be worth it, the interpreter is thrown away and made anew, and what that frees is what it held. States are not lost by it: they are
// what their JSON says.
func (s *script) leaks() *Fault {
	if s.calls++; s.calls%leakCheckEvery != 0 || live()-s.baseline < s.limits.Memory {
		return nil
	}
	runtime.GC()
	before := live()
	s.drop()
	runtime.GC()
	freed := before - live()
	if freed > s.limits.Memory/2 {
		return &Fault{Projection: s.e.name, Kind: TooMuch, Reason: fmt.Sprintf("the script keeps %d MiB in variables of its own between events; what is to stay belongs into the state", freed>>20)}
	}
	return s.start()
}
