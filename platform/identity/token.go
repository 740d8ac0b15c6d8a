package identity

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

const (
	// TokenLife is how long a join token can be used.
	TokenLife = 15 * time.Minute

	tokenPrefix = "baton-join."
)

// ErrToken: the secret is unknown, used or expired; which of these is not told.
var ErrToken = errors.New("join token is unknown, already used or expired; make a new one")

// JoinToken is what a joiner is given: where to go, whom to trust there, and a
// secret to be let in with.
type JoinToken struct {
	Address string `json:"a"` // host:port of the control plane's agent listener
	// Others are the agent listeners of further control nodes.
	Others        []string `json:"o,omitempty"`
	CAFingerprint string   `json:"f"` // SHA-256 of the authority's certificate, hex
	Secret        string   `json:"s"`
}

// String is the token as one word to copy.
func (t JoinToken) String() string {
	b, _ := json.Marshal(t)
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(b)
}

// Addresses are all the places the joiner may go to, the best first.
func (t JoinToken) Addresses() []string { return append([]string{t.Address}, t.Others...) }

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
