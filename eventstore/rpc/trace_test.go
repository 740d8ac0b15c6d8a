package rpc_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	wire "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"baton/platform/tracing"
)

// spans is a stand-in for a collector of traces: what it was sent.
type spans struct {
	mu   sync.Mutex
	list []*collected
}

type collected struct {
	*wire.Span
	node string // the instance that sent it
}

func (s *spans) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var req collector.ExportTraceServiceRequest
	if err != nil || proto.Unmarshal(body, &req) != nil {
		http.Error(w, "no OTLP", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, resource := range req.ResourceSpans {
		node := ""
		for _, a := range resource.Resource.Attributes {
			if a.Key == "service.instance.id" {
				node = a.Value.GetStringValue()
			}
		}
		for _, scope := range resource.ScopeSpans {
			for _, span := range scope.Spans {
				s.list = append(s.list, &collected{span, node})
			}
		}
	}
}

// children are the spans of a name below a parent.
func (s *spans) children(parent []byte, name string) (found []*collected) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, span := range s.list {
		if span.Name == name && string(span.ParentSpanId) == string(parent) {
			found = append(found, span)
		}
	}
	return found
}

// Goal: one trace shows an append that a follower was asked for, on all three nodes it touched.
func TestAppendIsTracedAcrossNodes(t *testing.T) {
	t.Parallel()
	got := &spans{}
	server := httptest.NewServer(got)
	defer server.Close()
	var tracers []*tracing.Tracer
	h := newHouse(t, houseOptions{nodes: 3, size: 3, tracer: func(node string) *tracing.Tracer {
		tracer, err := tracing.Start(context.Background(), tracing.Options{Endpoint: server.URL, Ratio: 0, Service: "baton", Instance: node})
		if err != nil {
			t.Fatal(err)
		}
		tracers = append(tracers, tracer)
		return tracer
	}})
	defer func() {
		for _, tracer := range tracers {
			tracer.Stop(context.Background())
		}
	}()
	// A machine that stalls for seconds moves leadership, or makes the nodes let go of a trace: another append is tried then.
	wanted := map[string]bool{}
	var err error
	for try := range 10 {
		if err = traceOne(t, h, got, tracers, byte(try+1), wanted); err == nil {
			break
		}
		t.Logf("append %d: %v", try+1, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	got.mu.Lock()
	defer got.mu.Unlock()
	for _, span := range got.list {
		if !wanted[hex.EncodeToString(span.TraceId)] {
			t.Errorf("%s on %s is of trace %x: an append nobody follows was traced", span.Name, span.node, span.TraceId)
		}
		if span.EndTimeUnixNano < span.StartTimeUnixNano {
			t.Errorf("%v", span)
		}
	}
}

// traceOne asks a follower for one append that is followed and one that is not, and says what is missing of the trace after a while.
func traceOne(t *testing.T, h *house, got *spans, tracers []*tracing.Tracer, number byte, wanted map[string]bool) error {
	leader := h.leader().node.Self().Name
	asked := h.byRole("Follower")
	traceID := fmt.Sprintf("4bf92f3577b34da6a3ce929d0e0e47%02x", number)
	wanted[traceID] = true
	parent := []byte{0, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, number}
	ctx := metadata.AppendToOutgoingContext(testContext(t), "traceparent", "00-"+traceID+"-"+hex.EncodeToString(parent)+"-01")
	if resp, err := asked.write(ctx, "traced", nil, event("t", "1")); err != nil || resp.GetSuccess() == nil {
		return fmt.Errorf("%v, %w", resp, err)
	}
	if _, err := asked.write(testContext(t), "untraced", nil, event("t", "2")); err != nil {
		return err
	}
	pause := time.NewTicker(20 * time.Millisecond)
	defer pause.Stop()
	var missing error
	for range 500 {
		for _, tracer := range tracers {
			if err := tracer.Flush(context.Background()); err != nil {
				return err
			}
		}
		if missing = checkTree(got, parent, leader, asked.node.Self().Name); missing == nil {
			return nil
		}
		<-pause.C
	}
	return missing
}

// checkTree says what is missing of the tree below a client's span.
func checkTree(got *spans, client []byte, leader, follower string) error {
	one := func(parent []byte, name, node string) (*collected, error) {
		list := got.children(parent, name)
		if len(list) != 1 || list[0].node != node {
			return nil, fmt.Errorf("%d spans %q where there should be one of %s", len(list), name, node)
		}
		return list[0], nil
	}
	call, err := one(client, "streams.Append", follower)
	if err != nil {
		return err
	}
	for _, name := range []string{"answer", "show write"} {
		if _, err := one(call.SpanId, name, follower); err != nil {
			return err
		}
	}
	forward, err := one(call.SpanId, "forward", follower)
	if err != nil {
		return err
	}
	lead, err := one(forward.SpanId, "lead", leader)
	if err != nil {
		return err
	}
	for _, name := range []string{"judge", "log write", "apply"} {
		if _, err := one(lead.SpanId, name, leader); err != nil {
			return err
		}
	}
	acknowledged := got.children(lead.SpanId, "replicate")
	if len(acknowledged) != 2 {
		return fmt.Errorf("%d members acknowledged", len(acknowledged))
	}
	wrote := map[string]bool{}
	for _, replicate := range acknowledged {
		writes := got.children(replicate.SpanId, "log write")
		if len(writes) != 1 {
			return fmt.Errorf("%d writes inside an acknowledged replication", len(writes))
		}
		wrote[writes[0].node] = true
	}
	if len(wrote) != 2 || wrote[leader] || !wrote[follower] {
		return fmt.Errorf("writes of %v", wrote)
	}
	return nil
}
