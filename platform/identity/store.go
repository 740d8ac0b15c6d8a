package identity

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"net"
	"net/url"
	"time"
)

// StoreNodeName is the common name of the certificates that an authority issues
// to nodes of an event store. It tells them from those of users.
const StoreNodeName = "baton-node"

// memberScheme and memberHost make the URI in a certificate that binds it to one
// member of a cluster: baton://member/ID.
const (
	memberScheme = "baton"
	memberHost   = "member"
)

// IssueStoreNode makes a key and a certificate for a node of an event store, valid
// for hosts as server and as client. With a member id it is that member's alone.
func (c *CA) IssueStoreNode(member string, hosts []string) (certPEM, keyPEM []byte, err error) {
	tmpl := c.template(StoreNodeName, KindNode, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else if h != "" {
			tmpl.DNSNames = append(tmpl.DNSNames, h)
		}
	}
	if member != "" {
		tmpl.URIs = []*url.URL{{Scheme: memberScheme, Host: memberHost, Path: "/" + member}}
	}
	return c.issueNew(tmpl)
}

// IssueStoreUser makes a key and a certificate with which a client signs in as a
// user of an event store.
func (c *CA) IssueStoreUser(login string) (certPEM, keyPEM []byte, err error) {
	return c.issueNew(c.template(login, KindUser, x509.ExtKeyUsageClientAuth))
}

// KindUser is a user of an event store: a client, never a node.
const KindUser Kind = "user"

func (c *CA) template(name string, kind Kind, usage ...x509.ExtKeyUsage) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name, OrganizationalUnit: []string{string(kind)}},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(leafValidity),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: usage, BasicConstraintsValid: true,
	}
}

// issueNew makes a key and signs the template for it.
func (c *CA) issueNew(tmpl *x509.Certificate) (certPEM, keyPEM []byte, err error) {
	key, keyPEM, err := NewKey()
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, c.cert, crypto.PublicKey(&key.PublicKey), c.key)
	if err != nil {
		return nil, nil, fmt.Errorf("issue certificate for %s: %w", tmpl.Subject.CommonName, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), keyPEM, nil
}

// MemberOf is the member that a certificate is bound to; "" if it is bound to none.
func MemberOf(c *x509.Certificate) string {
	for _, u := range c.URIs {
		if u.Scheme == memberScheme && u.Host == memberHost && len(u.Path) > 1 {
			return u.Path[1:]
		}
	}
	return ""
}
