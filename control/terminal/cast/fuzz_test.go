package cast

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

// Goal: a recording of any bytes is played as far as it goes or refused, sealed or not; what is played has come from whole lines.
func FuzzRead(f *testing.F) {
	sealFor, openFor := sealing(f, "k")
	head, line := `{"version":2,"width":80,"height":24}`, `[1.5,"o","hello"]`
	f.Add([]byte(head + "\n" + line + "\n" + line[:7]))
	f.Add([]byte(sealFor("tm-1")([]byte(head), 0) + "\n" + sealFor("tm-1")([]byte(line), 1) + "\n"))
	f.Add([]byte(sealFor("tm-1")([]byte(line), 1) + "\n"))
	f.Add([]byte(head + "\n[1e400,\"o\",\"\"]\n[null,null,null]\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, file []byte) {
		r, err := Open(io.NopCloser(bytes.NewReader(file)), openFor("tm-1"))
		if err != nil {
			return
		}
		defer r.Close()
		events := 0
		_, _ = Read(r, func(Event) error { events++; return nil })
		if lines := bytes.Count(file, []byte("\n")) + 1; events > lines {
			t.Fatalf("%d events of %d lines", events, lines)
		}
		_, _ = Read(strings.NewReader(string(file)), func(Event) error { return nil })
	})
}
