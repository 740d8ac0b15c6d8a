package node

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"baton/eventstore/membership"
	pki "baton/platform/identity"
)

// identifyPeer refuses a node that shows another member's certificate. One issued
// by an authority names its member. One from files names hosts: it must be valid
// for where the roster has the member, or, for one not in the roster yet, for where
// it says it can be reached. The chain has been checked.
func (n *Node) identifyPeer(c *x509.Certificate, id membership.MemberID, address string) error {
	if member := pki.MemberOf(c); member != "" {
		if member != id.String() {
			return fmt.Errorf("it shows the certificate of member %s", member)
		}
		return nil
	}
	if n.machine != nil { // else the log is being mended before it is opened
		if m, ok := n.machine.Roster().Find(id); ok && m.PeerAddr != "" {
			address = m.PeerAddr
		}
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("its address %q has no port", address)
	}
	if err := c.VerifyHostname(host); err != nil {
		return fmt.Errorf("its certificate is not valid for %s, where member %s is reached: give it one that is, or remove the member and let the node join anew", host, id)
	}
	return nil
}

// maxUserCertificates bounds the certificates that are remembered.
const maxUserCertificates = 1024

// userCertificates remembers checked certificates of clients. They are known by
// address: a connection keeps its own for as long as it lives, and what is kept here
// is not reused meanwhile.
type userCertificates struct {
	tls *TLS

	mu      sync.Mutex
	checked map[*x509.Certificate]userCertificate
}

type userCertificate struct {
	state *tlsState // it was checked against
	login string
	err   error
}

// User says whose certificate a client showed, leaf first: "" for a node's, which
// proves no user. A user's is meant for clients and not for servers, leads to the
// same root as the node's own, is in date, and names the login as common name.
func (t *TLS) User(chain []*x509.Certificate) (login string, err error) {
	state, leaf := t.state.Load(), chain[0]
	if time.Now().After(leaf.NotAfter) {
		return "", errors.New("the client's certificate has expired")
	}
	u := &t.users
	u.mu.Lock()
	known, ok := u.checked[leaf]
	u.mu.Unlock()
	if ok && known.state == state {
		return known.login, known.err
	}
	known = userCertificate{state: state}
	known.login, known.err = userOf(state, chain)
	u.mu.Lock()
	if u.checked == nil || len(u.checked) >= maxUserCertificates {
		u.checked = make(map[*x509.Certificate]userCertificate)
	}
	u.checked[leaf] = known
	u.mu.Unlock()
	return known.login, known.err
}

func userOf(state *tlsState, chain []*x509.Certificate) (string, error) {
	leaf := chain[0]
	switch {
	case state.root == nil, slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth):
		return "", nil
	case leaf.IsCA, !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth):
		return "", errors.New("the client's certificate is not meant for clients")
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: state.root, Intermediates: poolOf(chain[1:]), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return "", fmt.Errorf("the client's certificate is not trusted: %w", err)
	}
	if leaf.Subject.CommonName == "" {
		return "", errors.New("the client's certificate names nobody")
	}
	return leaf.Subject.CommonName, nil
}
