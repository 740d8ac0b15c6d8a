package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"baton/gen/eventstore/client"
	"baton/gen/eventstore/streams"
	"baton/test/fleet"
)

// memoryCommand measures what one node process holds: after a load of many events in many streams, and over a time of
// mixed load on them.
const memoryCommand = "memory"

// Judgement of the mixed load: its last quarter is compared with its second, the first being the warming up.
const (
	flatShare   = 0.05    // by so much of itself the resident memory may grow
	flatBytes   = 8 << 20 // and by so much beside
	flatHandles = 16      // open files and goroutines may grow by so many
)

type memoryRun struct {
	binary                  string
	events, streams, size   int
	minutes                 float64
	every                   time.Duration
	rate, readers, reads    int
	limit                   int // MiB of resident memory after the load
	node                    *fleet.Node
	samples                 []holding
	began                   time.Time
	written, read, failures atomic.Int64
	ended                   atomic.Int64 // calls of the mixed load that ended with an error
}

// holding is one look at the process.
type holding struct {
	at         time.Duration
	phase      string
	events     int64
	resident   int64 // bytes
	handles    int
	goroutines int
}

func runMemory(args []string) error {
	m := &memoryRun{}
	flags := flag.NewFlagSet(memoryCommand, flag.ContinueOnError)
	flags.StringVar(&m.binary, "baton", "../bin/baton", "path of the binary under test")
	flags.IntVar(&m.events, "events", 10_000_000, "events loaded first")
	flags.IntVar(&m.streams, "streams", 1_000_000, "streams they are spread over")
	flags.IntVar(&m.size, "payload", 100, "bytes of data in each event")
	flags.Float64Var(&m.minutes, "minutes", 60, "length of the mixed load that follows")
	flags.DurationVar(&m.every, "every", 10*time.Second, "time between two samples")
	flags.IntVar(&m.rate, "rate", 2000, "appends a second of the mixed load, to streams that exist")
	flags.IntVar(&m.readers, "readers", 4, "clients that read streams, each on new connections now and then")
	flags.IntVar(&m.reads, "reads", 100, "streams a second that each of them reads")
	flags.IntVar(&m.limit, "limit", 400, "MiB of resident memory allowed after the load; 0: any")
	keep := flags.String("dir", "", "data directory, kept; by default a temporary one")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if m.events < m.streams || m.streams < 1 || m.every <= 0 {
		return errors.New("give at least one stream, one event for each and a time between samples")
	}
	binary, err := filepath.Abs(m.binary)
	if err != nil {
		return err
	}
	dir := *keep
	if dir == "" {
		if dir, err = os.MkdirTemp("", "baton-memory-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	f, err := fleet.New(fleet.Options{Dir: dir, Nodes: 1, ClusterSize: 1, Binary: binary})
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Start(); err != nil {
		return err
	}
	if err := f.AwaitRoles(time.Minute, 0, 0); err != nil {
		return err
	}
	m.node, m.began = f.Nodes[0], time.Now()
	return m.run()
}

func (m *memoryRun) run() error {
	idle, err := m.look("idle")
	if err != nil {
		return err
	}
	watch, stop := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	var phase atomic.Value
	phase.Store("load")
	watching.Go(func() { m.watch(watch, &phase) })
	err = m.load(watch)
	loaded := time.Since(m.began)
	var full holding
	if err == nil {
		full, err = m.look("loaded")
	}
	if err == nil {
		phase.Store("mixed")
		err = m.mix(watch)
	}
	stop()
	watching.Wait()
	m.print(idle, full, loaded)
	if err != nil {
		return err
	}
	return errors.Join(m.judge(full), m.startAgain("SIGTERM", func() { m.node.Stop(time.Minute) }), m.startAgain("kill -9", m.node.Kill))
}

// startAgain ends the node and prints how long it takes from its start until it has acknowledged an append and given one of
// the loaded streams.
func (m *memoryRun) startAgain(how string, end func()) error {
	end()
	began := time.Now()
	if err := m.node.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for ; ; <-poll.C {
		err := m.serves(ctx)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return fmt.Errorf("started again after %s: %w", how, err)
		}
	}
	s, err := m.look("started")
	fmt.Printf("started again after %-8s an append acknowledged and a stream read after %.2f s, with %d events; RSS %.1f MiB\n", how, time.Since(began).Seconds(), m.written.Load(), float64(s.resident)/(1<<20))
	return err
}

// serves appends one event and reads one stream, on a new connection.
func (m *memoryRun) serves(ctx context.Context) error {
	once := true
	if err := m.appends(ctx, 1, 1, func() (string, bool) {
		defer func() { once = false }()
		return streamName(0), once
	}); err != nil {
		return err
	}
	conn, err := m.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	return m.readStream(ctx, conn, streamName(m.streams-1))
}

// watch looks at the process regularly.
func (m *memoryRun) watch(ctx context.Context, phase *atomic.Value) {
	tick := time.NewTicker(m.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if s, err := m.look(phase.Load().(string)); err == nil {
				m.samples = append(m.samples, s)
			}
		}
	}
}

// look takes a sample.
func (m *memoryRun) look(phase string) (holding, error) {
	s := holding{at: time.Since(m.began), phase: phase, events: m.written.Load()}
	proc := fmt.Sprintf("/proc/%d/", m.node.PID())
	status, err := os.ReadFile(proc + "status")
	if err != nil {
		return s, err
	}
	for _, line := range strings.Split(string(status), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				return s, err
			}
			s.resident = kib << 10
		}
	}
	handles, err := os.ReadDir(proc + "fd")
	if err != nil {
		return s, err
	}
	s.handles = len(handles)
	resp, err := http.Get("http://" + m.node.Address() + "/metrics")
	if err != nil {
		return s, err
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "go_goroutines "); ok {
			if s.goroutines, err = strconv.Atoi(rest); err != nil {
				return s, err
			}
		}
	}
	return s, nil
}

func (m *memoryRun) dial() (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+m.node.Address(), grpc.WithTransportCredentials(insecure.NewCredentials()))
}

func streamName(i int) string { return fmt.Sprintf("account-%07d", i) }

// appends sends appends of n events each to the streams next names, at most window under way, until next says no.
func (m *memoryRun) appends(ctx context.Context, window, n int, next func() (stream string, ok bool)) error {
	conn, err := m.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	call, err := streams.NewStreamsClient(conn).BatchAppend(ctx, grpc.ForceCodecV2(fastCodec{}))
	if err != nil {
		return err
	}
	payload := []byte(strings.Repeat("m", m.size))
	free := make(chan struct{}, window)
	sent := make(chan error, 1)
	go func() {
		sent <- func() error {
			for id := int64(1); ; id++ {
				name, ok := next()
				if !ok {
					return call.CloseSend()
				}
				select {
				case free <- struct{}{}:
				case <-ctx.Done():
					return ctx.Err()
				}
				if err := call.Send(batchRequest(id, name, n, payload)); err != nil {
					return nil // Recv tells why
				}
			}
		}()
	}()
	for {
		resp, err := call.Recv()
		if err != nil {
			if sendErr := <-sent; sendErr != nil {
				return sendErr
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if resp.GetError() != nil {
			return fmt.Errorf("append: %s", resp.GetError().GetMessage())
		}
		m.written.Add(int64(n))
		<-free
	}
}

// load fills the streams, each in one append.
func (m *memoryRun) load(ctx context.Context) error {
	const calls = 4
	each := m.events / m.streams
	var at atomic.Int64
	errs := make(chan error, calls)
	for range calls {
		go func() {
			errs <- m.appends(ctx, 128, each, func() (string, bool) {
				i := int(at.Add(1)) - 1
				return streamName(i), i < m.streams
			})
		}()
	}
	var first error
	for range calls {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

// mix appends at a steady rate, reads, and keeps one subscription live, for the time given.
func (m *memoryRun) mix(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(m.minutes*float64(time.Minute)))
	defer cancel()
	var running sync.WaitGroup
	for range m.readers {
		running.Go(func() { m.readOn(ctx) })
	}
	running.Go(func() { m.follow(ctx) })
	pace := time.NewTicker(time.Second / time.Duration(max(m.rate, 1)))
	defer pace.Stop()
	for ctx.Err() == nil {
		err := m.appends(ctx, 256, 1, func() (string, bool) {
			select {
			case <-pace.C:
				return streamName(rand.IntN(m.streams)), true
			case <-ctx.Done():
				return "", false
			}
		})
		if err != nil && ctx.Err() == nil { // of a disk that stood still: a client goes on with a new call
			m.ended.Add(1)
			fmt.Fprintf(os.Stderr, "appends ended and begin anew: %v\n", err)
		}
	}
	running.Wait()
	return nil
}

// readOn reads streams, on a new connection every hundred.
func (m *memoryRun) readOn(ctx context.Context) {
	pace := time.NewTicker(time.Second / time.Duration(max(m.reads, 1)))
	defer pace.Stop()
	for ctx.Err() == nil {
		conn, err := m.dial()
		if err != nil {
			return
		}
		for n := 0; n < 100 && ctx.Err() == nil; n++ {
			select {
			case <-pace.C:
			case <-ctx.Done():
			}
			if err := m.readStream(ctx, conn, streamName(rand.IntN(m.streams))); err != nil && ctx.Err() == nil && status.Code(err) != codes.DeadlineExceeded { // the end may reach the server first
				m.failures.Add(1)
			}
		}
		conn.Close()
	}
}

func (m *memoryRun) readStream(ctx context.Context, conn *grpc.ClientConn, name string) error {
	call, err := streams.NewStreamsClient(conn).Read(ctx, readRequest(&streams.ReadReq_Options_Stream{Stream: &streams.ReadReq_Options_StreamOptions{
		StreamIdentifier: &client.StreamIdentifier{StreamName: []byte(name)},
		RevisionOption:   &streams.ReadReq_Options_StreamOptions_Start{Start: &client.Empty{}}}}, 100))
	if err != nil {
		return err
	}
	for {
		if _, err := call.Recv(); errors.Is(err, io.EOF) {
			m.read.Add(1)
			return nil
		} else if err != nil {
			return err
		}
	}
}

// follow keeps a catch-up subscription from the end of all streams.
func (m *memoryRun) follow(ctx context.Context) {
	conn, err := m.dial()
	if err != nil {
		return
	}
	defer conn.Close()
	call, err := streams.NewStreamsClient(conn).Read(ctx, readRequest(&streams.ReadReq_Options_All{All: &streams.ReadReq_Options_AllOptions{
		AllOption: &streams.ReadReq_Options_AllOptions_End{End: &client.Empty{}}}}, 0), grpc.ForceCodecV2(countCodec{}))
	if err != nil {
		return
	}
	for {
		var c counted
		if call.RecvMsg(&c) != nil {
			return
		}
	}
}

func (m *memoryRun) print(idle, full holding, loaded time.Duration) {
	fmt.Printf("\n%d events of %d bytes in %d streams, loaded in %.0f s (%.0f/s); then %.1f min of %d appends/s and %d readers (%d streams read, %d reads failed, %d calls of appends ended)\n\n",
		m.events, m.size, m.streams, loaded.Seconds(), float64(m.events)/loaded.Seconds(), m.minutes, m.rate, m.readers, m.read.Load(), m.failures.Load(), m.ended.Load())
	fmt.Println("| time | phase | events written | RSS | handles | goroutines |\n|---|---|---|---|---|---|")
	row := func(s holding) {
		fmt.Printf("| %s | %s | %d | %.1f MiB | %d | %d |\n", s.at.Round(time.Second), s.phase, s.events, float64(s.resident)/(1<<20), s.handles, s.goroutines)
	}
	row(idle)
	shown := false
	step := max(len(m.samples)/30, 1) // at most about thirty rows
	for i, s := range m.samples {
		if s.phase == "mixed" && !shown {
			row(full)
			shown = true
		}
		if i%step == 0 || i == len(m.samples)-1 {
			row(s)
		}
	}
	if !shown && full.phase != "" {
		row(full)
	}
	fmt.Println()
}

// quarter is the middle of one figure in the n-th quarter of the mixed load.
func quarter(samples []holding, n int, figure func(holding) int64) int64 {
	part := samples[n*len(samples)/4 : (n+1)*len(samples)/4]
	values := make([]int64, len(part))
	for i, s := range part {
		values[i] = figure(s)
	}
	sort.Slice(values, func(i, j int) bool { return values[i] < values[j] })
	return values[len(values)/2]
}

// judge compares the end of the mixed load with its beginning, after the warming up, and the loaded node with its limit.
func (m *memoryRun) judge(full holding) error {
	var mixed []holding
	for _, s := range m.samples {
		if s.phase == "mixed" {
			mixed = append(mixed, s)
		}
	}
	var wrong []string
	verdict := func(what, text string, ok bool) {
		word := "ok"
		if !ok {
			word = "NOT OK"
			wrong = append(wrong, what)
		}
		fmt.Printf("%-22s %-60s %s\n", what, text, word)
	}
	if m.limit > 0 {
		verdict("RSS when loaded", fmt.Sprintf("%.1f MiB, at most %d MiB", float64(full.resident)/(1<<20), m.limit), full.resident <= int64(m.limit)<<20)
	}
	if len(mixed) < 8 {
		fmt.Printf("flatness is not judged: %d samples of mixed load, 8 are needed (raise -minutes or lower -every)\n", len(mixed))
	} else {
		resident := func(s holding) int64 { return s.resident }
		early, late := quarter(mixed, 1, resident), quarter(mixed, 3, resident)
		verdict("RSS flat", fmt.Sprintf("%.1f MiB, then %.1f MiB", float64(early)/(1<<20), float64(late)/(1<<20)), late <= early+int64(flatShare*float64(early))+flatBytes)
		for what, figure := range map[string]func(holding) int64{
			"handles flat": func(s holding) int64 { return int64(s.handles) }, "goroutines flat": func(s holding) int64 { return int64(s.goroutines) }} {
			early, late := quarter(mixed, 1, figure), quarter(mixed, 3, figure)
			verdict(what, fmt.Sprintf("%d, then %d", early, late), late <= early+flatHandles)
		}
	}
	if m.failures.Load() > 0 {
		verdict("reads", fmt.Sprintf("%d failed", m.failures.Load()), false)
	}
	if len(wrong) > 0 {
		return fmt.Errorf("not as wanted: %s", strings.Join(wrong, ", "))
	}
	return nil
}

// readRequest asks for count events; 0 asks for a subscription.
func readRequest(from any, count uint64) *streams.ReadReq {
	o := &streams.ReadReq_Options{
		FilterOption:  &streams.ReadReq_Options_NoFilter{NoFilter: &client.Empty{}},
		UuidOption:    &streams.ReadReq_Options_UUIDOption{Content: &streams.ReadReq_Options_UUIDOption_Structured{Structured: &client.Empty{}}},
		ControlOption: &streams.ReadReq_Options_ControlOption{Compatibility: 1},
		CountOption:   &streams.ReadReq_Options_Count{Count: count},
	}
	if count == 0 {
		o.CountOption = &streams.ReadReq_Options_Subscription{Subscription: &streams.ReadReq_Options_SubscriptionOptions{}}
	}
	switch from := from.(type) {
	case *streams.ReadReq_Options_Stream:
		o.StreamOption = from
	case *streams.ReadReq_Options_All:
		o.StreamOption = from
	}
	return &streams.ReadReq{Options: o}
}
