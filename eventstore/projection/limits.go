package projection

import "time"

// Limits bound what a script may use. The zero value of a field stands for its default.
type Limits struct {
	// CompileTime is how long the script may take to describe itself, once.
	CompileTime time.Duration
	// HandleTime is how long one call may take: one event, one partition, one result.
	HandleTime time.Duration
	// StateBytes is the length of one state, or one result, as JSON.
	StateBytes int
	// EmittedEvents is the number of events one event may emit.
	EmittedEvents int
	// EmittedBytes is the length of data and metadata one event may emit together.
	EmittedBytes int
	// Memory is by how many bytes the process may grow while one call runs.
	Memory int64
	// CallDepth is how many calls may stand inside each other.
	CallDepth int
	// CachedStates is how many partitions' states are kept parsed.
	CachedStates int
	// CachedBytes is the length of all kept states as JSON.
	CachedBytes int
}

// The defaults of Limits.
const (
	DefaultCompileTime   = 2 * time.Second
	DefaultHandleTime    = 2 * time.Second
	DefaultStateBytes    = 16 << 20 // the largest event: a checkpoint carries a state in one
	DefaultEmittedEvents = 10_000
	DefaultEmittedBytes  = 64 << 20
	DefaultMemory        = 256 << 20
	DefaultCallDepth     = 512
	DefaultCachedStates  = 10_000
	DefaultCachedBytes   = 32 << 20
)

// withDefaults replaces what is zero.
func (l Limits) withDefaults() Limits {
	set(&l.CompileTime, DefaultCompileTime)
	set(&l.HandleTime, DefaultHandleTime)
	set(&l.StateBytes, DefaultStateBytes)
	set(&l.EmittedEvents, DefaultEmittedEvents)
	set(&l.EmittedBytes, DefaultEmittedBytes)
	set(&l.Memory, DefaultMemory)
	set(&l.CallDepth, DefaultCallDepth)
	set(&l.CachedStates, DefaultCachedStates)
	set(&l.CachedBytes, DefaultCachedBytes)
	return l
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
