package cast

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Seal encrypts line number n of a recording, counted from 0, as one line of
// text without its end. It must begin with SealedPrefix.
type Seal func(line []byte, n int) string

// Unseal is the opposite. Errors: a line that is not line n of this recording.
type Unseal func(sealed string, n int) ([]byte, error)

// SealedPrefix begins every sealed line, and no other.
const SealedPrefix = "baton-seal:"

// maxSealedLine bounds a sealed line: base64 of a line, with what a seal adds.
const maxSealedLine = MaxBytes/3*4 + 1024

// Open reads a recording in clear, sealed or not, as far as it is written. An
// error tells that its first line cannot be read; a later one is an error of
// Read. Closing it closes f.
func Open(f io.ReadCloser, unseal Unseal) (io.ReadCloser, error) {
	r := bufio.NewReaderSize(f, 64<<10)
	if head, _ := r.Peek(len(SealedPrefix)); !bytes.Equal(head, []byte(SealedPrefix)) {
		return struct {
			io.Reader
			io.Closer
		}{r, f}, nil
	}
	if unseal == nil {
		f.Close()
		return nil, errors.New("the recording is sealed and the key is not here")
	}
	u := &unsealed{f: f, r: r, unseal: unseal}
	if err := u.next(); err != nil && !errors.Is(err, io.EOF) {
		f.Close()
		return nil, err
	}
	return u, nil
}

type unsealed struct {
	f      io.Closer
	r      *bufio.Reader
	unseal Unseal
	lines  int
	clear  []byte // of the present line, what was not read yet
}

// next opens the next line. A last one without an end is still being written,
// or was cut off by a crash.
func (u *unsealed) next() error {
	var line []byte
	for {
		part, err := u.r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull) && len(line) < maxSealedLine:
			continue
		case errors.Is(err, bufio.ErrBufferFull):
			return fmt.Errorf("open line %d of a recording: it is longer than any", u.lines+1)
		case err != nil:
			return err
		}
		break
	}
	clear, err := u.unseal(string(bytes.TrimSuffix(line, []byte{'\n'})), u.lines)
	if err != nil {
		return fmt.Errorf("open line %d of a recording: %w", u.lines+1, err)
	}
	u.lines++
	u.clear = clear
	return nil
}

// Read implements io.Reader.
func (u *unsealed) Read(p []byte) (int, error) {
	for len(u.clear) == 0 {
		if err := u.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, u.clear)
	u.clear = u.clear[n:]
	return n, nil
}

// Close implements io.Closer.
func (u *unsealed) Close() error { return u.f.Close() }
