// Package cast keeps what a terminal showed, in asciicast v2: one JSON object,
// then one array [seconds, kind, text] a line. Any player of that format plays
// the files.
//
// A recording may be kept sealed: each line is then encrypted by itself and
// bound to its recording and its number, so that lines can be appended, a torn
// last one is dropped, and none can be changed, moved or left out. That lines at
// the end were cut off cannot be seen.
//
// A Writer belongs to one goroutine at a time.
package cast

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"time"
	"unicode/utf8"
)

// MaxBytes bounds one recording.
const MaxBytes = 16 << 20

// Kinds of events.
const (
	Output = "o"
	Resize = "r" // "COLUMNSxROWS"
)

// ErrFull tells that a recording has reached MaxBytes; nothing more is kept.
var ErrFull = errors.New("the recording has reached its bound")

// Header is the first line of a recording.
type Header struct {
	Version   int               `json:"version"` // 2
	Width     int               `json:"width"`
	Height    int               `json:"height"`
	Timestamp int64             `json:"timestamp"` // Unix seconds
	Title     string            `json:"title,omitempty"`
	Env       map[string]string `json:"env,omitempty"`
}

// Event is one further line.
type Event struct {
	At   time.Duration // since the beginning
	Kind string
	Text string
}

// Writer writes a recording to a file.
type Writer struct {
	f     *os.File
	began time.Time
	size  int64
	seal  Seal
	lines int
	rest  []byte // beginning of a character whose end has not come
	last  time.Duration
}

// Create makes the file, which must not exist, readable to its owner only. seal
// is nil where the recording is kept as it is.
func Create(path string, h Header, began time.Time, seal Seal) (*Writer, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make a recording: %w", err)
	}
	h.Version, h.Timestamp = 2, began.Unix()
	w := &Writer{f: f, began: began, seal: seal}
	if err := w.line(h); err != nil {
		f.Close()
		return nil, err
	}
	return w, nil
}

func (w *Writer) line(v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	if w.size+int64(b.Len()) > MaxBytes {
		return ErrFull
	}
	out := b.Bytes()
	if w.seal != nil {
		out = append([]byte(w.seal(out, w.lines)), '\n')
	}
	w.lines++
	w.size += int64(b.Len())
	if _, err := w.f.Write(out); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	return nil
}

// at is a time as it is written, never before the last one.
func (w *Writer) at(now time.Time) float64 {
	w.last = max(w.last, now.Sub(w.began))
	return math.Round(w.last.Seconds()*1e6) / 1e6
}

// Output records what was shown. A character that came in two parts is kept
// whole; bytes that are no character become U+FFFD, as a terminal shows them.
func (w *Writer) Output(now time.Time, p []byte) error {
	all := append(w.rest, p...)
	whole := len(all) - unfinished(all)
	w.rest = append([]byte(nil), all[whole:]...)
	if whole == 0 {
		return nil
	}
	return w.line([]any{w.at(now), Output, string(bytes.ToValidUTF8(all[:whole], []byte("\uFFFD")))})
}

// unfinished is how many bytes at the end begin a character that may go on.
func unfinished(p []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(p); n++ {
		if c := p[len(p)-n]; utf8.RuneStart(c) {
			if c >= utf8.RuneSelf && !utf8.FullRune(p[len(p)-n:]) {
				return n
			}
			return 0
		}
	}
	return 0
}

// Resize records a new size.
func (w *Writer) Resize(now time.Time, columns, rows int) error {
	return w.line([]any{w.at(now), Resize, fmt.Sprintf("%dx%d", columns, rows)})
}

// Size is how many bytes were recorded, before any sealing.
func (w *Writer) Size() int64 { return w.size }

// Close writes what is left and closes the file.
func (w *Writer) Close() error {
	var err error
	if len(w.rest) > 0 {
		err = w.line([]any{w.last.Seconds(), Output, "\uFFFD"})
	}
	return errors.Join(err, w.f.Close())
}

// Read calls on for each event of a recording, in order, until it fails. A last
// line that was cut off ends the recording.
func Read(r io.Reader, on func(Event) error) (Header, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), MaxBytes+1)
	var h Header
	if !lines.Scan() {
		return h, fmt.Errorf("read a recording: %w", errors.Join(io.ErrUnexpectedEOF, lines.Err()))
	}
	if err := json.Unmarshal(lines.Bytes(), &h); err != nil || h.Version != 2 {
		return h, fmt.Errorf("read a recording: the first line is no header of version 2")
	}
	for lines.Scan() {
		var raw []json.RawMessage
		var seconds float64
		var e Event
		if json.Unmarshal(lines.Bytes(), &raw) != nil || len(raw) != 3 || json.Unmarshal(raw[0], &seconds) != nil ||
			json.Unmarshal(raw[1], &e.Kind) != nil || json.Unmarshal(raw[2], &e.Text) != nil {
			break
		}
		e.At = time.Duration(seconds * float64(time.Second))
		if err := on(e); err != nil {
			return h, err
		}
	}
	return h, lines.Err()
}
