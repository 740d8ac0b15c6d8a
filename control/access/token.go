package access

import (
	"encoding/json"
	"fmt"
	"time"

	"baton/platform/auth"
	"baton/platform/identity"
)

// Purposes of tokens.
const (
	PurposeAgent   = "agent"   // an agent joins
	PurposeControl = "control" // a further control node joins and receives the authority's key
	PurposeSetup   = "setup"   // the first user is made
)

const (
	// setupLife bounds the set-up link; a new start makes a new one.
	setupLife = 30 * 24 * time.Hour
	// maxTokens bounds the tokens that are valid at one time.
	maxTokens = 1000
)

const (
	tokenIssued = "token-issued"
	tokenUsed   = "token-used"
)

type token struct {
	Hash    string    `json:"hash"`
	Purpose string    `json:"purpose"`
	Expires time.Time `json:"expires"`
	// Alone says that tokens of the same purpose before it are void.
	Alone bool `json:"alone,omitempty"`
}

func (s *Store) takeToken(kind string, data []byte) error {
	var t token
	if err := json.Unmarshal(data, &t); err != nil {
		return err
	}
	now := s.now()
	for k, old := range s.tokens {
		if !now.Before(old.Expires) || kind == tokenIssued && t.Alone && old.Purpose == t.Purpose {
			delete(s.tokens, k)
		}
	}
	switch kind {
	case tokenIssued:
		s.tokens[t.Hash] = t
	case tokenUsed:
		delete(s.tokens, t.Hash)
	}
	return nil
}

// Issue makes a token's secret for one use: within identity.TokenLife, or for
// the set-up link until the next is made. It returns when any control node
// would take it.
func (s *Store) Issue(purpose string) (secret string, expires time.Time, err error) {
	secret = auth.NewSecret()
	t := token{Hash: auth.HashSecret(secret), Purpose: purpose, Expires: s.now().UTC().Add(identity.TokenLife)}
	if purpose == PurposeSetup {
		t.Alone, t.Expires = true, s.now().UTC().Add(setupLife)
	}
	err = s.decided(TokenStream, func() (string, any, error) {
		if s.valid() >= maxTokens {
			return "", nil, fmt.Errorf("%d join tokens are waiting to be used; let some expire first", maxTokens)
		}
		return tokenIssued, t, nil
	})
	return secret, t.Expires, err
}

func (s *Store) valid() (n int) {
	now := s.now()
	for _, t := range s.tokens {
		if now.Before(t.Expires) {
			n++
		}
	}
	return n
}

// Valid tells whether a secret could be redeemed now.
func (s *Store) Valid(secret, purpose string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.knows(secret, purpose)
}

// knows compares by hash, which leaks nothing of a secret of 256 bits. s.mu is
// held.
func (s *Store) knows(secret, purpose string) bool {
	t, ok := s.tokens[auth.HashSecret(secret)]
	return ok && t.Purpose == purpose && s.now().Before(t.Expires)
}

// Redeem uses a secret up. It succeeds at most once per secret over all
// control nodes: the use is in the journal before it returns. Errors:
// identity.ErrToken, or of the journal; then the secret may be used up.
func (s *Store) Redeem(secret, purpose string) error {
	return s.decided(TokenStream, func() (string, any, error) {
		if !s.knows(secret, purpose) {
			return "", nil, identity.ErrToken
		}
		return tokenUsed, token{Hash: auth.HashSecret(secret), Purpose: purpose}, nil
	})
}
