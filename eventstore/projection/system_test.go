package projection

import (
	"errors"
	"math"
	"testing"
	"time"
)

func TestSystemProjectionsLink(t *testing.T) {
	at := time.Unix(0, 0)
	thing := Event{Stream: "order-1-a", Revision: 3, Type: "placed", Created: at, Metadata: []byte(`{"$correlationId":"c1"}`)}
	first := thing
	first.Revision = 0
	link := Event{Stream: "all-orders", Revision: 1, Type: "$>", Data: []byte("3@order-1-a")}
	tombstone := Event{Stream: "order-1-a", Revision: math.MaxInt64, Type: "$streamDeleted"}
	hidden := Event{Stream: "$$order-1-a", Revision: 2, Type: "$metadata", JSON: true, Data: []byte(`{"$tb":9223372036854775807}`)}
	checkpoint := Event{Stream: "$projections-x-checkpoint", Revision: 0, Type: "$ProjectionCheckpoint"}
	for _, c := range []struct {
		handler, query string
		event          Event
		want           string // stream, type and data; empty: nothing
	}{
		{ByCategoryHandler, "first\n-", thing, "$ce-order $> 3@order-1-a"},
		{ByCategoryHandler, "last\n-", thing, "$ce-order-1 $> 3@order-1-a"},
		{ByCategoryHandler, "-", thing, "$ce-order-1 $> 3@order-1-a"},
		{ByCategoryHandler, " FIRST \n - ", link, "$ce-all $> 3@order-1-a"},
		{ByCategoryHandler, "first\n-", tombstone, "$ce-order $> 9223372036854775807@order-1-a"},
		{ByCategoryHandler, "first\n-", hidden, "$ce-order $> 2@$$order-1-a"},
		{ByCategoryHandler, "first\n-", checkpoint, ""},
		{ByCategoryHandler, "first\n-", Event{Stream: "nodash", Type: "t"}, ""},
		{ByCategoryHandler, "first\n-", Event{Stream: "-dash", Type: "t"}, ""},
		{StreamByCategoryHandler, "first\n-", first, "$category-order $@ order-1-a"},
		{StreamByCategoryHandler, "first\n-", thing, ""},
		{"native:Some.Server.Standard.IndexEventsByEventType", "", thing, "$et-placed $> 3@order-1-a"},
		{ByEventTypeHandler, "", tombstone, "$et-$deleted $> 9223372036854775807@order-1-a"},
		{ByEventTypeHandler, "", link, ""},
		{ByEventTypeHandler, "", checkpoint, ""},
		{StreamsHandler, "", first, "$streams $> 0@order-1-a"},
		{StreamsHandler, "", thing, ""},
		{StreamsHandler, "", checkpoint, ""},
		{ByCorrelationHandler, "", thing, "$bc-c1 $> 3@order-1-a"},
		{ByCorrelationHandler, `{"correlationIdProperty":"mine"}`, thing, ""},
		{ByCorrelationHandler, "", Event{Stream: "s", Type: "t", Metadata: []byte(`{"$correlationId":7}`)}, ""},
	} {
		p, err := System("p", c.handler, c.query)
		if err != nil {
			t.Errorf("%s %q: %v", c.handler, c.query, err)
			continue
		}
		out, err := p.Handle("", nil, nil, c.event)
		got := ""
		if len(out.Emitted) == 1 {
			e := out.Emitted[0]
			got = e.Stream + " " + e.Type + " " + string(e.Data)
		}
		if err != nil || got != c.want {
			t.Errorf("%s %q of %d@%s: %q %v, want %q", c.handler, c.query, c.event.Revision, c.event.Stream, got, err, c.want)
		}
	}
}

func TestSystemProjectionsRefuseSettings(t *testing.T) {
	for _, c := range [][2]string{
		{ByCategoryHandler, ""}, {ByCategoryHandler, "ab"}, {ByCategoryHandler, "middle\n-"}, {StreamByCategoryHandler, "first\n"},
		{ByCorrelationHandler, "{}"}, {ByCorrelationHandler, "x"}, {"native:Nothing", ""},
	} {
		_, err := System("p", c[0], c[1])
		var fault *Fault
		if !errors.As(err, &fault) || fault.Projection != "p" || fault.Kind != Invalid {
			t.Errorf("%s %q: %v", c[0], c[1], err)
		}
	}
	for _, s := range Standards() {
		if _, err := System(s.Name, s.HandlerType, s.Query); err != nil || !IsSystem(s.HandlerType) {
			t.Errorf("%s: %v", s.Name, err)
		}
	}
}
