package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	// TokenLife is how long a join token can be used.
	TokenLife = 15 * time.Minute
	// secretBytes of randomness in a token: twice the floor of 128 bits.
	secretBytes = 32
	// maxTokens bounds the tokens that are valid at one time.
	maxTokens = 1000

	tokenPrefix = "baton-join."
)

// ErrToken: the secret is unknown, used or expired; which of these is not told.
var ErrToken = errors.New("join token is unknown, already used or expired; make a new one")

// JoinToken is what a joiner is given: where to go, whom to trust there, and a
// secret to be let in with.
type JoinToken struct {
	Address       string `json:"a"` // host:port of the control plane's agent listener
	CAFingerprint string `json:"f"` // SHA-256 of the authority's certificate, hex
	Secret        string `json:"s"`
}

// String is the token as one word to copy.
func (t JoinToken) String() string {
	b, _ := json.Marshal(t)
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(b)
}

// ParseToken reads a token. Errors never repeat the token's text.
func ParseToken(s string) (JoinToken, error) {
	var t JoinToken
	rest, ok := strings.CutPrefix(strings.TrimSpace(s), tokenPrefix)
	if !ok {
		return t, fmt.Errorf("a join token begins with %q; copy the whole word", tokenPrefix)
	}
	b, err := base64.RawURLEncoding.DecodeString(rest)
	if err != nil {
		return t, errors.New("join token is damaged; copy the whole word")
	}
	if err := json.Unmarshal(b, &t); err != nil || t.Address == "" || len(t.CAFingerprint) != 64 || t.Secret == "" {
		return JoinToken{}, errors.New("join token is damaged; copy the whole word")
	}
	return t, nil
}

// Tokens are the valid join tokens, kept in one file as hashes.
type Tokens struct {
	path string
	now  func() time.Time

	mu   sync.Mutex
	list []storedToken
}

type storedToken struct {
	Hash    string    `json:"hash"` // SHA-256 of the secret, hex
	Purpose string    `json:"purpose"`
	Expires time.Time `json:"expires"`
}

// OpenTokens opens the token file, which need not exist yet.
func OpenTokens(path string) (*Tokens, error) {
	t := &Tokens{path: path, now: time.Now}
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return t, nil
	case err != nil:
		return nil, fmt.Errorf("read join tokens: %w", err)
	}
	if err := json.Unmarshal(b, &t.list); err != nil {
		return nil, fmt.Errorf("read join tokens in %s: %w", path, err)
	}
	return t, nil
}

// Issue makes a token's secret for one use within TokenLife.
func (t *Tokens) Issue(purpose string) (secret string, err error) {
	var b [secretBytes]byte
	rand.Read(b[:])
	secret = base64.RawURLEncoding.EncodeToString(b[:])
	t.mu.Lock()
	defer t.mu.Unlock()
	next := t.valid()
	if len(next) >= maxTokens {
		return "", fmt.Errorf("%d join tokens are waiting to be used; let some expire first", maxTokens)
	}
	next = append(next, storedToken{Hash: hash(secret), Purpose: purpose, Expires: t.now().Add(TokenLife)})
	if err := t.save(next); err != nil {
		return "", err
	}
	return secret, nil
}

// Redeem uses a secret up. It succeeds at most once per secret, also across
// restarts: the use is on disk before it returns. Errors: ErrToken, I/O.
func (t *Tokens) Redeem(secret, purpose string) error {
	want := []byte(hash(secret))
	t.mu.Lock()
	defer t.mu.Unlock()
	found := false
	var next []storedToken
	for _, s := range t.valid() {
		if subtle.ConstantTimeCompare([]byte(s.Hash), want) == 1 && s.Purpose == purpose {
			found = true
			continue
		}
		next = append(next, s)
	}
	if !found {
		return ErrToken
	}
	return t.save(next)
}

func (t *Tokens) valid() []storedToken {
	now := t.now()
	var out []storedToken
	for _, s := range t.list {
		if now.Before(s.Expires) {
			out = append(out, s)
		}
	}
	return out
}

func (t *Tokens) save(list []storedToken) error {
	b, err := json.Marshal(list)
	if err != nil {
		return err
	}
	if err := WriteFile(t.path, b, 0o600); err != nil {
		return err
	}
	t.list = list
	return nil
}

func hash(secret string) string {
	s := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(s[:])
}
