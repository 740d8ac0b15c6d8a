package subscriptions

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"baton/eventstore/stream"
	"baton/eventstore/subscription"
)

// From says where a group begins when it has no checkpoint.
type From struct {
	End bool
	// Otherwise At: a revision or position, inclusive; 0 is the beginning.
	At uint64
}

// Config is what a group is made of.
type Config struct {
	From     From
	Settings subscription.Settings
	Filter   *Filter // of all streams only
}

const (
	configType    = "$PersistentConfig"
	configVersion = "2"
	// configKept is how many versions of the settings, and how many checkpoints of a group, stay readable.
	configKept = `{"$maxCount":2}`
)

// document is the settings of all groups, as stored.
type document struct {
	Version   string    `json:"version"`
	Updated   time.Time `json:"updated"`
	UpdatedBy string    `json:"updatedBy"`
	MaxCount  int       `json:"maxCount"`
	Entries   []entry   `json:"entries"`
}

// entry is one group, as stored. Times are milliseconds.
type entry struct {
	Stream             string      `json:"stream"`
	Group              string      `json:"group"`
	Filter             *filterText `json:"filter,omitempty"`
	ResolveLinkTos     bool        `json:"resolveLinkTos"`
	ExtraStatistics    bool        `json:"extraStatistics"`
	MessageTimeout     int64       `json:"messageTimeout"`
	StartFrom          int64       `json:"startFrom"`               // -1: the end; not used with StartPosition
	StartPosition      string      `json:"startPosition,omitempty"` // of all streams
	MaxRetryCount      int         `json:"maxRetryCount"`
	LiveBufferSize     int         `json:"liveBufferSize"`
	HistoryBufferSize  int         `json:"historyBufferSize"`
	ReadBatchSize      int         `json:"readBatchSize"`
	CheckPointAfter    int64       `json:"checkPointAfter"`
	MinCheckPointCount int         `json:"minCheckPointCount"`
	MaxCheckPointCount int         `json:"maxCheckPointCount"`
	MaxSubscriberCount int         `json:"maxSubscriberCount"`
	Strategy           string      `json:"namedConsumerStrategy"`
	// StartsAfter is the place after which the group begins without a checkpoint. It is fixed when the group is made: "the end" would be another place
	// on each leader, and what lies between would be skipped.
	StartsAfter *int64 `json:"startsAfter,omitempty"`
}

type filterText struct {
	Context  string   `json:"context"` // StreamId or EventType
	Type     string   `json:"type"`    // Prefix or Regex
	Data     string   `json:"data"`    // the expression, or the prefixes with commas between them
	Prefixes []string `json:"prefixes,omitempty"`
}

func (e *entry) key() Key { return Key{e.Stream, e.Group} }

func newEntry(k Key, c Config, after subscription.Point, ends bool) entry {
	s := c.Settings
	startsAfter := int64(after)
	e := entry{
		Stream: k.Stream, Group: k.Group, ResolveLinkTos: s.ResolveLinks, ExtraStatistics: s.ExtraStatistics,
		MessageTimeout: s.MessageTimeout.Milliseconds(), MaxRetryCount: s.MaxRetryCount, LiveBufferSize: s.LiveBuffer,
		HistoryBufferSize: s.HistoryBuffer, ReadBatchSize: s.ReadBatch, CheckPointAfter: s.CheckpointAfter.Milliseconds(),
		MinCheckPointCount: s.MinCheckpointCount, MaxCheckPointCount: s.MaxCheckpointCount, MaxSubscriberCount: s.MaxSubscribers,
		Strategy: string(s.Strategy), StartsAfter: &startsAfter,
	}
	switch {
	case k.Stream == stream.AllStream && ends:
		e.StartFrom, e.StartPosition = -1, "C:-1/P:-1"
	case k.Stream == stream.AllStream:
		e.StartPosition = positionText(c.From.At)
	case ends:
		e.StartFrom = -1
	default:
		e.StartFrom = int64(c.From.At)
	}
	if f := c.Filter; f != nil {
		t := &filterText{Context: "StreamId", Type: "Prefix", Data: strings.Join(f.Prefixes, ","), Prefixes: f.Prefixes}
		if f.ByType {
			t.Context = "EventType"
		}
		if f.Regex != "" {
			t.Type, t.Data, t.Prefixes = "Regex", f.Regex, nil
		}
		e.Filter = t
	}
	return e
}

func (e *entry) settings() subscription.Settings {
	return subscription.Settings{
		ResolveLinks: e.ResolveLinkTos, ExtraStatistics: e.ExtraStatistics, MessageTimeout: time.Duration(e.MessageTimeout) * time.Millisecond,
		MaxRetryCount: e.MaxRetryCount, CheckpointAfter: time.Duration(e.CheckPointAfter) * time.Millisecond,
		MinCheckpointCount: e.MinCheckPointCount, MaxCheckpointCount: e.MaxCheckPointCount, MaxSubscribers: e.MaxSubscriberCount,
		LiveBuffer: e.LiveBufferSize, HistoryBuffer: e.HistoryBufferSize, ReadBatch: e.ReadBatchSize, Strategy: subscription.Strategy(e.Strategy),
	}
}

func (e *entry) filter() *Filter {
	if e.Filter == nil {
		return nil
	}
	f := &Filter{ByType: e.Filter.Context == "EventType"}
	switch {
	case e.Filter.Type == "Regex":
		f.Regex = e.Filter.Data
	case len(e.Filter.Prefixes) > 0:
		f.Prefixes = e.Filter.Prefixes
	default:
		f.Prefixes = strings.Split(e.Filter.Data, ",")
	}
	return f
}

// startText is the start as clients are told it.
func (e *entry) startText() string {
	if e.Stream == stream.AllStream {
		return e.StartPosition
	}
	return strconv.FormatInt(e.StartFrom, 10)
}

// positionText is how clients write positions.
func positionText(pos uint64) string {
	text := strconv.FormatUint(pos, 10)
	return "C:" + text + "/P:" + text
}

// ParsePosition reads "C:<commit>/P:<prepare>".
func ParsePosition(text string) (uint64, error) {
	commit, prepare, ok := strings.Cut(text, "/P:")
	commit, begins := strings.CutPrefix(commit, "C:")
	if !ok || !begins {
		return 0, fmt.Errorf("%q is not a position", clip(text))
	}
	at, err := strconv.ParseUint(commit, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("%q is not a position", clip(text))
	}
	if _, err := strconv.ParseUint(prepare, 10, 63); err != nil {
		return 0, fmt.Errorf("%q is not a position", clip(text))
	}
	return at, nil
}

// placeText is a place of a group as its checkpoint and its clients know it; empty for the beginning.
func placeText(k Key, p subscription.Point) string {
	switch {
	case p < 0:
		return ""
	case k.Stream == stream.AllStream:
		return positionText(uint64(p))
	}
	return strconv.FormatInt(int64(p), 10)
}

// parsePlace reads the data of a checkpoint: a JSON text, or a number.
func parsePlace(k Key, data []byte) (subscription.Point, error) {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		text = strings.TrimSpace(string(data))
	}
	if k.Stream == stream.AllStream {
		pos, err := ParsePosition(text)
		return subscription.Point(pos), err
	}
	rev, err := strconv.ParseInt(text, 10, 64)
	if err != nil || rev < 0 {
		return 0, fmt.Errorf("%q is not a revision", clip(text))
	}
	return subscription.Point(rev), nil
}

// parseDocument reads the stored settings.
func parseDocument(data []byte) (*document, error) {
	d := &document{}
	if err := json.Unmarshal(data, d); err != nil {
		return nil, fmt.Errorf("the settings of persistent subscriptions cannot be read: %w", err)
	}
	return d, nil
}

func clip(text string) string {
	if len(text) > 64 {
		return text[:64] + "…"
	}
	return text
}
