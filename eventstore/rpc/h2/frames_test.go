package h2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// raw is a client that writes frames by hand.
type raw struct {
	t      testing.TB
	nc     net.Conn
	fr     *http2.Framer
	fields map[uint32]map[string]string
	dec    *hpack.Decoder
}

func rawDial(t testing.TB, addr string, settings ...http2.Setting) *raw {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(patience))
	r := &raw{t: t, nc: nc, fr: http2.NewFramer(nc, nc), fields: map[uint32]map[string]string{}, dec: hpack.NewDecoder(4096, nil)}
	if _, err := io.WriteString(nc, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	if err := r.fr.WriteSettings(settings...); err != nil {
		t.Fatal(err)
	}
	return r
}

func headers(pairs ...string) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for i := 0; i < len(pairs); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	return b.Bytes()
}

func post(path string, more ...string) []byte {
	return headers(append([]string{":method", "POST", ":scheme", "http", ":path", path, "content-type", "application/grpc", "te", "trailers"}, more...)...)
}

func (r *raw) begin(id uint32, block []byte, end bool) {
	r.t.Helper()
	if err := r.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true, EndStream: end}); err != nil {
		r.t.Fatal(err)
	}
}

func message(s string) []byte {
	b := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(s)))
	return append(b, s...)
}

// until reads frames up to one that is wanted; headers it meets are noted.
func (r *raw) until(wanted func(http2.Frame) bool) http2.Frame {
	r.t.Helper()
	for {
		f, err := r.fr.ReadFrame()
		if err != nil {
			r.t.Fatalf("the frame waited for did not come: %v", err)
		}
		if h, ok := f.(*http2.HeadersFrame); ok {
			fields, err := r.dec.DecodeFull(h.HeaderBlockFragment())
			if err != nil {
				r.t.Fatal(err)
			}
			if r.fields[h.StreamID] == nil {
				r.fields[h.StreamID] = map[string]string{}
			}
			for _, f := range fields {
				r.fields[h.StreamID][f.Name] = f.Value
			}
		}
		if wanted(f) {
			return f
		}
	}
}

func (r *raw) status(id uint32) map[string]string {
	r.t.Helper()
	r.until(func(f http2.Frame) bool {
		h, ok := f.(*http2.HeadersFrame)
		return ok && h.StreamID == id && h.StreamEnded()
	})
	return r.fields[id]
}

// goAway expects the connection to end with a code.
func (r *raw) goAway(code http2.ErrCode) {
	r.t.Helper()
	f := r.until(func(f http2.Frame) bool { _, ok := f.(*http2.GoAwayFrame); return ok })
	if got := f.(*http2.GoAwayFrame).ErrCode; got != code {
		r.t.Fatalf("GOAWAY says %v, want %v", got, code)
	}
	for {
		if _, err := r.fr.ReadFrame(); err != nil {
			var nerr net.Error
			if errors.As(err, &nerr) && nerr.Timeout() {
				r.t.Fatal("the connection stays open")
			}
			return
		}
	}
}

func (r *raw) reset(id uint32, code http2.ErrCode) {
	r.t.Helper()
	f := r.until(func(f http2.Frame) bool { s, ok := f.(*http2.RSTStreamFrame); return ok && s.StreamID == id })
	if got := f.(*http2.RSTStreamFrame).ErrCode; got != code {
		r.t.Fatalf("RST_STREAM says %v, want %v", got, code)
	}
}

func TestNonsenseEndsTheConnection(t *testing.T) {
	_, _, addr := serve(t, func(o *Options) { o.MinPingEvery = time.Hour })
	cases := map[string]struct {
		do   func(*raw)
		code http2.ErrCode
	}{
		"an even stream":               {func(r *raw) { r.begin(2, post("/test.Service/Echo"), false) }, http2.ErrCodeProtocol},
		"a stream that goes back":      {func(r *raw) { r.begin(5, post("/x/y"), true); r.begin(3, post("/x/y"), true) }, http2.ErrCodeProtocol},
		"DATA before HEADERS":          {func(r *raw) { _ = r.fr.WriteData(1, false, []byte("x")) }, http2.ErrCodeProtocol},
		"RST_STREAM before HEADERS":    {func(r *raw) { _ = r.fr.WriteRSTStream(1, http2.ErrCodeCancel) }, http2.ErrCodeProtocol},
		"WINDOW_UPDATE before HEADERS": {func(r *raw) { _ = r.fr.WriteWindowUpdate(1, 1) }, http2.ErrCodeProtocol},
		"headers that do not decode":   {func(r *raw) { r.begin(1, []byte{0x80}, true) }, http2.ErrCodeCompression},
		"a window beyond all":          {func(r *raw) { _ = r.fr.WriteWindowUpdate(0, 1<<31-1) }, http2.ErrCodeFlowControl},
		"a frame too large":            {func(r *raw) { _ = r.fr.WriteRawFrame(http2.FrameData, 0, 1, make([]byte, frameBytes+1)) }, http2.ErrCodeFrameSize},
		"pings without end": {func(r *raw) {
			for range 10 {
				_ = r.fr.WritePing(false, [8]byte{})
			}
		}, http2.ErrCodeEnhanceYourCalm},
		"a settings value that is wrong": {func(r *raw) { _ = r.fr.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1}) }, http2.ErrCodeProtocol},
		"headers without end": {func(r *raw) {
			_ = r.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: make([]byte, frameBytes)})
			for range 3 {
				_ = r.fr.WriteContinuation(1, false, make([]byte, frameBytes))
			}
		}, http2.ErrCodeEnhanceYourCalm},
		"more than the connection's window": {func(r *raw) {
			for id := uint32(1); id < 20; id += 2 {
				r.begin(id, post("/test.Service/Collect"), false)
			}
			r.until(func(f http2.Frame) bool { s, ok := f.(*http2.SettingsFrame); return ok && !s.IsAck() })
			for range 40 { // of a window of 256 KiB, on a stream whose window is used up after 64
				_ = r.fr.WriteRawFrame(http2.FrameData, 0, 1, make([]byte, frameBytes))
			}
			r.reset(1, http2.ErrCodeFlowControl)
			_ = r.fr.WriteWindowUpdate(0, 1<<31-1)
		}, http2.ErrCodeFlowControl},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := rawDial(t, addr)
			c.do(r)
			r.goAway(c.code)
		})
	}
	t.Run("no preface", func(t *testing.T) {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		_ = nc.SetDeadline(time.Now().Add(patience))
		_, _ = io.WriteString(nc, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if _, err := io.ReadAll(nc); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Fatal("the connection stays open")
		}
	})
}

func TestWhatIsNoCallIsRefused(t *testing.T) {
	_, _, addr := serve(t, nil)
	r := rawDial(t, addr)
	big := strings.Repeat("v", 12<<10)
	for i, c := range []struct {
		block []byte
		want  map[string]string
	}{
		{headers(":method", "GET", ":path", "/test.Service/Echo", "content-type", "application/grpc"), map[string]string{":status": "405"}},
		{headers(":method", "POST", ":path", "/test.Service/Echo", "content-type", "text/html"), map[string]string{":status": "415"}},
		{post("/test.Service/Echo", "grpc-timeout", "soon"), map[string]string{":status": "400"}},
		{post("/test.Service/Echo", "x-bin", "=!"), map[string]string{":status": "400"}},
		{post("/test.Service/Echo"), map[string]string{":status": "200", "grpc-status": "13"}}, // ends without a message: see below
	} {
		id := uint32(2*i + 1)
		r.begin(id, c.block, true)
		got := r.status(id)
		for k, v := range c.want {
			if got[k] != v && k != "grpc-status" {
				t.Errorf("request %d: %s is %q, want %q", i, k, got[k], v)
			}
		}
	}
	b := post("/test.Service/Echo", "a", big, "b", big, "c", big)
	_ = r.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 21, BlockFragment: b[:frameBytes], EndStream: true})
	_ = r.fr.WriteContinuation(21, true, b[frameBytes:])
	if got := r.status(21); got["grpc-status"] != "8" {
		t.Errorf("headers too large: %v", got)
	}
	r.begin(23, post("/test.Service/Echo"), false)
	_ = r.fr.WriteData(23, true, message("still here"))
	if got := r.status(23); got["grpc-status"] != "0" {
		t.Errorf("a call after all that: %v", got)
	}
}

func TestCallsBeyondTheLimitAreRefused(t *testing.T) {
	_, impl, addr := serve(t, func(o *Options) { o.MaxCalls = 2 })
	r := rawDial(t, addr)
	for id := uint32(1); id <= 5; id += 2 {
		r.begin(id, post("/test.Service/Wait"), true)
	}
	r.reset(5, http2.ErrCodeRefusedStream)
	// Calls that were reset count until their handlers have returned, which they do soon.
	_ = r.fr.WriteRSTStream(1, http2.ErrCodeCancel)
	<-impl.canceled
	for id := uint32(7); ; id += 2 {
		r.begin(id, post("/test.Service/Echo"), false)
		_ = r.fr.WriteData(id, true, message("x"))
		f := r.until(func(f http2.Frame) bool {
			h, ok := f.(*http2.HeadersFrame)
			_, reset := f.(*http2.RSTStreamFrame)
			return f.Header().StreamID == id && (reset || ok && h.StreamEnded())
		})
		if _, ok := f.(*http2.HeadersFrame); ok {
			return
		}
	}
}

func TestAnswersWaitForTheClientsWindow(t *testing.T) {
	_, _, addr := serve(t, nil)
	r := rawDial(t, addr, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10}, http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0})
	r.until(func(f http2.Frame) bool { s, ok := f.(*http2.SettingsFrame); return ok && s.IsAck() })
	in := strings.Repeat("z", 1000)
	r.begin(1, post("/test.Service/Echo"), false)
	_ = r.fr.WriteData(1, true, message(in))
	var got []byte
	next := func() []byte {
		return bytes.Clone(r.until(func(f http2.Frame) bool { _, ok := f.(*http2.DataFrame); return ok }).(*http2.DataFrame).Data())
	}
	if got = next(); len(got) != 10 {
		t.Fatalf("%d bytes came through a window of 10", len(got))
	}
	_ = r.fr.WriteWindowUpdate(1, 100)
	for len(got) < 110 {
		got = append(got, next()...)
	}
	if len(got) != 110 {
		t.Fatalf("%d bytes came through a window of 110", len(got))
	}
	_ = r.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10_000})
	for len(got) < 1005 {
		got = append(got, next()...)
	}
	if !bytes.Equal(got, message(in)) {
		t.Fatal("the answer is not the request")
	}
	if s := r.status(1); s["grpc-status"] != "0" {
		t.Fatal(s)
	}
}

func TestRequestsThatStayIncompleteReachTheirHandler(t *testing.T) {
	_, _, addr := serve(t, nil)
	r := rawDial(t, addr)
	r.begin(1, post("/test.Service/Collect", "grpc-timeout", "10m"), false)
	_ = r.fr.WriteData(1, false, message("part"))
	if got := r.status(1); got["grpc-status"] != "4" { // after gatherTime: the deadline is the call's own
		t.Fatal(got)
	}
	r.begin(3, post("/test.Service/Echo"), false)
	_ = r.fr.WriteData(3, true, message("cut short")[:8])
	if got := r.status(3); got["grpc-status"] != "13" {
		t.Fatal(got)
	}
}

func TestSilentClientsAreAskedAndLeft(t *testing.T) {
	_, _, addr := serve(t, func(o *Options) { o.PingEvery, o.PingTimeout = time.Millisecond, time.Millisecond })
	r := rawDial(t, addr)
	r.until(func(f http2.Frame) bool { p, ok := f.(*http2.PingFrame); return ok && !p.IsAck() })
	for {
		if _, err := r.fr.ReadFrame(); err != nil {
			if strings.Contains(err.Error(), "timeout") {
				t.Fatal("the connection stays open")
			}
			return
		}
	}
}

// TestPingsThatFollowAnswersAreBorne: grpc-go's client measures the line with a
// ping for what it receives, and may send several for what left in one write.
func TestPingsThatFollowAnswersAreBorne(t *testing.T) {
	_, _, addr := serve(t, func(o *Options) { o.MinPingEvery = time.Hour })
	r := rawDial(t, addr, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	r.begin(1, post("/test.Service/Count"), false)
	_ = r.fr.WriteData(1, true, message("pad"))
	for range 1000 {
		f := r.until(func(f http2.Frame) bool { _, ok := f.(*http2.DataFrame); return ok })
		_ = r.fr.WriteWindowUpdate(0, f.Header().Length)
		_ = r.fr.WritePing(false, [8]byte{1})
	}
	if s := r.status(1); s["grpc-status"] != "0" {
		t.Fatal(s)
	}
	for range 10 {
		_ = r.fr.WritePing(false, [8]byte{2})
	}
	r.goAway(http2.ErrCodeEnhanceYourCalm)
}

// FuzzConnection: whatever a client sends after its preface, the server neither panics nor hangs.
func FuzzConnection(f *testing.F) {
	var b bytes.Buffer
	fr := http2.NewFramer(&b, nil)
	_ = fr.WriteSettings()
	f.Add(b.Bytes())
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: post("/test.Service/Talk"), EndHeaders: true})
	_ = fr.WriteData(1, false, message("hello"))
	_ = fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	_ = fr.WriteData(1, true, message("hello"))
	_ = fr.WriteRSTStream(1, http2.ErrCodeCancel)
	f.Add(b.Bytes())
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: post("/test.Service/Count", "grpc-encoding", "gzip"), EndHeaders: true})
	_ = fr.WriteData(3, true, append([]byte{1}, message("not packed")[1:]...))
	_ = fr.WriteWindowUpdate(0, 5)
	_ = fr.WritePing(false, [8]byte{1})
	_ = fr.WriteGoAway(3, http2.ErrCodeNo, nil)
	f.Add(b.Bytes())
	_, _, addr := serve(f, nil)
	f.Fuzz(func(t *testing.T, frames []byte) {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		_ = nc.SetDeadline(time.Now().Add(patience))
		_, _ = nc.Write(append([]byte(http2.ClientPreface), frames...))
		_ = nc.(*net.TCPConn).CloseWrite()
		if _, err := io.Copy(io.Discard, nc); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Fatal("the server hangs")
		}
	})
}
