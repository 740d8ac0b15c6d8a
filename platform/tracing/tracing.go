// Package tracing records spans and sends them to a collector: OTLP over HTTP, in
// batches, from a queue of bounded length. A collector that is slow or away costs
// spans and nothing else.
//
// A nil *Tracer is a tracer that is off: every method may be called on it, does
// nothing and allocates nothing. The same holds for the nil *Active it gives.
// All methods are safe for concurrent use, but an Active belongs to one goroutine
// at a time.
package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	otrace "go.opentelemetry.io/otel/trace"

	"baton/platform/trace"
)

// DefaultRatio is the share of traces kept when neither an option nor the
// environment names one: a store appends thousands of times a second.
const DefaultRatio = 0.01

// Options configure a Tracer. What they leave open the variables of the
// OpenTelemetry specification decide, read by its SDK: OTEL_EXPORTER_OTLP_*,
// OTEL_BSP_*, OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER.
type Options struct {
	// Endpoint is the collector's URL, for example http://127.0.0.1:4318; without a
	// path spans go to /v1/traces. Empty: the environment's.
	Endpoint string
	// Ratio is the share of the traces begun here that are kept, 0 to 1; what began
	// elsewhere is kept if it was kept there. Negative: the environment's, or
	// DefaultRatio.
	Ratio float64

	Service  string // OTEL_SERVICE_NAME wins
	Version  string
	Instance string // tells the processes of one service apart
	// Getenv reads the environment.
	Getenv func(string) string
	Logger *slog.Logger
}

// Tracer makes spans. See the package comment on nil.
type Tracer struct {
	provider *sdk.TracerProvider
	tracer   otrace.Tracer
}

// Start returns a tracer, or nil when nothing names a collector or the
// environment turns tracing off (OTEL_SDK_DISABLED=true, OTEL_TRACES_EXPORTER=none).
// The collector is not contacted yet. Errors say which setting is wrong.
func Start(ctx context.Context, o Options) (*Tracer, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Getenv == nil {
		o.Getenv = func(string) string { return "" }
	}
	on, err := wanted(&o)
	if err != nil || !on {
		return nil, err
	}
	var where []otlptracehttp.Option
	if o.Endpoint != "" {
		where = append(where, otlptracehttp.WithEndpointURL(tracesURL(o.Endpoint)))
	}
	exporter, err := otlptracehttp.New(ctx, where...)
	if err != nil {
		return nil, fmt.Errorf("traces cannot be exported: %w", err)
	}
	about, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", o.Service),
		attribute.String("service.version", o.Version), attribute.String("service.instance.id", o.Instance)),
		resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	options := []sdk.TracerProviderOption{sdk.WithBatcher(exporter), sdk.WithResource(about), sdk.WithIDGenerator(ids{})}
	switch {
	case o.Ratio >= 0:
		options = append(options, sdk.WithSampler(sdk.ParentBased(sdk.TraceIDRatioBased(o.Ratio))))
	case o.Getenv("OTEL_TRACES_SAMPLER") == "":
		options = append(options, sdk.WithSampler(sdk.ParentBased(sdk.TraceIDRatioBased(DefaultRatio))))
	}
	reportTo(o.Logger)
	provider := sdk.NewTracerProvider(options...)
	return &Tracer{provider: provider, tracer: provider.Tracer("baton")}, nil
}

// wanted says whether spans are to be sent anywhere.
func wanted(o *Options) (bool, error) {
	if o.Endpoint != "" {
		if err := checkEndpoint(o.Endpoint); err != nil {
			return false, err
		}
	}
	base, own := o.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT"), o.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
	switch exporter := o.Getenv("OTEL_TRACES_EXPORTER"); {
	case strings.EqualFold(o.Getenv("OTEL_SDK_DISABLED"), "true"), exporter == "none", o.Endpoint == "" && base == "" && own == "":
		return false, nil
	case exporter != "" && exporter != "otlp":
		return false, fmt.Errorf("OTEL_TRACES_EXPORTER is %q: only otlp and none are supported", exporter)
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		switch protocol := o.Getenv(name); protocol {
		case "http/protobuf":
			return true, nil
		case "":
		default:
			return false, fmt.Errorf("%s is %q: only http/protobuf is supported, usually at port 4318 of a collector", name, protocol)
		}
	}
	return true, nil
}

// checkEndpoint says what is wrong with a collector's URL.
func checkEndpoint(text string) error {
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return fmt.Errorf("%q is not the URL of a collector: write for example http://127.0.0.1:4318", text)
	}
	if u.User != nil {
		return errors.New("the URL of a collector must not hold credentials, options are shown: give them in OTEL_EXPORTER_OTLP_HEADERS")
	}
	return nil
}

// tracesURL adds the path of the protocol to a URL without one.
func tracesURL(endpoint string) string {
	if u, err := url.Parse(endpoint); err == nil && (u.Path == "" || u.Path == "/") {
		u.Path = "/v1/traces"
		return u.String()
	}
	return endpoint
}

// reportEvery is the least time between two lines about a collector in trouble.
const reportEvery = time.Minute

// reportTo logs trouble of the exporter, which has one place for that in a process.
func reportTo(logger *slog.Logger) {
	var last atomic.Int64
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		now := time.Now().UnixNano()
		if at := last.Load(); now-at > int64(reportEvery) && last.CompareAndSwap(at, now) {
			logger.Warn("spans were lost on their way to the collector", "error", err)
		}
	}))
}

// Stop sends what waits, within ctx, and ends the tracer.
func (t *Tracer) Stop(ctx context.Context) {
	if t != nil {
		_ = t.provider.Shutdown(ctx) // what could not be sent was reported
	}
}

// Flush sends what waits, within ctx.
func (t *Tracer) Flush(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.provider.ForceFlush(ctx)
}

// Active is a span that has begun and not ended.
type Active struct {
	span    otrace.Span
	context trace.Context
}

// Begin begins a span. parent nil, or not valid, begins a trace. The result is nil
// when the trace is not kept.
func (t *Tracer) Begin(parent *trace.Context, name string, kind trace.Kind) *Active {
	if t == nil {
		return nil
	}
	ctx := context.Background()
	if parent != nil && parent.IsValid() {
		if !parent.Sampled {
			return nil
		}
		ctx = otrace.ContextWithRemoteSpanContext(ctx, remote(parent))
	}
	_, span := t.tracer.Start(ctx, name, otrace.WithSpanKind(kinds[kind]))
	if !span.SpanContext().IsSampled() {
		return nil
	}
	return &Active{span: span, context: trace.Context{Trace: span.SpanContext().TraceID(), Span: span.SpanContext().SpanID(), Sampled: true}}
}

// Context is the place of what happens inside the span; nil when nobody follows.
func (a *Active) Context() *trace.Context {
	if a == nil {
		return nil
	}
	return &a.context
}

// Note adds facts to the span.
func (a *Active) Note(facts ...trace.Attribute) {
	if a != nil {
		a.span.SetAttributes(attributes(facts)...)
	}
}

// End ends the span, as failed if err is not nil.
func (a *Active) End(err error) {
	if a == nil {
		return
	}
	if err != nil {
		a.span.SetStatus(codes.Error, err.Error())
	}
	a.span.End()
}

// Record takes a span that has ended.
func (t *Tracer) Record(s trace.Span) {
	if t == nil || !s.Parent.IsValid() || !s.Parent.Sampled {
		return
	}
	ctx := otrace.ContextWithRemoteSpanContext(context.Background(), remote(&s.Parent))
	if s.ID != ([8]byte{}) {
		ctx = context.WithValue(ctx, wantedID{}, otrace.SpanID(s.ID))
	}
	_, span := t.tracer.Start(ctx, s.Name, otrace.WithSpanKind(kinds[s.Kind]), otrace.WithTimestamp(time.Unix(0, s.Start)), otrace.WithAttributes(attributes(s.Attributes)...))
	if s.Error != "" {
		span.SetStatus(codes.Error, s.Error)
	}
	span.End(otrace.WithTimestamp(time.Unix(0, max(s.Start, s.End))))
}

var kinds = map[trace.Kind]otrace.SpanKind{trace.Internal: otrace.SpanKindInternal, trace.Server: otrace.SpanKindServer, trace.Client: otrace.SpanKindClient}

func remote(c *trace.Context) otrace.SpanContext {
	config := otrace.SpanContextConfig{TraceID: c.Trace, SpanID: c.Span, Remote: true}
	if c.Sampled {
		config.TraceFlags = otrace.FlagsSampled
	}
	return otrace.NewSpanContext(config)
}

func attributes(facts []trace.Attribute) []attribute.KeyValue {
	list := make([]attribute.KeyValue, 0, len(facts))
	for _, f := range facts {
		if f.Text != "" {
			list = append(list, attribute.String(f.Key, f.Text))
		} else {
			list = append(list, attribute.Int64(f.Key, f.Int))
		}
	}
	return list
}

// ids makes the ids of traces and spans, or takes the one a context wants.
type ids struct{}

type wantedID struct{}

// NewIDs makes the ids of a trace and its first span.
func (ids) NewIDs(ctx context.Context) (trace otrace.TraceID, span otrace.SpanID) {
	for !trace.IsValid() {
		fill(trace[:8])
		fill(trace[8:])
	}
	return trace, ids{}.NewSpanID(ctx, trace)
}

// NewSpanID makes the id of a span.
func (ids) NewSpanID(ctx context.Context, _ otrace.TraceID) (span otrace.SpanID) {
	if id, ok := ctx.Value(wantedID{}).(otrace.SpanID); ok {
		return id
	}
	for !span.IsValid() {
		fill(span[:])
	}
	return span
}

// fill writes eight random bytes; nobody is kept out by them.
func fill(b []byte) {
	v := rand.Uint64()
	for i := range 8 {
		b[i] = byte(v >> (8 * i))
	}
}
