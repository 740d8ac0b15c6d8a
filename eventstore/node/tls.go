package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"baton/eventstore/membership"
)

// TLS is the certificates of a secure node: its own, by files or issued by an
// authority whose directory it has, and the roots that it trusts. It gives the
// configurations of all listeners and dialers; what is loaded anew counts from the
// next connection on. All methods may be called from any goroutine; nil is an
// insecure node's, and gives nil.
type TLS struct {
	o      TLSOptions
	logger *slog.Logger
	every  time.Duration // looks after the files
	state  atomic.Pointer[tlsState]

	mu     sync.Mutex // of loading
	member membership.MemberID
	warned time.Duration // the least time to expiry that was warned of

	users userCertificates
}

// TLSOptions say where certificates come from: from files, or, without CertFile,
// from the authority.
type TLSOptions struct {
	CertFile, KeyFile string // PEM
	// Roots is a file or a directory with the trusted roots in PEM form; "" trusts
	// the authority, and without one those of the system towards servers, and nobody
	// as node or user.
	Roots string
	// CommonName marks certificates of nodes; "" takes that of the own one.
	CommonName string
	// AuthorityDir holds ca.crt and ca.key. They are made if they are missing and
	// MayMake is set.
	AuthorityDir string
	MayMake      bool
	// Hosts are what a certificate issued by the authority is valid for.
	Hosts  []string
	Logger *slog.Logger
}

// tlsState is one loaded set. Immutable.
type tlsState struct {
	certificate *tls.Certificate
	roots       *x509.CertPool // nil: those of the system
	root        *x509.CertPool // of the one that the own certificate leads to; nil if none is known
	commonName  string
	stamp       string // of the files
}

// Times of looking after certificates.
const (
	lookEvery = 5 * time.Second
	// renewBefore is the part of its life at whose beginning an issued certificate is replaced.
	renewBefore = 3 // the last third
)

// expiryWarnings are the times to expiry at which a certificate from files is warned of.
var expiryWarnings = []time.Duration{30 * 24 * time.Hour, 7 * 24 * time.Hour, 24 * time.Hour}

// LoadTLS reads the certificates, or finds that an authority is there or may be
// made; it writes nothing. Errors are sentences for the operator, in terms of the
// options of the command line.
func LoadTLS(o TLSOptions) (*TLS, error) {
	t := &TLS{o: o, logger: o.Logger, every: lookEvery}
	if t.logger == nil {
		t.logger = slog.New(slog.DiscardHandler)
	}
	t.users.tls = t
	if t.issued() {
		return t, t.checkAuthority()
	}
	return t, t.load()
}

// issued says that the own certificate comes from the authority.
func (t *TLS) issued() bool { return t.o.CertFile == "" }

// identify tells whose certificates these are; before, there are none from an
// authority.
func (t *TLS) identify(id membership.MemberID) error {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	t.member = id
	t.mu.Unlock()
	if !t.issued() {
		return nil
	}
	return t.load()
}

// Reload reads everything anew. On an error the certificates stay as they are.
func (t *TLS) Reload() error {
	if t == nil {
		return nil
	}
	return t.load()
}

func (t *TLS) load() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	state, err := t.read()
	if err != nil {
		return err
	}
	leaf := state.certificate.Leaf
	if old := t.state.Swap(state); old != nil {
		t.logger.Info("certificates are loaded anew", "validUntil", leaf.NotAfter.Format(time.DateOnly), "serial", leaf.SerialNumber.Text(16))
	}
	t.warned = 0
	return nil
}

// Watch loads certificates anew when their files change or a value comes from now,
// renews issued ones, and warns of those that are about to expire, until ctx ends.
func (t *TLS) Watch(ctx context.Context, now <-chan struct{}) {
	if t == nil {
		return
	}
	tick := time.NewTicker(t.every)
	defer tick.Stop()
	failed := "" // the stamp that could not be loaded
	for {
		forced := false
		select {
		case <-ctx.Done():
			return
		case <-now:
			forced = true
		case <-tick.C:
		}
		state := t.state.Load()
		stamp := t.stamp()
		if forced || t.due(state) || stamp != state.stamp && stamp != failed {
			failed = ""
			if err := t.load(); err != nil {
				failed = stamp
				t.logger.Error("the certificates cannot be loaded anew; those from before stay in use", "error", err)
			}
		}
		t.warn()
	}
}

// due says that an issued certificate is to be replaced.
func (t *TLS) due(s *tlsState) bool {
	if !t.issued() {
		return false
	}
	leaf := s.certificate.Leaf
	return time.Until(leaf.NotAfter) < leaf.NotAfter.Sub(leaf.NotBefore)/renewBefore
}

// warn says once for each of expiryWarnings that the certificate is about to expire.
func (t *TLS) warn() {
	if t.issued() {
		return
	}
	left := time.Until(t.state.Load().certificate.Leaf.NotAfter)
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range slices.Backward(expiryWarnings) {
		if left > w {
			continue
		}
		if t.warned == 0 || w < t.warned {
			t.warned = w
			t.logger.Warn("this node's certificate is about to expire: replace its files, they are read anew by themselves", "file", t.o.CertFile, "expiresIn", left.Round(time.Minute))
		}
		return
	}
}

func (t *TLS) getCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return t.state.Load().certificate, nil
}

func (t *TLS) getClientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return t.state.Load().certificate, nil
}

// Server is for the client port. Clients may show a certificate; what it proves
// says User.
func (t *TLS) Server() *tls.Config {
	if t == nil {
		return nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: t.getCertificate}
	if s := t.state.Load(); s.root != nil {
		c.ClientAuth, c.ClientCAs = tls.RequestClientCert, s.root
	}
	return c
}

// peerServer is for the port of other nodes, which must show a node's certificate.
func (t *TLS) peerServer() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: t.getCertificate, ClientAuth: tls.RequireAnyClientCert,
		VerifyConnection: func(state tls.ConnectionState) error {
			return t.isNode(state.PeerCertificates, x509.ExtKeyUsageClientAuth)
		}}
}

// peerClient is for one dial to another node's peer port.
func (t *TLS) peerClient() *tls.Config {
	c := t.seed()
	c.MinVersion = tls.VersionTLS13
	c.VerifyConnection = func(state tls.ConnectionState) error {
		return t.isNode(state.PeerCertificates, x509.ExtKeyUsageServerAuth)
	}
	return c
}

// seed is for one request to another node's client port.
func (t *TLS) seed() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: t.state.Load().roots, GetClientCertificate: t.getClientCertificate}
}

// isNode refuses certificates that do not lead to a trusted root or do not belong
// to a node.
func (t *TLS) isNode(chain []*x509.Certificate, usage x509.ExtKeyUsage) error {
	s := t.state.Load()
	if len(chain) == 0 {
		return errors.New("no certificate was shown")
	}
	if s.roots == nil {
		return errors.New("no root certificates are trusted for nodes: give trusted-root-certificates-path")
	}
	if _, err := chain[0].Verify(x509.VerifyOptions{Roots: s.roots, Intermediates: poolOf(chain[1:]), KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
		return err
	}
	if meant := chain[0].ExtKeyUsage; len(meant) > 0 && !slices.Contains(meant, x509.ExtKeyUsageServerAuth) && !slices.Contains(meant, x509.ExtKeyUsageAny) {
		return errors.New("the certificate is meant for clients: a node's is meant for servers too")
	}
	if name := chain[0].Subject.CommonName; name != s.commonName {
		return fmt.Errorf("certificate of %q is not that of a node (%q)", name, s.commonName)
	}
	return nil
}

func poolOf(list []*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, c := range list {
		pool.AddCert(c)
	}
	return pool
}
