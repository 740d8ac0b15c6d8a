package container

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"math/rand"
	"strings"
	"testing"
	"testing/iotest"
)

// file encrypts a dump of n bytes.
func file(t testing.TB, n int, id string, key []byte) (plain, sealed []byte) {
	t.Helper()
	plain = make([]byte, n)
	rand.New(rand.NewSource(int64(n))).Read(plain)
	return plain, seal(t, plain, id, key)
}

func seal(t testing.TB, plain []byte, id string, key []byte) []byte {
	t.Helper()
	sum := sha256.Sum256(plain)
	e, err := NewEncrypter(Header{ID: id, Cluster: "c", Node: "r1", Engine: "redis", Kind: "rdb", Keys: map[string]int64{"0": 3, "5": 4}, Counted: true,
		PlainBytes: int64(len(plain)), PlainSHA256: hex.EncodeToString(sum[:]), SealedKey: "sealed"}, key, bytes.NewReader(plain))
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := io.ReadAll(e)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(sealed)) != e.Size() {
		t.Fatalf("%d bytes, announced %d", len(sealed), e.Size())
	}
	return sealed
}

func open(sealed io.Reader, key []byte) ([]byte, error) {
	d, err := Open(sealed)
	if err != nil {
		return nil, err
	}
	if err := d.SetKey(key); err != nil {
		return nil, err
	}
	return io.ReadAll(d)
}

// Goal: every size comes back as it was, also read in small pieces.
func TestDumpComesBack(t *testing.T) {
	key := NewKey()
	for _, n := range []int{0, 1, ChunkBytes - 1, ChunkBytes, ChunkBytes + 1, 3*ChunkBytes + 17, 4 * ChunkBytes} {
		plain, sealed := file(t, n, "b1", key)
		if n > 100 && bytes.Contains(sealed, plain[:64]) {
			t.Errorf("%d bytes: the dump shows in the file", n)
		}
		for name, r := range map[string]io.Reader{"whole": bytes.NewReader(sealed), "halves": iotest.HalfReader(bytes.NewReader(sealed)), "eof with data": iotest.DataErrReader(bytes.NewReader(sealed))} {
			got, err := open(r, key)
			if err != nil || !bytes.Equal(got, plain) {
				t.Errorf("%d bytes, %s: %d bytes came back, %v", n, name, len(got), err)
			}
		}
		d, err := Open(bytes.NewReader(sealed))
		if err != nil {
			t.Fatal(err)
		}
		if h := d.Header(); h.TotalKeys() != 7 || h.ID != "b1" || h.PlainBytes != int64(n) {
			t.Errorf("header %+v", h)
		}
	}
}

// Goal: one changed byte anywhere is found, and in a chunk the error says
// which. Method: a byte in each part of the file.
func TestOneChangedByteIsFoundAndNamed(t *testing.T) {
	key := NewKey()
	_, sealed := file(t, 2*ChunkBytes+100, "b1", key)
	head := len(sealed) - (2*ChunkBytes + 100) - 3*tagBytes
	for at := 0; at < head; at += 3 {
		bad := bytes.Clone(sealed)
		bad[at] ^= 4
		if _, err := open(bytes.NewReader(bad), key); err == nil {
			t.Errorf("byte %d of the header changed and it opened", at)
		}
	}
	for chunk, at := range map[int64]int{1: head + 5, 2: head + ChunkBytes + tagBytes, 3: len(sealed) - 1} {
		bad := bytes.Clone(sealed)
		bad[at] ^= 1
		_, err := open(bytes.NewReader(bad), key)
		var d *DamagedError
		if !errors.As(err, &d) || d.Chunk != chunk || d.Chunks != 3 || int64(at) < d.From || int64(at) >= d.To {
			t.Errorf("byte %d, in chunk %d: %v", at, chunk, err)
		}
	}
}

// Goal: a header exchanged as a whole, with a right checksum, does not go
// with the chunks.
func TestHeaderOfAnotherBackupIsRefused(t *testing.T) {
	key := NewKey()
	plain, one := file(t, ChunkBytes+5, "b1", key)
	two := seal(t, plain, "b2", key) // the same dump, the same key
	head := len(one) - len(plain) - 2*tagBytes
	if _, err := open(bytes.NewReader(append(bytes.Clone(two[:head]), one[head:]...)), key); err == nil {
		t.Error("the chunks of one backup opened under the header of another")
	}
}

// Goal: cut, reordered, repeated, exchanged and appended chunks are refused,
// also when the cut falls between two chunks.
func TestCutAndExchangedChunksAreRefused(t *testing.T) {
	key := NewKey()
	plain, sealed := file(t, 3*ChunkBytes, "b1", key)
	head := len(sealed) - len(plain) - 3*tagBytes
	size := ChunkBytes + tagBytes
	chunk := func(i int) []byte { return sealed[head+i*size : head+(i+1)*size] }
	build := func(parts ...[]byte) []byte { return bytes.Join(append([][]byte{sealed[:head]}, parts...), nil) }
	_, other := file(t, 3*ChunkBytes, "b2", key)
	cases := map[string][]byte{
		"cut in the header":      sealed[:head/2],
		"cut behind the header":  sealed[:head],
		"cut inside a chunk":     sealed[:head+size+10],
		"cut between chunks":     build(chunk(0), chunk(1)),
		"one byte short":         sealed[:len(sealed)-1],
		"middle chunk missing":   build(chunk(0), chunk(2)),
		"two chunks exchanged":   build(chunk(1), chunk(0), chunk(2)),
		"a chunk repeated":       build(chunk(0), chunk(0), chunk(2)),
		"last chunk repeated":    build(chunk(0), chunk(1), chunk(2), chunk(2)),
		"one byte more":          append(bytes.Clone(sealed), 0),
		"chunk of another":       build(chunk(0), other[len(other)-2*size:len(other)-size], chunk(2)),
		"empty":                  nil,
		"something else":         []byte(strings.Repeat("REDIS0011", 100)),
		"a header without chunk": sealed[:head],
	}
	for name, bad := range cases {
		if got, err := open(bytes.NewReader(bad), key); err == nil {
			t.Errorf("%s: %d bytes opened", name, len(got))
		}
	}
	if _, err := open(bytes.NewReader(sealed), NewKey()); err == nil {
		t.Error("another key opened it")
	}
}

// Goal: a dump that is not what the header announces makes no backup.
func TestDumpThatChangedMakesNoBackup(t *testing.T) {
	plain := make([]byte, ChunkBytes+10)
	sum := sha256.Sum256(plain)
	for name, d := range map[string][]byte{"longer": append(bytes.Clone(plain), 1), "shorter": plain[:len(plain)-1], "changed": append(bytes.Clone(plain[:len(plain)-1]), 9)} {
		e, err := NewEncrypter(Header{PlainBytes: int64(len(plain)), PlainSHA256: hex.EncodeToString(sum[:])}, NewKey(), bytes.NewReader(d))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(e); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// FuzzOpen: whatever is given, opening never panics and never succeeds with
// other bytes than were sealed.
func FuzzOpen(f *testing.F) {
	key := bytes.Repeat([]byte{7}, KeyBytes)
	plain, sealed := file(f, 300, "b1", key)
	f.Add(sealed)
	f.Add([]byte(magic))
	f.Add(sealed[:40])
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := open(bytes.NewReader(in), key)
		if err == nil && !bytes.Equal(got, plain) {
			t.Fatalf("%d bytes opened that nobody sealed", len(got))
		}
	})
}
