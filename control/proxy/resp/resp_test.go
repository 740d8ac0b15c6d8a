package resp

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// whole reads all requests of b at once and tells what it found.
func whole(b []byte) (out []string) {
	p := Requests{Limits: Limits{Bytes: 1 << 16, Args: 64, Inline: 1 << 10}}
	var r Request
	for len(b) > 0 {
		ok, err := p.Next(b, &r)
		if err != nil {
			return append(out, "error "+err.Error())
		}
		if !ok {
			return out
		}
		out = append(out, fmt.Sprintf("%v %q %q", r.Inline, r.Args, b[:r.Size]))
		b = b[r.Size:]
	}
	return out
}

// pieces does the same with the bytes coming in pieces of the given sizes.
func pieces(b []byte, sizes []int) (out []string) {
	p := Requests{Limits: Limits{Bytes: 1 << 16, Args: 64, Inline: 1 << 10}}
	var r Request
	var buf []byte
	for i := 0; len(b) > 0; i++ {
		n := len(b)
		if len(sizes) > 0 {
			n = min(n, max(1, sizes[i%len(sizes)]))
		}
		buf, b = append(buf, b[:n]...), b[n:]
		for len(buf) > 0 {
			ok, err := p.Next(buf, &r)
			if err != nil {
				return append(out, "error "+err.Error())
			}
			if !ok {
				break
			}
			out = append(out, fmt.Sprintf("%v %q %q", r.Inline, r.Args, buf[:r.Size]))
			buf = buf[r.Size:]
		}
	}
	return out
}

func answers(b []byte, size int) (ends []int, err error) {
	var p Replies
	at := 0
	for len(b) > 0 {
		piece := b[:min(size, len(b))]
		b = b[len(piece):]
		for len(piece) > 0 {
			n, done, err := p.Next(piece)
			if err != nil {
				return ends, err
			}
			at += n
			piece = piece[n:]
			if done {
				ends = append(ends, at)
			}
		}
	}
	return ends, nil
}

var requestSeeds = []string{
	"*1\r\n$4\r\nPING\r\n", "PING\r\n", "\r\n", "*0\r\n", "*-1\r\n", "*2\r\n$3\r\nGET\r\n$0\r\n\r\n", "*1\r\n$-1\r\n", "*x\r\n", "*1\r\n+OK\r\n",
	"SET \"a b\\x41\" 'c\\'d'\r\nGET x\n", "SET \"a\r\n", "*65\r\n", "*1\r\n$70000\r\n", "*2\r\n$3\r\nSET\r\n$2\r\n\r\n\r\n", strings.Repeat("a", 2000), "\x00\r\n",
	"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\nPING\r\n",
}

func FuzzRequests(f *testing.F) {
	for _, s := range requestSeeds {
		f.Add([]byte(s), byte(1))
	}
	f.Fuzz(func(t *testing.T, b []byte, n byte) {
		want := whole(b)
		for _, size := range []int{1, int(n), 7} {
			if got := pieces(b, []int{size}); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("%q in pieces of %d: %q, at once: %q", b, size, got, want)
			}
		}
	})
}

var replySeeds = []string{
	"+OK\r\n-ERR x\r\n:1\r\n", "$-1\r\n$0\r\n\r\n$5\r\nab\r\nc\r\n", "*-1\r\n*0\r\n*2\r\n*1\r\n:1\r\n$1\r\na\r\n", "%1\r\n+a\r\n~2\r\n:1\r\n:2\r\n_\r\n#t\r\n,1.5\r\n(12\r\n",
	"|1\r\n+k\r\n+v\r\n:7\r\n", ">2\r\n$10\r\ninvalidate\r\n_\r\n", "!3\r\nERR\r\n=5\r\ntxt:x\r\n", "$x\r\n", "?\r\n", "\n", "*" + strings.Repeat("1\r\n*", 200), "*1\r\n",
}

func FuzzReplies(f *testing.F) {
	for _, s := range replySeeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		want, wantErr := answers(b, len(b)+1)
		for _, size := range []int{1, 2, 3, 7} {
			got, err := answers(b, size)
			if fmt.Sprint(got) != fmt.Sprint(want) || (err == nil) != (wantErr == nil) {
				t.Fatalf("%q in pieces of %d: ends %v, %v; at once: %v, %v", b, size, got, err, want, wantErr)
			}
		}
		_ = Strings(b, 3)
	})
}

// Goal: what is written as a request is read as the same, however it is cut.
func TestRequestsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var all []byte
		var want []string
		for range rapid.IntRange(1, 5).Draw(t, "requests") {
			args := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 30), 1, 6).Draw(t, "args")
			raw := Append(nil, args...)
			all = append(all, raw...)
			want = append(want, fmt.Sprintf("false %q %q", args, raw))
		}
		got := pieces(all, rapid.SliceOfN(rapid.IntRange(1, 20), 1, 5).Draw(t, "pieces"))
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}

func TestInlineWords(t *testing.T) {
	for line, want := range map[string]string{
		`SET a b`:                `["SET" "a" "b"]`,
		`  SET  "a b"  'c d' `:   `["SET" "a b" "c d"]`,
		`SET "\x41\n\"" '\'' ""`: `["SET" "A\n\"" "'" ""]`,
	} {
		got, ok := words([]byte(line), nil)
		if !ok || fmt.Sprintf("%q", got) != want {
			t.Errorf("%s: %q, %v, want %s", line, got, ok, want)
		}
	}
	for _, line := range []string{`SET "a`, `SET "a"b`, `SET 'a'b`} {
		if _, ok := words([]byte(line), nil); ok {
			t.Errorf("%s was taken", line)
		}
	}
}

func TestStrings(t *testing.T) {
	got := Strings([]byte("*3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$1\r\nx\r\n"), 2)
	if len(got) != 2 || !bytes.Equal(got[1], []byte("ch")) {
		t.Errorf("%q", got)
	}
	if got := Strings([]byte("*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n"), 2); len(got) != 1 {
		t.Errorf("%q", got)
	}
}
