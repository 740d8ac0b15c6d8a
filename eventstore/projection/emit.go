package projection

import (
	"context"
	"log/slog"
	"strconv"
	"strings"

	"github.com/dop251/goja"
)

// longestLog is how much of one message of a script is logged, in bytes.
const longestLog = 4 << 10

// installEmit gives the script what writes events.
func (e *engine) installEmit() {
	for name, f := range map[string]func(goja.FunctionCall) goja.Value{"emit": e.emit, "linkTo": e.linkTo, "linkStreamTo": e.linkStreamTo, "copyTo": e.copyTo} {
		_ = e.vm.Set(name, f)
	}
}

// name is an argument that must be text with something in it.
func (e *engine) textArgument(of, what string, v goja.Value) string {
	if !goja.IsString(v) || strings.TrimSpace(v.String()) == "" {
		panic(e.refuse("%s: %s is to be a text that is not empty", of, what))
	}
	return v.String()
}

func (e *engine) objectArgument(of, what string, v goja.Value) *goja.Object {
	o, ok := v.(*goja.Object)
	if !ok {
		panic(e.refuse("%s: %s is to be an object", of, what))
	}
	return o
}

// metadata is an optional last argument.
func (e *engine) metadata(of string, v goja.Value) []byte {
	if goja.IsUndefined(v) || goja.IsNull(v) {
		return nil
	}
	return e.writeJSON(e.objectArgument(of, "metadata", v), e.limits.EmittedBytes, "metadata of an emitted event")
}

func (e *engine) add(m Emitted) goja.Value {
	if len(e.emitted) == e.limits.EmittedEvents {
		panic(e.tooMuch("one event emits more than %d events", e.limits.EmittedEvents))
	}
	if e.emittedBytes += len(m.Stream) + len(m.Type) + len(m.Data) + len(m.Metadata); e.emittedBytes > e.limits.EmittedBytes {
		panic(e.tooMuch("what one event emits is longer than %d bytes", e.limits.EmittedBytes))
	}
	e.emitted = append(e.emitted, m)
	return goja.Undefined()
}

// emit(stream, type, body, metadata) writes an event.
func (e *engine) emit(c goja.FunctionCall) goja.Value {
	stream := e.textArgument("emit", "the stream", c.Argument(0))
	kind := e.textArgument("emit", "the type of the event", c.Argument(1))
	body := e.objectArgument("emit", "the body", c.Argument(2))
	data := e.writeJSON(body, e.limits.EmittedBytes, "the body of an emitted event")
	if data == nil {
		panic(e.refuse("emit: the body has no JSON"))
	}
	return e.add(Emitted{Stream: stream, Type: kind, Data: data, Metadata: e.metadata("emit", c.Argument(3)), JSON: true})
}

// linkTo(stream, event, metadata) writes a link to an event.
func (e *engine) linkTo(c goja.FunctionCall) goja.Value {
	stream := e.textArgument("linkTo", "the stream", c.Argument(0))
	event := e.objectArgument("linkTo", "the event", c.Argument(1))
	number, source := event.Get("sequenceNumber"), event.Get("streamId")
	if number == nil || source == nil || !goja.IsNumber(number) || !goja.IsString(source) || number.ToInteger() < 0 {
		panic(e.refuse("linkTo: the event is to have a sequenceNumber and a streamId, as the events have that handlers are given"))
	}
	data := strconv.FormatInt(number.ToInteger(), 10) + "@" + source.String()
	return e.add(Emitted{Stream: stream, Type: typeLink, Data: []byte(data), Metadata: e.metadata("linkTo", c.Argument(2)), Link: true})
}

// linkStreamTo(stream, other, metadata) writes a reference to a stream.
func (e *engine) linkStreamTo(c goja.FunctionCall) goja.Value {
	stream := e.textArgument("linkStreamTo", "the stream", c.Argument(0))
	other := e.textArgument("linkStreamTo", "the stream to refer to", c.Argument(1))
	return e.add(Emitted{Stream: stream, Type: typeReference, Data: []byte(other), Metadata: e.metadata("linkStreamTo", c.Argument(2))})
}

// copyTo(stream, event, metadata) writes an event again: same type, same data.
func (e *engine) copyTo(c goja.FunctionCall) goja.Value {
	stream := e.textArgument("copyTo", "the stream", c.Argument(0))
	given, ok := e.objectArgument("copyTo", "the event", c.Argument(1)).Export().(*envelope)
	if !ok || given.over {
		panic(e.refuse("copyTo: the event is to be the one the handler was given"))
	}
	m := Emitted{Stream: stream, Type: given.event.Type, Data: append([]byte(nil), given.event.Data...), JSON: given.event.JSON}
	if m.Metadata = e.metadata("copyTo", c.Argument(2)); m.Metadata == nil {
		m.Metadata = append([]byte(nil), given.event.Metadata...)
	}
	return e.add(m)
}

// log(...) writes to the node's log, at level debug.
func (e *engine) log(c goja.FunctionCall) goja.Value {
	log := slog.Default()
	if !log.Enabled(context.Background(), slog.LevelDebug) {
		return goja.Undefined()
	}
	var text strings.Builder
	for i, v := range c.Arguments {
		if i > 0 {
			text.WriteString(" ,")
		}
		if o, ok := v.(*goja.Object); ok {
			text.Write(e.writeJSON(o, e.limits.StateBytes, "what is to be logged"))
		} else {
			text.WriteString(v.String())
		}
		if text.Len() > longestLog {
			break
		}
	}
	s := text.String()
	if len(s) > longestLog {
		s = s[:longestLog]
	}
	log.Debug("projection says", "projection", e.name, "text", valid([]byte(s)))
	return goja.Undefined()
}
