package main

import (
	"context"
	"log/slog"
	"os"
	"strconv"
	"time"

	"baton/eventstore/node"
	"baton/platform/config"
	"baton/platform/tracing"
)

// flushTimeout bounds how long a stopping node tries to send its last spans.
const flushTimeout = time.Second

// startTracer begins to send spans, if options or environment name a collector.
func startTracer(ctx context.Context, s *config.Settings, cfg *node.Config, logger *slog.Logger) (*tracing.Tracer, error) {
	ratio := -1.0 // the environment's
	if s.IsSet("trace-ratio") {
		ratio, _ = strconv.ParseFloat(s.String("trace-ratio"), 64) // the option was checked
	}
	instance := cfg.Name
	if instance == "" {
		instance = cfg.ClientHost + ":" + strconv.Itoa(cfg.ClientPort)
	}
	tracer, err := tracing.Start(ctx, tracing.Options{
		Endpoint: s.String("trace-endpoint"), Ratio: ratio, Service: "baton", Version: version, Instance: instance, Getenv: os.Getenv, Logger: logger,
	})
	if err == nil && tracer != nil {
		logger.Info("appends are traced", "endpoint", firstText(s.String("trace-endpoint"), "as OTEL_EXPORTER_OTLP_ENDPOINT says"))
	}
	return tracer, err
}

// stopTracer sends what waits.
func stopTracer(t *tracing.Tracer) {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	t.Stop(ctx)
}
