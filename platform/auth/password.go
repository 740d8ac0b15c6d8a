package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
)

// Cost of a password hash: 64 MiB, 3 passes, 1 lane. Stored with each hash, so
// that it can be raised later.
const (
	argonMemoryKiB = 64 << 10
	argonPasses    = 3
	argonLanes     = 1
	saltBytes      = 16
	keyBytes       = 32
)

// MinPassword and MaxPassword bound a password's length in characters and
// bytes.
const (
	MinPassword = 12
	MaxPassword = 1024
)

// maxHashes is how many hashes run at once in this process: 128 MiB, so that
// sign-ins cannot exhaust memory. maxWaiting is how many more may wait.
const (
	maxHashes  = 2
	maxWaiting = 32
)

// Errors of passwords.
var (
	// ErrBusy: too many sign-ins wait; try again in a moment.
	ErrBusy = errors.New("too many sign-ins at this moment")
	// ErrMalformedHash: the stored hash is not one of ours.
	ErrMalformedHash = errors.New("stored password hash is malformed")
)

var (
	hashing = make(chan struct{}, maxHashes)
	waiting = make(chan struct{}, maxHashes+maxWaiting)
)

// slot waits for one of the slots to hash in.
func slot(ctx context.Context) (release func(), err error) {
	select {
	case waiting <- struct{}{}:
	default:
		return nil, ErrBusy
	}
	select {
	case hashing <- struct{}{}:
		return func() { <-hashing; <-waiting }, nil
	case <-ctx.Done():
		<-waiting
		return nil, ctx.Err()
	}
}

// Cost is what a password hash costs.
type Cost struct {
	MemoryKiB, Passes uint32
	Lanes             uint8
}

// DefaultCost is that of HashPassword.
var DefaultCost = Cost{MemoryKiB: argonMemoryKiB, Passes: argonPasses, Lanes: argonLanes}

// HashPassword returns the hash to store, with its salt and cost in it.
func HashPassword(ctx context.Context, password string) (string, error) {
	return HashPasswordAt(ctx, password, DefaultCost)
}

// HashPasswordAt is HashPassword at a cost. VerifyPassword takes what the hash
// says.
func HashPasswordAt(ctx context.Context, password string, cost Cost) (string, error) {
	release, err := slot(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	salt := make([]byte, saltBytes)
	_, _ = rand.Read(salt) // never fails
	key := argon2.IDKey([]byte(password), salt, cost.Passes, cost.MemoryKiB, cost.Lanes, keyBytes)
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, cost.MemoryKiB, cost.Passes, cost.Lanes,
		b64.EncodeToString(salt), b64.EncodeToString(key)), nil
}

// unknownUser is what a password is compared with when there is no such user,
// so that the answer takes as long. Nothing hashes to it.
var unknownUser = fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemoryKiB, argonPasses, argonLanes,
	base64.RawStdEncoding.EncodeToString(make([]byte, saltBytes)), base64.RawStdEncoding.EncodeToString(make([]byte, keyBytes)))

// VerifyPassword compares a password with a stored hash. An empty hash stands
// for an unknown user: it takes as long and is never right.
func VerifyPassword(ctx context.Context, password, stored string) (bool, error) {
	known := stored != ""
	if !known {
		stored = unknownUser
	}
	var version int
	var memory, passes uint32
	var lanes uint8
	parts := strings.Split(stored, "$")
	if len(parts) != 6 || parts[1] != "argon2id" {
		return false, ErrMalformedHash
	}
	if _, err := fmt.Sscanf(parts[2], "v=%d", &version); err != nil || version != argon2.Version {
		return false, ErrMalformedHash
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &passes, &lanes); err != nil || passes < 1 || lanes < 1 || memory > 1<<20 {
		return false, ErrMalformedHash
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(parts[4])
	want, err2 := base64.RawStdEncoding.DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(want) != keyBytes {
		return false, ErrMalformedHash
	}
	release, err := slot(ctx)
	if err != nil {
		return false, err
	}
	defer release()
	key := argon2.IDKey([]byte(password), salt, passes, memory, lanes, keyBytes)
	return subtle.ConstantTimeCompare(key, want) == 1 && known, nil
}

//go:embed common.txt
var commonText string

var common = func() map[string]bool {
	m := map[string]bool{}
	for _, l := range strings.Split(commonText, "\n") {
		if l = strings.TrimSpace(l); l != "" && !strings.HasPrefix(l, "#") {
			m[l] = true
		}
	}
	return m
}()

// CheckPassword tells in a sentence why a password is too weak, "" when it
// is not.
func CheckPassword(password, username string) string {
	lower := strings.ToLower(password)
	core := strings.Trim(lower, "0123456789!?.@#$%&*-_+= ")
	switch {
	case utf8.RuneCountInString(password) < MinPassword:
		return fmt.Sprintf("it needs at least %d characters", MinPassword)
	case len(password) > MaxPassword:
		return fmt.Sprintf("it may have at most %d bytes", MaxPassword)
	case common[lower] || common[core] || common[unleet(core)]:
		return "it is one of the passwords tried first by everybody who guesses"
	case username != "" && strings.Contains(lower, strings.ToLower(username)) && len(lower) < len(username)+6:
		return "it is little more than the user's name"
	case distinct(lower) < 5:
		return "it repeats too few characters"
	case sequence(lower):
		return "it is a sequence"
	}
	return ""
}

var leet = strings.NewReplacer("0", "o", "1", "l", "3", "e", "4", "a", "5", "s", "7", "t", "@", "a", "$", "s")

func unleet(s string) string { return leet.Replace(s) }

func distinct(s string) int {
	seen := map[rune]bool{}
	for _, r := range s {
		seen[r] = true
	}
	return len(seen)
}

// rows are what fingers and counting produce.
var rows = []string{"01234567890123456789", "98765432109876543210", "abcdefghijklmnopqrstuvwxyz", "qwertyuiopasdfghjklzxcvbnm", "qwertzuiopasdfghjklyxcvbnm", "1q2w3e4r5t6y7u8i9o0p", "1qaz2wsx3edc4rfv5tgb6yhn7ujm"}

func sequence(s string) bool {
	for _, r := range rows {
		if strings.Contains(r, s) {
			return true
		}
	}
	return false
}
