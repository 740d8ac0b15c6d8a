package cast

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestReplayEqualsWhatWasShown(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.cast")
	began := time.Unix(1_700_000_000, 0)
	w, err := Create(path, Header{Width: 80, Height: 24, Title: "t"}, began, nil)
	if err != nil {
		t.Fatal(err)
	}
	shown := "plain \x1b[1mbold\x1b[0m \"quoted\" <&> ä € 😀 \r\n\x00\x7f\u2028end"
	for i := range len(shown) { // characters come in parts
		if err := w.Output(began.Add(time.Duration(i)*time.Millisecond), []byte{shown[i]}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Resize(began.Add(time.Second), 100, 30); err != nil {
		t.Fatal(err)
	}
	if err := w.Output(began, []byte("a clock set back\xff\xe2")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(path, Header{}, began, nil); !errors.Is(err, os.ErrExist) {
		t.Errorf("a recording is written over: %v", err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var text strings.Builder
	var last time.Duration
	sizes := 0
	h, err := Read(f, func(e Event) error {
		if e.At < last {
			t.Errorf("time goes back from %v to %v", last, e.At)
		}
		last = e.At
		if e.Kind == Resize && e.Text == "100x30" {
			sizes++
		} else {
			text.WriteString(e.Text)
		}
		return nil
	})
	if err != nil || h.Width != 80 || h.Timestamp != began.Unix() || sizes != 1 {
		t.Errorf("%+v %v, %d sizes", h, err, sizes)
	}
	if want := shown + "a clock set back\uFFFD\uFFFD"; text.String() != want {
		t.Errorf("%q, want %q", text.String(), want)
	}
}

func TestRecordingsAreBoundedAndReadAsFarAsTheyGo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.cast")
	w, err := Create(path, Header{Width: 80, Height: 24}, time.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	big := []byte(strings.Repeat("x", 1<<20))
	kept := 0
	for {
		if err := w.Output(time.Now(), big); err != nil {
			if !errors.Is(err, ErrFull) {
				t.Fatal(err)
			}
			break
		}
		kept++
	}
	if err := w.Close(); err != nil || kept != 15 {
		t.Errorf("%d MiB were kept: %v", kept, err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() > MaxBytes {
		t.Errorf("%v %v", info, err)
	}
	for name, file := range map[string]string{
		"cut off": "{\"version\":2,\"width\":1,\"height\":1}\n[0.1,\"o\",\"one\"]\n[0.2,\"o\",\"tw",
		"foreign": "{\"version\":2,\"width\":1,\"height\":1}\n[0.1,\"o\",\"one\"]\n[]\n",
	} {
		got := ""
		if _, err := Read(strings.NewReader(file), func(e Event) error { got += e.Text; return nil }); err != nil || got != "one" {
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
	for _, file := range []string{"", "nothing", "{\"version\":1}\n"} {
		if _, err := Read(strings.NewReader(file), func(Event) error { return nil }); err == nil {
			t.Errorf("%q was read", file)
		}
	}
}
