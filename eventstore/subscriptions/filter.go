package subscriptions

import (
	"fmt"
	"regexp"
	"strings"

	"baton/eventstore/stream"
)

// Filter picks the events of all streams a group is for. It needs either Prefixes or Regex.
type Filter struct {
	ByType   bool     // looks at the event type, else at the stream name
	Prefixes []string // matches what begins with any of them; case matters
	Regex    string   // RE2 syntax, matches anywhere in the text
}

// Bounds of a filter.
const (
	maxRegexBytes = 4 << 10
	maxPrefixes   = 1000
)

// matcher is a checked Filter; nil matches everything.
type matcher struct {
	byType   bool
	prefixes []string
	regex    *regexp.Regexp
}

// compile checks a filter; its errors are *RequestError.
func (f *Filter) compile() (*matcher, error) {
	if f == nil {
		return nil, nil
	}
	m := &matcher{byType: f.ByType, prefixes: f.Prefixes}
	switch {
	case f.Regex != "" && len(f.Prefixes) > 0:
		return nil, &RequestError{"the filter has prefixes and a regular expression; give one of them"}
	case len(f.Regex) > maxRegexBytes:
		return nil, &RequestError{fmt.Sprintf("the filter's regular expression is longer than %d bytes", maxRegexBytes)}
	case len(f.Prefixes) > maxPrefixes:
		return nil, &RequestError{fmt.Sprintf("the filter has more than %d prefixes", maxPrefixes)}
	case f.Regex != "":
		re, err := regexp.Compile(f.Regex)
		if err != nil {
			return nil, &RequestError{fmt.Sprintf("the filter's regular expression cannot be used: %v (look-around and back-references are not supported)", err)}
		}
		m.regex = re
	case len(f.Prefixes) == 0:
		return nil, &RequestError{"the filter has neither prefixes nor a regular expression"}
	}
	return m, nil
}

func (m *matcher) matches(streamName, eventType string) bool {
	if m == nil {
		return true
	}
	text := streamName
	if m.byType {
		text = eventType
	}
	if m.regex != nil {
		return m.regex.MatchString(text)
	}
	for _, p := range m.prefixes {
		if strings.HasPrefix(text, p) {
			return true
		}
	}
	return false
}

// Names of a group's own streams.
const (
	streamPrefix     = "$persistentsubscription-"
	checkpointSuffix = "-checkpoint"
	parkedSuffix     = "-parked"
	configStream     = "$persistentSubscriptionConfig"
)

func (k Key) checkpointStream() string { return streamPrefix + k.String() + checkpointSuffix }

// ParkedStream is where the group's parked events are linked from.
func (k Key) ParkedStream() string { return streamPrefix + k.String() + parkedSuffix }

// ofAllGroups says whether a stream is written by groups of all streams themselves. Such events are not delivered to groups of all streams and do not
// count towards their checkpoints: a group's checkpoint would bring about its next one, for ever, and two groups would do so for each other.
func ofAllGroups(streamName string) bool {
	return strings.HasPrefix(stream.OriginalOf(streamName), streamPrefix+stream.AllStream+"::")
}
