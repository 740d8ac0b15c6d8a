// Package seal keeps secrets unreadable where they are stored: passwords and
// credentials in the journal, the key of each backup in its header. One master
// key, which lives outside of all of that, opens them.
//
// A sealed value is bound to a context, the name of the place it belongs to
// ("target:nightly:credentials"): copied to another place it does not open.
// The format is drawn in docs/formats.md.
//
// A Box may be used from many goroutines.
package seal

import (
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"
)

// MasterKeyVariable holds the master key, 32 bytes in base64 or hexadecimal
// digits, instead of a file. Control nodes of one control plane need the same.
const MasterKeyVariable = "BATON_MASTER_KEY"

// KeySize is the bytes of a master key.
const KeySize = chacha20poly1305.KeySize

const (
	// prefix begins every sealed value and names its format.
	prefix = "baton-seal:1:"
	// idSize is the bytes of the key's id in front of the nonce: enough to tell a wrong key
	// from a damaged value, too few to help in guessing.
	idSize = 4
)

// Errors of Open and of Box.Open.
var (
	// ErrWrongKey: the value was sealed with another master key.
	ErrWrongKey = errors.New("sealed with another master key")
	// ErrDamaged: the value was changed, cut off, or belongs to another place.
	ErrDamaged = errors.New("the sealed value is damaged or belongs to another place")
	// ErrExposed: the key file may be read by others.
	ErrExposed = errors.New("the master key may be read by other users")
	// ErrBadKey: what should be a master key is none.
	ErrBadKey = errors.New("a master key is 32 bytes in base64 or hexadecimal digits")
)

// Box seals and opens with one master key.
type Box struct {
	aead cipher.AEAD
	id   [idSize]byte
}

// Open takes the master key from BATON_MASTER_KEY, or where that is not set
// from the file, which is made with a new key (0600) when it is missing. A file
// that others may read is refused: ErrExposed.
func Open(masterKeyFile string) (*Box, error) {
	if text := os.Getenv(MasterKeyVariable); text != "" {
		key, err := decodeKey(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", MasterKeyVariable, err)
		}
		return New(key)
	}
	key, err := readKey(masterKeyFile)
	if errors.Is(err, fs.ErrNotExist) {
		if err := createKey(masterKeyFile); err != nil {
			return nil, err
		}
		key, err = readKey(masterKeyFile) // maybe another process was faster: then its key counts
	}
	if err != nil {
		return nil, err
	}
	return New(key)
}

// New returns a box of the key, which must have KeySize bytes.
func New(key []byte) (*Box, error) {
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, fmt.Errorf("make a box: %w", ErrBadKey)
	}
	b := &Box{aead: aead}
	sum := sha256.Sum256(append([]byte("baton seal key id\x00"), key...))
	copy(b.id[:], sum[:])
	return b, nil
}

// Seal returns plain encrypted and bound to the context, as printable text
// without spaces. Two calls never give the same text.
func (b *Box) Seal(plain []byte, context string) string {
	out := make([]byte, idSize+chacha20poly1305.NonceSizeX, idSize+chacha20poly1305.NonceSizeX+len(plain)+b.aead.Overhead())
	copy(out, b.id[:])
	nonce := out[idSize:]
	_, _ = rand.Read(nonce) // never fails
	out = b.aead.Seal(out, nonce, plain, bind(context))
	return prefix + base64.RawURLEncoding.EncodeToString(out)
}

// Open returns what was sealed for the context. Errors: ErrWrongKey, ErrDamaged.
func (b *Box) Open(sealed, context string) ([]byte, error) {
	text, ok := strings.CutPrefix(sealed, prefix)
	if !ok {
		return nil, fmt.Errorf("open a sealed value: %w", ErrDamaged)
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) < idSize+chacha20poly1305.NonceSizeX+b.aead.Overhead() {
		return nil, fmt.Errorf("open a sealed value: %w", ErrDamaged)
	}
	if [idSize]byte(raw[:idSize]) != b.id {
		return nil, fmt.Errorf("open a sealed value: %w", ErrWrongKey)
	}
	raw = raw[idSize:]
	plain, err := b.aead.Open(nil, raw[:chacha20poly1305.NonceSizeX], raw[chacha20poly1305.NonceSizeX:], bind(context))
	if err != nil {
		return nil, fmt.Errorf("open a sealed value: %w", ErrDamaged)
	}
	return plain, nil
}

// IsSealed tells whether s looks like a sealed value, opened by whatever key.
func IsSealed(s string) bool { return strings.HasPrefix(s, prefix) }

// bind is the additional data: the format's name keeps other uses of the key apart.
func bind(context string) []byte { return []byte(prefix + context) }

func decodeKey(text string) ([]byte, error) {
	text = strings.TrimSpace(text)
	if key, err := hex.DecodeString(text); err == nil && len(key) == KeySize {
		return key, nil
	}
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if key, err := enc.DecodeString(text); err == nil && len(key) == KeySize {
			return key, nil
		}
	}
	return nil, ErrBadKey
}

func readKey(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read the master key: %w", err)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s has mode %04o: %w; chmod 600 it, and replace the key if somebody may have read it", path, st.Mode().Perm(), ErrExposed)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the master key: %w", err)
	}
	key, err := decodeKey(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// createKey makes a new key file unless there is one. The link is what creates
// it: of two processes one wins, and nobody ever sees half a key.
func createKey(path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the directory of the master key: %w", err)
	}
	var key [KeySize]byte
	_, _ = rand.Read(key[:])
	f, err := os.CreateTemp(dir, ".master-key.*") // 0600
	if err != nil {
		return fmt.Errorf("make the master key: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(base64.StdEncoding.EncodeToString(key[:]) + "\n")
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		if err = os.Link(f.Name(), path); errors.Is(err, fs.ErrExist) {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("make the master key: %w", err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync the directory of the master key: %w", err)
	}
	defer d.Close()
	return d.Sync()
}
