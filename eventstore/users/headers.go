package users

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"hash"
	"sync"
)

// maxHeaders bounds the remembered headers of one generation; two are kept.
const maxHeaders = 8192

// headerKey stands for a header. The header cannot be found from it without the
// key, which only this process has: a dump of memory shows no passwords, and
// nobody can choose headers that collide.
type headerKey [sha256.Size]byte

// checked is a header that was checked against an account.
type checked struct {
	account *account
	right   bool
}

// headers remembers checked headers: wrong ones too, so that a client that repeats
// a wrong password costs no hash each time. It is bounded by two generations: when
// the young one is full it becomes the old one, and the old one is forgotten.
type headers struct {
	macs sync.Pool // of hash.Hash

	mu         sync.RWMutex
	young, old map[headerKey]checked
	running    map[headerKey]chan struct{} // headers being checked; closed when done
}

func newHeaders() *headers {
	secret := make([]byte, sha256.Size)
	_, _ = rand.Read(secret) // never fails
	h := &headers{young: map[headerKey]checked{}, running: map[headerKey]chan struct{}{}}
	h.macs.New = func() any { return &mac{hash: hmac.New(sha256.New, secret)} }
	return h
}

// mac is a keyed hash with the memory it needs.
type mac struct {
	hash hash.Hash
	in   []byte
	out  [sha256.Size]byte
}

func (h *headers) key(header string) headerKey {
	m := h.macs.Get().(*mac)
	m.hash.Reset()
	m.in = append(m.in[:0], header...)
	m.hash.Write(m.in)
	clear(m.in)
	k := headerKey(m.hash.Sum(m.out[:0]))
	h.macs.Put(m)
	return k
}

// find returns what is remembered of a header.
func (h *headers) find(k headerKey) (checked, bool) {
	h.mu.RLock()
	c, ok := h.young[k]
	if ok {
		h.mu.RUnlock()
		return c, true
	}
	c, ok = h.old[k]
	h.mu.RUnlock()
	if ok {
		h.put(k, c) // still in use
	}
	return c, ok
}

func (h *headers) put(k headerKey, c checked) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.young) >= maxHeaders {
		h.young, h.old = map[headerKey]checked{}, h.young
	}
	h.young[k] = c
}

// begin says that a header is about to be checked. If another caller does that
// already, it returns what to wait for, and the caller looks again.
func (h *headers) begin(k headerKey) (wait <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c, ok := h.running[k]; ok {
		return c
	}
	h.running[k] = make(chan struct{})
	return nil
}

func (h *headers) end(k headerKey) {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.running[k])
	delete(h.running, k)
}
