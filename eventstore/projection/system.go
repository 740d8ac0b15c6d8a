package projection

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"
)

// Standard is one of the projections every server brings along.
type Standard struct {
	Name        string
	HandlerType string // for [System]
	Query       string // its settings
}

// The handler types of the system projections. Definitions written by other servers name them with a path of their own before the last dot.
const (
	ByCategoryHandler       = "native:CategorizeEventsByStreamPath"
	ByEventTypeHandler      = "native:IndexEventsByEventType"
	StreamByCategoryHandler = "native:CategorizeStreamByPath"
	StreamsHandler          = "native:IndexStreams"
	ByCorrelationHandler    = "native:ByCorrelationId"
)

const (
	typeLink         = "$>"
	typeReference    = "$@" // an event whose data is a stream's name
	typeMetadata     = "$metadata"
	typeTombstone    = "$streamDeleted"
	metaStreamPrefix = "$$"
	// firstDash takes what stands before the first dash for a stream's category.
	firstDash = "first\n-"
)

// Standards are the system projections with the settings they begin with.
func Standards() []Standard {
	return []Standard{
		{"$by_category", ByCategoryHandler, firstDash},
		{"$by_event_type", ByEventTypeHandler, ""},
		{"$stream_by_category", StreamByCategoryHandler, firstDash},
		{"$streams", StreamsHandler, ""},
		{"$by_correlation_id", ByCorrelationHandler, `{"correlationIdProperty":"$correlationId"}`},
	}
}

// IsSystem says whether a handler type is one of a system projection.
func IsSystem(handlerType string) bool { return strings.HasPrefix(handlerType, "native:") }

// Housekeeping says that a stream holds what the server notes for its own use while it serves projections and persistent subscriptions: to follow such
// notes would make new ones without end.
func Housekeeping(stream string) bool {
	stream = strings.TrimPrefix(stream, metaStreamPrefix)
	return strings.HasPrefix(stream, "$projections-") || strings.HasPrefix(stream, "$persistentsubscription-")
}

// System returns a system projection. query is its settings: for categories a separator ("-": the last one in a name counts) or "first" or "last" and a
// separator on two lines; for correlation ids {"correlationIdProperty": "..."}, or nothing; for the others nothing. Errors are of type [*Fault].
func System(name, handlerType, query string) (Projection, error) {
	s := &system{name: name}
	s.definition.All = true
	kind := strings.TrimPrefix(handlerType, "native:")
	kind = kind[strings.LastIndexByte(kind, '.')+1:]
	var err error
	switch "native:" + kind {
	case ByCategoryHandler:
		s.category, err = parseCategory(query)
		s.handle = s.byCategory
	case StreamByCategoryHandler:
		s.category, err = parseCategory(query)
		s.handle = s.streamByCategory
	case ByEventTypeHandler:
		s.handle = byEventType
	case StreamsHandler:
		s.handle = streams
	case ByCorrelationHandler:
		s.property, err = parseCorrelation(query)
		s.handle = s.byCorrelation
	default:
		err = refusal("there is no handler of type " + strconv.Quote(handlerType))
	}
	if f, ok := err.(*Fault); ok {
		f.Projection = name
		return nil, f
	}
	return s, nil
}

func refusal(reason string) *Fault { return &Fault{Kind: Invalid, Reason: reason} }

// categoryRule says how a stream's category is found in its name.
type categoryRule struct {
	separator string
	last      bool // the last separator counts, not the first
}

func parseCategory(query string) (categoryRule, error) {
	const help = `the settings are a separator of one character, or "first" or "last" and a separator on the next line`
	query = strings.TrimSpace(query)
	rule := categoryRule{separator: query, last: true}
	if first, second, two := strings.Cut(query, "\n"); two {
		switch strings.ToLower(strings.TrimSpace(first)) {
		case "first":
			rule.last = false
		case "last":
		default:
			return rule, refusal(help)
		}
		rule.separator = strings.TrimSpace(second)
	}
	if len([]rune(rule.separator)) != 1 {
		return rule, refusal(help)
	}
	return rule, nil
}

// of is the category of a stream; empty if it has none, as system streams.
func (r categoryRule) of(stream string) string {
	if strings.HasPrefix(stream, "$") {
		return ""
	}
	at := strings.Index(stream, r.separator)
	if r.last {
		at = strings.LastIndex(stream, r.separator)
	}
	return stream[:max(at, 0)]
}

func parseCorrelation(query string) (string, error) {
	if strings.TrimSpace(query) == "" {
		return "$correlationId", nil
	}
	var settings struct {
		Property *string `json:"correlationIdProperty"`
	}
	if err := json.Unmarshal([]byte(query), &settings); err != nil || settings.Property == nil || *settings.Property == "" {
		return "", refusal(`the settings are a JSON object with a text "correlationIdProperty"`)
	}
	return *settings.Property, nil
}

// system is a projection that keeps no state: each event is linked or passed over by itself.
type system struct {
	name       string
	definition Definition
	handle     func(e Event) (Emitted, bool)
	category   categoryRule
	property   string
	one        [1]Emitted // what the last call returned
}

func (s *system) Definition() Definition { return s.definition }

func (s *system) Partition(Event) (string, bool, error) { return "", true, nil }

func (s *system) Handle(_ string, _, _ []byte, e Event) (Outcome, error) {
	emitted, ok := s.handle(e)
	if !ok {
		return Outcome{}, nil
	}
	s.one[0] = emitted
	return Outcome{Handled: true, Emitted: s.one[:]}, nil
}

func (s *system) Result(_, _ []byte) ([]byte, error) { return nil, nil }

func (s *system) Close() {}

// Deleted says which stream an event ends: a tombstone its own, metadata that hides everything the stream it describes.
func Deleted(e Event) (stream string, ok bool) {
	switch {
	case e.Type == typeTombstone:
		return e.Stream, true
	case e.Type == typeMetadata && strings.HasPrefix(e.Stream, metaStreamPrefix) && bytes.Contains(e.Data, []byte("9223372036854775807")):
		var m struct {
			Before int64 `json:"$tb"`
		}
		if json.Unmarshal(e.Data, &m) == nil && m.Before == math.MaxInt64 {
			return strings.TrimPrefix(e.Stream, metaStreamPrefix), true
		}
	}
	return "", false
}

func linkTo(target string, e Event, revision int64, metadata []byte) Emitted {
	data := make([]byte, 0, len(e.Stream)+20)
	data = strconv.AppendInt(data, revision, 10)
	data = append(append(data, '@'), e.Stream...)
	return Emitted{Stream: target, Type: typeLink, Data: data, Metadata: metadata, Link: true}
}

// byCategory links each event of streams with a category. An event that is a link itself is linked to what it names.
func (s *system) byCategory(e Event) (Emitted, bool) {
	from, ended := Deleted(e)
	if !ended {
		from = e.Stream
	}
	category := s.category.of(from)
	if category == "" {
		return Emitted{}, false
	}
	origin := map[string]any{"$o": from}
	if ended {
		origin["$deleted"] = -1
	}
	metadata, _ := json.Marshal(origin) // texts and numbers always can be
	link := linkTo("$ce-"+category, e, e.Revision, metadata)
	if e.Type == typeLink {
		link.Data = append(link.Data[:0], e.Data...)
	}
	return link, true
}

func (s *system) streamByCategory(e Event) (Emitted, bool) {
	category := s.category.of(e.Stream)
	if e.Revision != 0 || category == "" {
		return Emitted{}, false
	}
	return Emitted{Stream: "$category-" + category, Type: typeReference, Data: []byte(e.Stream)}, true
}

// byEventType links each event but links and housekeeping. The end of a stream is of type $deleted.
func byEventType(e Event) (Emitted, bool) {
	if e.Type == typeLink || e.Type == typeReference || Housekeeping(e.Stream) {
		return Emitted{}, false
	}
	if _, ended := Deleted(e); ended {
		return linkTo("$et-$deleted", e, e.Revision, []byte(`{"$deleted":-1}`)), true
	}
	return linkTo("$et-"+e.Type, e, e.Revision, nil), true
}

// streams links the first event of each stream that is not only about another one.
func streams(e Event) (Emitted, bool) {
	if e.Revision != 0 || strings.HasPrefix(e.Stream, metaStreamPrefix) || Housekeeping(e.Stream) {
		return Emitted{}, false
	}
	return linkTo("$streams", e, 0, nil), true
}

// byCorrelation links each event whose metadata has a correlation id.
func (s *system) byCorrelation(e Event) (Emitted, bool) {
	if e.Type == typeLink || Housekeeping(e.Stream) || !bytes.Contains(e.Metadata, []byte(s.property)) {
		return Emitted{}, false
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(e.Metadata, &fields) != nil {
		return Emitted{}, false
	}
	var id string
	if json.Unmarshal(fields[s.property], &id) != nil || id == "" {
		return Emitted{}, false
	}
	metadata := `{"$eventTimestamp":"` + e.Created.UTC().Format(time.RFC3339Nano) + `"}`
	return linkTo("$bc-"+id, e, e.Revision, []byte(metadata)), true
}
