package projections

import (
	"fmt"
	"strings"

	"baton/eventstore/stream"
)

const (
	prefix = "$projections-"
	// registryStream lists the projections: one event for each that was created or deleted.
	registryStream = prefix + "$all"

	initializedType    = "$ProjectionsInitialized"
	createdType        = "$ProjectionCreated"
	deletedType        = "$ProjectionDeleted"
	updatedType        = "$ProjectionUpdated"
	checkpointType     = "$ProjectionCheckpoint"
	partitionStateType = "$Checkpoint"
	partitionType      = "$partition"
	trackedType        = "$StreamTracked"
	resultType         = "Result"
	resultRemovedType  = "ResultRemoved"
)

// Suffixes of a projection's own streams. No projection's name may end like one: its definition would stand in another one's stream.
const (
	checkpointSuffix = "-checkpoint"
	stateSuffix      = "-state"
	resultSuffix     = "-result"
	partitionsSuffix = "-partitions"
	emittedSuffix    = "-emittedstreams"
)

var suffixes = []string{checkpointSuffix, stateSuffix, resultSuffix, partitionsSuffix, emittedSuffix, "-order"}

func definitionStream(name string) string { return prefix + name }
func checkpointStream(name string) string { return prefix + name + checkpointSuffix }
func partitionsStream(name string) string { return prefix + name + partitionsSuffix }
func emittedStream(name string) string    { return prefix + name + emittedSuffix }

// stateStream holds the state of one partition.
func stateStream(name, partition string) string { return prefix + name + "-" + partition + stateSuffix }

// resultStream is where results go that a definition gives no stream of its own.
func resultStream(name, partition string) string {
	if partition == "" {
		return prefix + name + resultSuffix
	}
	return prefix + name + "-" + partition + resultSuffix
}

// maxName bounds a projection's name, bytes.
const maxName = 512

// checkName refuses names that cannot be a custom projection's.
func checkName(name string) error {
	switch {
	case name == "":
		return &RequestError{"the request names no projection"}
	case len(name) > maxName:
		return &RequestError{fmt.Sprintf("the projection's name is longer than %d bytes", maxName)}
	case strings.HasPrefix(name, "$"):
		return &RequestError{`names that begin with "$" belong to the system's own projections; choose another`}
	}
	for _, s := range suffixes {
		if strings.HasSuffix(name, s) {
			return &RequestError{fmt.Sprintf("a projection's name cannot end with %q: a stream of the projection %q has that name", s, strings.TrimSuffix(name, s))}
		}
	}
	if err := stream.CheckName(checkpointStream(name)); err != nil {
		return &RequestError{err.Error()}
	}
	return nil
}
