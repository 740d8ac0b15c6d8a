// Package identity issues and checks who a process is: a certificate authority
// of our own (ECDSA P-256), certificates for nodes, agents and the control
// plane, and one-use join tokens.
//
// A certificate names its holder by kind and id in its subject (organizational
// unit and common name). Whoever accepts a peer checks both, not only the chain: a
// client certificate can never act as a node, nor a node's as an agent's.
// Private keys never leave the machine they were made on and are stored 0600.
package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

const (
	// caValidity and leafValidity: leaves are renewed by Renew long before
	// they end; the authority outlives several machines.
	caValidity   = 10 * 365 * 24 * time.Hour
	leafValidity = 365 * 24 * time.Hour
	// backdate tolerates a joiner's clock that is a little behind.
	backdate = 10 * time.Minute
)

// Kind says what a certificate's holder is.
type Kind string

// Kinds of holders: the control plane's own server, an agent, an event-store
// node (client and server).
const (
	KindControl Kind = "control"
	KindAgent   Kind = "agent"
	KindNode    Kind = "node"
)

// Identity is the holder of a certificate.
type Identity struct {
	Kind Kind
	ID   string
}

// CA is a certificate authority kept in a directory.
type CA struct {
	cert *x509.Certificate
	pem  []byte
	key  *ecdsa.PrivateKey
}

// OpenCA opens the authority in dir (ca.crt, ca.key), making it when neither
// file exists. One file without the other is an error: nothing is replaced.
func OpenCA(dir string) (*CA, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make directory of the certificate authority: %w", err)
	}
	crtPath, keyPath := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key")
	crt, errCrt := os.ReadFile(crtPath)
	keyPEM, errKey := os.ReadFile(keyPath)
	switch {
	case errors.Is(errCrt, os.ErrNotExist) && errors.Is(errKey, os.ErrNotExist):
		return createCA(crtPath, keyPath)
	case errCrt != nil:
		return nil, fmt.Errorf("read certificate authority: %w", errCrt)
	case errKey != nil:
		return nil, fmt.Errorf("read key of the certificate authority: %w", errKey)
	}
	cert, err := parseCertificate(crt)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", crtPath, err)
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyPath, err)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, fmt.Errorf("%s does not belong to %s", keyPath, crtPath)
	}
	return &CA{cert: cert, pem: crt, key: key}, nil
}

func createCA(crtPath, keyPath string) (*CA, error) {
	key, keyPEM, err := NewKey()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	tmpl := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "Baton cluster authority"},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(caValidity),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("make certificate authority: %w", err)
	}
	crt := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	// The key goes first: a certificate without its key would be useless, and
	// OpenCA refuses either alone.
	if err := WriteFile(keyPath, keyPEM, 0o600); err != nil {
		return nil, err
	}
	if err := WriteFile(crtPath, crt, 0o644); err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &CA{cert: cert, pem: crt, key: key}, nil
}

// CertificatePEM is the authority's certificate.
func (c *CA) CertificatePEM() []byte { return c.pem }

// Fingerprint is the SHA-256 of the authority's certificate, in hex.
func (c *CA) Fingerprint() string { return fingerprint(c.cert.Raw) }

func fingerprint(der []byte) string {
	s := sha256.Sum256(der)
	return hex.EncodeToString(s[:])
}

// Sign issues a client certificate for the request's key to the identity. Names
// in the request are ignored: the issuer decides who the holder is.
func (c *CA) Sign(csrDER []byte, who Identity) (certPEM []byte, err error) {
	req, err := parseRequest(csrDER)
	if err != nil {
		return nil, err
	}
	return c.issue(req.PublicKey, who, nil, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth})
}

// IssueNode makes a key and a certificate that is valid as server for hosts and
// as client, for processes on this machine (demo nodes, the control plane).
func (c *CA) IssueNode(who Identity, hosts []string) (certPEM, keyPEM []byte, err error) {
	key, keyPEM, err := NewKey()
	if err != nil {
		return nil, nil, err
	}
	certPEM, err = c.issue(&key.PublicKey, who, hosts,
		[]x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth})
	return certPEM, keyPEM, err
}

func (c *CA) issue(pub crypto.PublicKey, who Identity, hosts []string, usage []x509.ExtKeyUsage) ([]byte, error) {
	now := time.Now()
	tmpl := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: who.ID, OrganizationalUnit: []string{string(who.Kind)}},
		NotBefore:    now.Add(-backdate), NotAfter: now.Add(leafValidity),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: usage, BasicConstraintsValid: true,
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else if h != "" {
			tmpl.DNSNames = append(tmpl.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, c.cert, pub, c.key)
	if err != nil {
		return nil, fmt.Errorf("issue certificate for %s %s: %w", who.Kind, who.ID, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// ServerConfig is TLS for a listener of the control plane: its own certificate
// for hosts; client certificates are verified when given (joining has none yet).
func (c *CA) ServerConfig(hosts []string) (*tls.Config, error) {
	certPEM, keyPEM, err := c.IssueNode(Identity{KindControl, ServerName}, append([]string{ServerName, "localhost", "127.0.0.1", "::1"}, hosts...))
	if err != nil {
		return nil, err
	}
	// The chain carries the authority so that a joiner can check its fingerprint.
	pair, err := tls.X509KeyPair(append(certPEM, c.pem...), keyPEM)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair},
		ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: pool(c.cert),
	}, nil
}

// PeerConfigs are mutual TLS between the control nodes themselves, both ways:
// only holders of a control certificate are let in, and only they are trusted.
// An agent's certificate, of the same authority, is refused.
func (c *CA) PeerConfigs(id string) (server, client *tls.Config, err error) {
	certPEM, keyPEM, err := c.IssueNode(Identity{KindControl, id}, []string{ServerName})
	if err != nil {
		return nil, nil, err
	}
	pair, err := tls.X509KeyPair(append(certPEM, c.pem...), keyPEM)
	if err != nil {
		return nil, nil, err
	}
	onlyControl := func(cs tls.ConnectionState) error {
		who, err := PeerIdentity(cs)
		if err != nil {
			return err
		}
		if who.Kind != KindControl {
			return fmt.Errorf("a certificate of kind %q may not act as a control node", who.Kind)
		}
		return nil
	}
	server = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool(c.cert), VerifyConnection: onlyControl}
	client = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair},
		RootCAs: pool(c.cert), ServerName: ServerName, VerifyConnection: onlyControl}
	return server, client, nil
}

// ServerName is the name in every control plane certificate: agents verify it
// instead of the address they dialed, which may change.
const ServerName = "baton-control"

// ClientConfig is mutual TLS for an agent or node dialing the control plane.
func ClientConfig(certPEM, keyPEM, caPEM []byte) (*tls.Config, error) {
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("load certificate: %w", err)
	}
	ca, err := parseCertificate(caPEM)
	if err != nil {
		return nil, fmt.Errorf("load authority: %w", err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, RootCAs: pool(ca), ServerName: ServerName}, nil
}

// PinnedConfig is TLS for a joiner, which knows of the authority only its
// fingerprint: the server must present a chain that ends in exactly it.
func PinnedConfig(caFingerprint string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: ServerName,
		// The chain is verified below, against the pinned authority.
		InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			for _, crt := range cs.PeerCertificates {
				if crt.IsCA && fingerprint(crt.Raw) == caFingerprint {
					_, err := cs.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: pool(crt), DNSName: ServerName})
					return err
				}
			}
			return errors.New("the control plane's certificate is not from the authority named in the join token")
		},
	}
}

// PeerIdentity reads the verified peer of a TLS connection. It is an error
// when the peer presented no certificate or none that was verified.
func PeerIdentity(cs tls.ConnectionState) (Identity, error) {
	if len(cs.VerifiedChains) == 0 || len(cs.VerifiedChains[0]) == 0 {
		return Identity{}, errors.New("no verified client certificate; join first with a token")
	}
	s := cs.VerifiedChains[0][0].Subject
	if len(s.OrganizationalUnit) != 1 || s.CommonName == "" {
		return Identity{}, errors.New("client certificate names no holder")
	}
	return Identity{Kind: Kind(s.OrganizationalUnit[0]), ID: s.CommonName}, nil
}

func pool(c *x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(c)
	return p
}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err) // the system's random source does not fail
	}
	return n
}

// NewKey makes a P-256 key and its PKCS #8 PEM.
func NewKey() (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("encode key: %w", err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// NewRequest makes a certificate request (DER) for the key.
func NewRequest(key *ecdsa.PrivateKey) ([]byte, error) {
	return x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
}

// RequestFor makes a certificate request (DER) for a key in PEM, for renewals.
func RequestFor(keyPEM []byte) ([]byte, error) {
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, err
	}
	return NewRequest(key)
}

// CheckRequest tells whether a certificate request is well formed, proves
// possession of its key, and the key is of a kind we sign.
func CheckRequest(csrDER []byte) error {
	_, err := parseRequest(csrDER)
	return err
}

func parseRequest(der []byte) (*x509.CertificateRequest, error) {
	req, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("read certificate request: %w", err)
	}
	if err := req.CheckSignature(); err != nil {
		return nil, fmt.Errorf("certificate request is not signed by its own key: %w", err)
	}
	pub, ok := req.PublicKey.(*ecdsa.PublicKey)
	if !ok || pub.Curve != elliptic.P256() {
		return nil, errors.New("certificate request must carry an ECDSA P-256 key")
	}
	return req, nil
}

func parseCertificate(data []byte) (*x509.Certificate, error) {
	b, _ := pem.Decode(data)
	if b == nil || b.Type != "CERTIFICATE" {
		return nil, errors.New("no PEM certificate in it")
	}
	return x509.ParseCertificate(b.Bytes)
}

func parseKey(data []byte) (*ecdsa.PrivateKey, error) {
	b, _ := pem.Decode(data)
	if b == nil {
		return nil, errors.New("no PEM key in it")
	}
	k, err := x509.ParsePKCS8PrivateKey(b.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := k.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("not an ECDSA key")
	}
	return key, nil
}
