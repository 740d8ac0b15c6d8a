// Package grant hands an agent what it needs for one piece of work with one
// backup: the target's credentials and the backup's own key. The agent makes a
// key pair that lives in its memory only; the control plane encrypts the
// grant to the public key (HPKE, RFC 9180: X25519, HKDF-SHA256,
// ChaCha20-Poly1305), bound to the backup and the agent. So an order may be
// logged, kept or repeated by anything between without showing a secret, and a
// grant is useless after the agent ended or its time ran out.
package grant

import (
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"baton/control/backup/target"
)

// Lifetime of a key pair, and so of every grant: longer than between asking for the
// key and sending the order, shorter than anybody needs to find an old order.
const Lifetime = 10 * time.Minute

// maxKeys bounds the key pairs an agent keeps.
const maxKeys = 64

// ErrGrant: the grant does not open: it is for another agent, its time is
// over, the agent was restarted since, or it was changed.
var ErrGrant = errors.New("the grant is not valid here: its time is over, or the agent was restarted since; the operation may be started again")

// Grant is what it holds.
type Grant struct {
	Target target.Config `json:"target"`
	// Key is the backup's own key.
	Key []byte `json:"key"`
	// SealedKey is the same, sealed by the master key, for the header of a
	// new backup.
	SealedKey string `json:"sealedKey,omitempty"`
}

// String and GoString keep a grant out of logs.
func (Grant) String() string { return "a grant" }

// GoString keeps %#v from printing secrets.
func (Grant) GoString() string { return "a grant" }

// Seal encrypts a grant for the agent that answered with public, for one
// purpose ("take cache/b-17").
func Seal(public, purpose string, g Grant) (string, error) {
	raw, err := base64.RawURLEncoding.DecodeString(public)
	if err != nil {
		return "", fmt.Errorf("key of the agent: %w", err)
	}
	pk, err := ecdh.X25519().NewPublicKey(raw)
	if err != nil {
		return "", fmt.Errorf("key of the agent: %w", err)
	}
	to, err := hpke.NewDHKEMPublicKey(pk)
	if err != nil {
		return "", fmt.Errorf("key of the agent: %w", err)
	}
	plain, err := json.Marshal(g)
	if err != nil {
		return "", fmt.Errorf("encode the grant: %w", err)
	}
	sealed, err := hpke.Seal(to, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), info(purpose), plain)
	if err != nil {
		return "", fmt.Errorf("seal the grant: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(append(raw, sealed...)), nil
}

func info(purpose string) []byte { return []byte("baton grant 1\x00" + purpose) }

// publicBytes is the size of a public key.
const publicBytes = 32

// Keyring holds an agent's key pairs. The zero value is ready; it may be used
// from many goroutines.
type Keyring struct {
	mu   sync.Mutex
	keys map[[publicBytes]byte]pair
}

type pair struct {
	key   *ecdh.PrivateKey
	until time.Time
}

// New makes a key pair and returns the public key.
func (k *Keyring) New(now time.Time) (string, error) {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return "", fmt.Errorf("make a key: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.keys == nil {
		k.keys = map[[publicBytes]byte]pair{}
	}
	for id, p := range k.keys {
		if now.After(p.until) {
			delete(k.keys, id)
		}
	}
	if len(k.keys) >= maxKeys {
		return "", fmt.Errorf("%d grants are waited for already", len(k.keys))
	}
	public := key.PublicKey().Bytes()
	k.keys[[publicBytes]byte(public)] = pair{key, now.Add(Lifetime)}
	return base64.RawURLEncoding.EncodeToString(public), nil
}

// Open opens a grant for its purpose. A key pair opens one grant only.
func (k *Keyring) Open(sealed, purpose string, now time.Time) (Grant, error) {
	var g Grant
	raw, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil || len(raw) <= publicBytes {
		return g, ErrGrant
	}
	k.mu.Lock()
	id := [publicBytes]byte(raw[:publicBytes])
	p, ok := k.keys[id]
	delete(k.keys, id)
	k.mu.Unlock()
	if !ok || now.After(p.until) {
		return g, ErrGrant
	}
	mine, err := hpke.NewDHKEMPrivateKey(p.key)
	if err != nil {
		return g, fmt.Errorf("open the grant: %w", err)
	}
	plain, err := hpke.Open(mine, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), info(purpose), raw[publicBytes:])
	if err != nil {
		return g, ErrGrant
	}
	if err := json.Unmarshal(plain, &g); err != nil {
		return Grant{}, ErrGrant
	}
	return g, nil
}
