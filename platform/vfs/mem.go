package vfs

// Mem is a deterministic file system in memory that can lose power.
type Mem struct{ FS }

// NewMem returns an empty file system.
func NewMem() *Mem { return &Mem{} }
