package tracing

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	wire "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"baton/platform/trace"
)

// gathered is a stand-in for a collector: it keeps the spans that are sent to it.
type gathered struct {
	mu      sync.Mutex
	spans   []*wire.Span
	service string
	path    string
}

func newCollector(t *testing.T) (*gathered, string) {
	g := &gathered{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var req collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &req)
		}
		if err != nil {
			t.Errorf("the collector cannot read what it is sent: %v", err)
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		g.path = r.URL.Path
		for _, resource := range req.ResourceSpans {
			for _, a := range resource.Resource.Attributes {
				if a.Key == "service.name" {
					g.service = a.Value.GetStringValue()
				}
			}
			for _, scope := range resource.ScopeSpans {
				g.spans = append(g.spans, scope.Spans...)
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(server.Close)
	return g, server.URL
}

const client = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func TestSpansReachTheCollector(t *testing.T) {
	t.Parallel()
	g, url := newCollector(t)
	tracer, err := Start(context.Background(), Options{Endpoint: url, Ratio: 1, Service: "baton", Version: "1", Instance: "n0"})
	if err != nil {
		t.Fatal(err)
	}
	parent, _ := trace.Parse(client)
	span := tracer.Begin(&parent, "outer", trace.Server)
	span.Note(trace.Attribute{Key: "k", Text: "v"}, trace.Attribute{Key: "n", Int: 7})
	wanted := span.Context().Child(2)
	tracer.Record(trace.Span{Parent: *span.Context(), ID: wanted.Span, Name: "inner", Start: 1_000_000_000, End: 3_000_000_000, Error: "it broke"})
	span.End(errors.New("no"))
	own := tracer.Begin(nil, "own", trace.Internal)
	own.End(nil)
	tracer.Stop(context.Background())
	byName := map[string]*wire.Span{}
	for _, s := range g.spans {
		byName[s.Name] = s
	}
	outer, inner := byName["outer"], byName["inner"]
	if outer == nil || inner == nil || byName["own"] == nil {
		t.Fatalf("got %v", g.spans)
	}
	if string(outer.TraceId) != string(parent.Trace[:]) || string(outer.ParentSpanId) != string(parent.Span[:]) || outer.Kind != wire.Span_SPAN_KIND_SERVER || outer.Status.Message != "no" || len(outer.Attributes) != 2 {
		t.Errorf("outer is %v", outer)
	}
	if string(inner.ParentSpanId) != string(outer.SpanId) || string(inner.SpanId) != string(wanted.Span[:]) || inner.EndTimeUnixNano-inner.StartTimeUnixNano != 2_000_000_000 || inner.Status.Message != "it broke" {
		t.Errorf("inner is %v", inner)
	}
	if len(byName["own"].ParentSpanId) != 0 || g.service != "baton" || g.path != "/v1/traces" {
		t.Errorf("own span %v, service %q, path %q", byName["own"], g.service, g.path)
	}
}

func TestWhatIsNotSampledIsNotFollowed(t *testing.T) {
	t.Parallel()
	g, url := newCollector(t)
	tracer, err := Start(context.Background(), Options{Endpoint: url, Ratio: 0})
	if err != nil {
		t.Fatal(err)
	}
	quiet, _ := trace.Parse(strings.TrimSuffix(client, "1") + "0")
	for _, parent := range []*trace.Context{nil, &quiet} {
		span := tracer.Begin(parent, "x", trace.Internal)
		if span.Context() != nil {
			t.Errorf("parent %v is followed", parent)
		}
		span.End(nil)
	}
	tracer.Record(trace.Span{Parent: quiet, Name: "y"})
	tracer.Stop(context.Background())
	if len(g.spans) != 0 {
		t.Errorf("got %v", g.spans)
	}
}

func TestTracingIsOffUntilACollectorIsNamed(t *testing.T) {
	t.Parallel()
	env := func(pairs ...string) func(string) string {
		return func(name string) string {
			for i := 0; i < len(pairs); i += 2 {
				if pairs[i] == name {
					return pairs[i+1]
				}
			}
			return ""
		}
	}
	const url = "http://127.0.0.1:4318"
	for _, c := range []struct {
		endpoint string
		env      func(string) string
		on       bool
		wrong    string
	}{
		{"", env(), false, ""},
		{url, env(), true, ""},
		{"", env("OTEL_EXPORTER_OTLP_ENDPOINT", url), true, ""},
		{"", env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", url), true, ""},
		{url, env("OTEL_SDK_DISABLED", "TRUE"), false, ""},
		{url, env("OTEL_TRACES_EXPORTER", "none"), false, ""},
		{url, env("OTEL_TRACES_EXPORTER", "zipkin"), false, "OTEL_TRACES_EXPORTER"},
		{url, env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), false, "http/protobuf"},
		{url, env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"), true, ""},
		{"127.0.0.1:4318", env(), false, "is not the URL"},
		{"http://name:word@host:4318", env(), false, "OTEL_EXPORTER_OTLP_HEADERS"},
	} {
		tracer, err := Start(context.Background(), Options{Endpoint: c.endpoint, Ratio: -1, Getenv: c.env})
		if (tracer != nil) != c.on || (err != nil) != (c.wrong != "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("endpoint %q, %v: tracer %v, %v", c.endpoint, c, tracer != nil, err)
		}
		tracer.Stop(context.Background())
	}
}

// off does what an append does with a tracer that is off.
func off(tracer *Tracer) {
	span := tracer.Begin(nil, "append", trace.Server)
	span.Note()
	if span.Context() != nil {
		tracer.Record(trace.Span{})
	}
	span.End(nil)
}

func TestTracerThatIsOffAllocatesNothing(t *testing.T) {
	if n := testing.AllocsPerRun(1000, func() { off(nil) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkOff(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		off(nil)
	}
}
