package projection

import (
	"slices"
	"time"

	"github.com/dop251/goja"
)

// envelope is an event as a script sees it: an object with fields that cannot be set. What is JSON is read when it is first looked at.
type envelope struct {
	e         *engine
	event     Event
	partition string
	over      bool // the call ended: the event's bytes are not to be used any more

	body, metadata, linkMetadata goja.Value
}

// fields are the names of an envelope's fields, in the order they are listed. body and data are the same.
var fields = []string{
	"isJson", "data", "body", "bodyRaw", "eventType", "streamId", "sequenceNumber", "metadata", "metadataRaw", "linkMetadata", "linkMetadataRaw",
	"partition", "eventId", "category", "created",
}

// createdForm is ISO 8601 with the ticks of 100 ns that events are stamped with.
const createdForm = "2006-01-02T15:04:05.0000000Z"

func (v *envelope) Get(key string) goja.Value {
	vm := v.e.vm
	switch key {
	case "isJson":
		return vm.ToValue(v.event.JSON)
	case "data", "body":
		if !v.event.JSON {
			return goja.Null()
		}
		return v.parsed(&v.body, v.event.Data)
	case "bodyRaw":
		return v.raw(v.event.Data)
	case "eventType":
		return vm.ToValue(v.event.Type)
	case "streamId":
		return vm.ToValue(v.event.Stream)
	case "sequenceNumber":
		return vm.ToValue(v.event.Revision)
	case "metadata":
		return v.parsed(&v.metadata, v.event.Metadata)
	case "metadataRaw":
		return v.raw(v.event.Metadata)
	case "linkMetadata":
		return v.parsed(&v.linkMetadata, v.event.LinkMetadata)
	case "linkMetadataRaw":
		return v.raw(v.event.LinkMetadata)
	case "partition":
		return vm.ToValue(v.partition)
	case "eventId":
		return vm.ToValue(v.event.ID)
	case "category":
		return vm.ToValue(v.event.Category)
	case "created":
		return vm.ToValue(v.event.Created.UTC().Truncate(100 * time.Nanosecond).Format(createdForm))
	}
	return nil
}

// parsed is JSON as a value, the same at each look; null when there is none or it is not valid.
func (v *envelope) parsed(value *goja.Value, text []byte) goja.Value {
	if *value == nil {
		if v.over {
			return goja.Undefined()
		}
		*value = goja.Null()
		if len(text) > 0 {
			if parsed, err := v.e.readJSON(text); err == nil {
				*value = parsed
			}
		}
	}
	return *value
}

// raw is text as it was written.
func (v *envelope) raw(text []byte) goja.Value {
	if text == nil {
		return goja.Null()
	}
	return v.e.vm.ToValue(valid(text))
}

// close lets go of the event's bytes: they belong to somebody else, and a script may keep the envelope.
func (v *envelope) close() {
	v.over = true
	v.event.Data, v.event.Metadata, v.event.LinkMetadata = nil, nil, nil
}

func (v *envelope) Set(string, goja.Value) bool { return false }
func (v *envelope) Has(key string) bool         { return slices.Contains(fields, key) }
func (v *envelope) Delete(key string) bool      { return !v.Has(key) }
func (v *envelope) Keys() []string              { return fields }
