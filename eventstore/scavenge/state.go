package scavenge

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"

	"baton/platform/vfs"
)

// Result says how a scavenge stands.
type Result string

// A scavenge begins InProgress and ends in one of the others. A stopped one goes
// on where it was with the next start.
const (
	InProgress Result = "InProgress"
	Success    Result = "Success"
	Stopped    Result = "Stopped"
	Errored    Result = "Errored"
)

// Options of a scavenge.
type Options struct {
	// StartFrom is the number of the first segment to look at, from 0.
	StartFrom int `json:"startFrom"`
	// Threads is accepted for the protocol's sake, at least 1; the work is bound
	// by the disk and done by one.
	Threads int `json:"threads"`
	// Threshold: a segment is rewritten if twice the number of its events that
	// may go is more than this; -1 and 0: if there is any.
	Threshold int `json:"threshold"`
	// ThrottlePercent of bytesPerSecond may be used, 1 to 100; 0: 100.
	ThrottlePercent int `json:"throttlePercent"`
}

// OptionError says which option cannot be.
type OptionError struct{ Reason string }

func (e *OptionError) Error() string { return e.Reason }

func (o *Options) check() error {
	if o.ThrottlePercent == 0 {
		o.ThrottlePercent = 100
	}
	switch {
	case o.StartFrom < 0:
		return &OptionError{"the segment to start from must be 0 or more"}
	case o.Threads < 1:
		return &OptionError{"the number of threads must be 1 or more"}
	case o.Threshold < -1:
		return &OptionError{"the threshold must be -1 or more"}
	case o.ThrottlePercent < 1 || o.ThrottlePercent > 100:
		return &OptionError{"the throttle must be from 1 to 100 percent"}
	case o.ThrottlePercent < 100 && o.Threads > 1:
		return &OptionError{"a throttle goes with one thread only"}
	}
	return nil
}

// Status tells how a scavenge stands; it is also what is kept on disk.
type Status struct {
	ID        string    `json:"scavengeId"`
	Result    Result    `json:"result"`
	Error     string    `json:"error,omitempty"`
	Options   Options   `json:"options"`
	Point     *Point    `json:"point,omitempty"` // nil until it is made
	Next      uint64    `json:"next,string"`     // everything before this position is done
	Begun     time.Time `json:"begun"`
	Ended     time.Time `json:"ended,omitzero"`
	Segments  int       `json:"segments"`  // looked at
	Rewritten int       `json:"rewritten"` // of them
	Events    int64     `json:"removedEvents"`
	Rows      int64     `json:"removedRows"` // of the index
	Saved     int64     `json:"savedBytes"`  // of files of the log
	// Total is the number of segments to look at, 0 while that is not known.
	Total int `json:"totalSegments"`
}

// Running reports whether the scavenge has not ended.
func (s Status) Running() bool { return s.Result == InProgress }

// stateFile keeps the status of the last scavenge, in the data directory.
const stateFile = "scavenge.json"

func loadStatus(fsys vfs.FS, dir string) (Status, error) {
	var s Status
	data, err := vfs.ReadFile(fsys, path.Join(dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("read how the last scavenge stands: %w", err)
	}
	return decodeStatus(data), nil
}

// decodeStatus reads the file. One that cannot be read, or says what cannot be,
// costs a scavenge from the beginning, no more.
func decodeStatus(data []byte) (s Status) {
	if json.Unmarshal(data, &s) != nil || !slices.Contains([]Result{InProgress, Success, Stopped, Errored}, s.Result) || s.Options.check() != nil {
		return Status{}
	}
	return s
}

func saveStatus(fsys vfs.FS, dir string, s Status) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := vfs.WriteFileAtomic(fsys, path.Join(dir, stateFile), append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("write how the scavenge stands: %w", err)
	}
	return nil
}
