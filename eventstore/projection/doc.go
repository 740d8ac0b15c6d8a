// Package projection runs one projection over one event at a time: it says which events a projection is fed, in which partition an event falls, which
// state follows from a state and an event, and what the event makes it emit.
//
// A [Projection] reads and writes nothing: events come in, states and events to be written go out. Reading, checkpoints, states on disk and the order
// of writes belong to eventstore/projections. The system projections are Go ([System]); custom ones are JavaScript ([Compile]), which runs in an
// interpreter in this process with no access to anything of the machine but the clock and the random numbers the language itself has.
//
// What holds of a script, whatever it does (argued where it is kept, tried by fuzz and property tests):
//
//   - A call ends: at its time, at the depth of its calls, or at the bound of what it may hold, with a [Fault] that names the projection and the reason.
//     What the bounds can and cannot do stands at [Limits].
//   - A fault changes nothing: the state of the partition is the one before the event, and nothing of the event is emitted.
//   - Between two events a state is what its JSON says. A script sees the same whether the state was kept, or written and read back in between: any split
//     of the events over restarts gives the same states and the same events.
//
// A Projection belongs to one goroutine at a time.
package projection
