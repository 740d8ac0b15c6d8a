package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"baton/eventstore/membership"
	"baton/eventstore/peer"
	pki "baton/platform/identity"
)

// issuer is an authority in a directory of the test's.
type issuer struct {
	t   *testing.T
	dir string
	ca  *pki.CA
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "ca")
	ca, err := pki.OpenCA(dir)
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{t, dir, ca}
}

// nodeFiles writes a node's certificate for hosts over what is there.
func (i *issuer) nodeFiles(dir string, hosts ...string) (crt, key string) {
	i.t.Helper()
	certPEM, keyPEM, err := i.ca.IssueStoreNode("", hosts)
	if err != nil {
		i.t.Fatal(err)
	}
	crt, key = filepath.Join(dir, "node.crt"), filepath.Join(dir, "node.key")
	for path, data := range map[string][]byte{key: keyPEM, crt: certPEM} {
		if err := pki.WriteFile(path, data, 0o600); err != nil {
			i.t.Fatal(err)
		}
	}
	return crt, key
}

func parse(t *testing.T, certPEM []byte, err error) *x509.Certificate {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(certPEM)
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// shown is the certificate that a server with the configuration shows now.
func shown(t *testing.T, server *tls.Config) *x509.Certificate {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	done := make(chan error, 1)
	go func() { done <- tls.Server(a, server).Handshake() }()
	c := tls.Client(b, &tls.Config{InsecureSkipVerify: true})
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return c.ConnectionState().PeerCertificates[0]
}

func awaitThat(t *testing.T, what string, check func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-tick.C:
		}
	}
}

// Goal: new files count from the next connection on, when the operator says so and when they change; files that are no good change nothing.
func TestCertificatesAreLoadedAnew(t *testing.T) {
	t.Parallel()
	i, dir := newIssuer(t), t.TempDir()
	crt, key := i.nodeFiles(dir, "one.example")
	secured, err := LoadTLS(TLSOptions{CertFile: crt, KeyFile: key, Roots: filepath.Join(i.dir, authorityCert)})
	if err != nil {
		t.Fatal(err)
	}
	secured.every = 10 * time.Millisecond
	server := secured.Server()
	host := func() string { return shown(t, server).DNSNames[0] }
	if host() != "one.example" {
		t.Fatal(host())
	}
	ctx, cancel := context.WithCancel(t.Context())
	now, ended := make(chan struct{}), make(chan struct{})
	go func() { secured.Watch(ctx, now); close(ended) }()
	defer func() { cancel(); <-ended }()

	i.nodeFiles(dir, "two.example")
	now <- struct{}{}
	now <- struct{}{} // the first one has been dealt with
	if host() != "two.example" {
		t.Error(host())
	}
	i.nodeFiles(dir, "three.example")
	awaitThat(t, "the certificate of a change", func() error {
		if h := host(); h != "three.example" {
			return errors.New(h)
		}
		return nil
	})
	if err := os.WriteFile(crt, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	now <- struct{}{}
	now <- struct{}{} // the first one has been dealt with
	if host() != "three.example" {
		t.Error("junk took the place of a certificate")
	}
	if err := secured.Reload(); err == nil || !strings.Contains(err.Error(), "are not a certificate and its key") {
		t.Errorf("junk: %v", err)
	}
}

func TestAuthorityIssuesTheCertificate(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "ca")
	if _, err := LoadTLS(TLSOptions{AuthorityDir: dir}); err == nil || !strings.Contains(err.Error(), "share one") {
		t.Errorf("an authority that may not be made: %v", err)
	}
	secured, err := LoadTLS(TLSOptions{AuthorityDir: dir, MayMake: true, Hosts: []string{"localhost", "127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was written before the node was sure to start: %v", err)
	}
	if err := secured.identify(7); err != nil {
		t.Fatal(err)
	}
	c := shown(t, secured.Server())
	if pki.MemberOf(c) != membership.MemberID(7).String() || c.VerifyHostname("localhost") != nil || c.VerifyHostname("127.0.0.1") != nil || c.VerifyHostname("example.com") == nil {
		t.Errorf("issued %v %v", c.DNSNames, c.URIs)
	}
	if info, err := os.Stat(filepath.Join(dir, authorityKey)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the authority's key: %v %v", info, err)
	}
	// Half of an authority is none, and is not replaced.
	if err := os.Remove(filepath.Join(dir, authorityKey)); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadTLS(TLSOptions{AuthorityDir: dir, MayMake: true}); err == nil || !strings.Contains(err.Error(), "both files") {
		t.Errorf("half an authority: %v", err)
	}
}

// Goal: a client's certificate proves a user only if it is one: for clients and not for servers, of the node's own root, in date, with a name.
func TestUserCertificates(t *testing.T) {
	t.Parallel()
	i, other := newIssuer(t), newIssuer(t)
	crt, key := i.nodeFiles(t.TempDir(), "localhost")
	roots := t.TempDir()
	for n, from := range []*issuer{i, other} { // both are trusted, as nodes
		if err := os.WriteFile(filepath.Join(roots, fmt.Sprint(n, ".crt")), from.ca.CertificatePEM(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	secured, err := LoadTLS(TLSOptions{CertFile: crt, KeyFile: key, Roots: roots})
	if err != nil {
		t.Fatal(err)
	}
	user := func(from *issuer, login string) *x509.Certificate {
		certPEM, _, err := from.ca.IssueStoreUser(login)
		return parse(t, certPEM, err)
	}
	node := func() *x509.Certificate {
		certPEM, _, err := i.ca.IssueStoreNode("", []string{"localhost"})
		return parse(t, certPEM, err)
	}
	expired := *user(i, "alice")
	expired.NotAfter = time.Now().Add(-time.Second)
	forged := &x509.Certificate{Subject: pkix.Name{CommonName: "admin"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, NotAfter: time.Now().Add(time.Hour)}
	for range 2 { // the second time from memory
		for label, c := range map[string]struct {
			certificate *x509.Certificate
			login       string
			refused     bool
		}{
			"a user's":                     {user(i, "alice"), "alice", false},
			"a user's of another root":     {user(other, "alice"), "", true},
			"a node's":                     {node(), "", false},
			"one without a name":           {user(i, ""), "", true},
			"an expired one":               {&expired, "", true},
			"one that nobody signed":       {forged, "", true},
			"the authority's own":          {parse(t, i.ca.CertificatePEM(), nil), "", true},
			"one of the other root's node": {parse(t, other.ca.CertificatePEM(), nil), "", true},
		} {
			login, err := secured.User([]*x509.Certificate{c.certificate})
			if login != c.login || (err != nil) != c.refused {
				t.Errorf("%s: %q %v", label, login, err)
			}
		}
	}
	alone, err := LoadTLS(TLSOptions{CertFile: crt, KeyFile: key})
	if err != nil {
		t.Fatal(err)
	}
	if login, err := alone.User([]*x509.Certificate{user(i, "alice")}); login != "" || err != nil || alone.Server().ClientAuth != tls.NoClientCert {
		t.Errorf("a node without trusted roots: %q %v", login, err)
	}
}

// Goal: nodes of one authority form a cluster over mutual TLS; a certificate of another authority, of a user, or of another member is not let in.
func TestLinksCheckWhoseCertificateIsShown(t *testing.T) {
	t.Parallel()
	i, other := newIssuer(t), newIssuer(t)
	secure := func(from *issuer) *TLS {
		secured, err := LoadTLS(TLSOptions{AuthorityDir: from.dir, Hosts: []string{"127.0.0.1"}})
		if err != nil {
			t.Fatal(err)
		}
		return secured
	}
	var nodes []*Node
	var peers []string
	for n := range 3 {
		started, err := Start(Config{Dir: filepath.Join(t.TempDir(), "data"), Name: fmt.Sprint("n", n), ClusterSize: 3, PeerListen: "127.0.0.1:0", PeerSeeds: peers,
			Settle: 300 * time.Millisecond, WriteTimeout: time.Minute, TLS: secure(i)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(started.Stop)
		nodes, peers = append(nodes, started), append(peers, started.PeerAddress())
	}
	awaitThat(t, "the cluster serves", func() error {
		for _, n := range nodes {
			if ready, waiting := n.Ready(); !ready {
				return errors.New(waiting)
			}
		}
		return nil
	})
	link := func(shows *TLS, from membership.MemberID) error {
		return helloAs(t, peers[0], shows, from)
	}
	known, stranger := nodes[1].ID(), membership.MemberID(12345)
	foreign := secure(other)
	asMember := func(from *issuer, id membership.MemberID) *TLS {
		secured := secure(from)
		if err := secured.identify(id); err != nil {
			t.Fatal(err)
		}
		return secured
	}
	if err := link(asMember(i, stranger), stranger); err != nil {
		t.Errorf("a new node with its own certificate: %v", err)
	}
	if err := link(asMember(i, stranger), known); err == nil || !strings.Contains(err.Error(), "it shows the certificate of member") {
		t.Errorf("another member's certificate: %v", err)
	}
	if err := foreign.identify(known); err != nil {
		t.Fatal(err)
	}
	if err := link(foreign, known); err == nil {
		t.Error("a certificate of another authority was let in")
	}
	// Certificates from files name hosts: one that is not valid where the member lives is not that member's.
	byFiles := func(hosts ...string) *TLS {
		crt, key := i.nodeFiles(t.TempDir(), hosts...)
		secured, err := LoadTLS(TLSOptions{CertFile: crt, KeyFile: key, Roots: filepath.Join(i.dir, authorityCert)})
		if err != nil {
			t.Fatal(err)
		}
		return secured
	}
	if err := link(byFiles("127.0.0.1"), known); err != nil {
		t.Errorf("a certificate for the member's host: %v", err)
	}
	if err := link(byFiles("10.9.8.7"), known); err == nil || !strings.Contains(err.Error(), "not valid for 127.0.0.1") {
		t.Errorf("a certificate for another host: %v", err)
	}
	certPEM, keyPEM, err := i.ca.IssueStoreUser(pki.StoreNodeName)
	if err != nil {
		t.Fatal(err)
	}
	asUser := byFiles("127.0.0.1")
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	state := *asUser.state.Load()
	state.certificate = &pair
	asUser.state.Store(&state)
	if err := link(asUser, known); err == nil {
		t.Error("a user's certificate was let in as a node's")
	}
	certPEM, _, err = i.ca.IssueStoreUser(pki.StoreNodeName)
	if err := asUser.isNode([]*x509.Certificate{parse(t, certPEM, err)}, x509.ExtKeyUsageClientAuth); err == nil || !strings.Contains(err.Error(), "meant for clients") {
		t.Errorf("a user's certificate with a node's name: %v", err)
	}
}

// helloAs dials a node's peer port with a certificate, says who it is, and returns why it is not wanted.
func helloAs(t *testing.T, address string, shows *TLS, from membership.MemberID) error {
	t.Helper()
	dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: time.Minute}, Config: &tls.Config{InsecureSkipVerify: true, GetClientCertificate: shows.getClientCertificate}}
	c, err := dialer.DialContext(t.Context(), "tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(peer.Hello{Protocol: 1, From: from, FromAddr: "127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	frame := append(binary.LittleEndian.AppendUint32(nil, uint32(len(payload))), 1, 0, 0, 0, 0, 0, 0, 0)
	table := crc32.MakeTable(crc32.Castagnoli)
	binary.LittleEndian.PutUint32(frame[8:], crc32.Update(crc32.Checksum(frame[:8], table), table, payload))
	if _, err := c.Write(append(frame, payload...)); err != nil {
		return err
	}
	var header [12]byte
	if _, err := io.ReadFull(c, header[:]); err != nil {
		return err
	}
	answer := make([]byte, binary.LittleEndian.Uint32(header[:4]))
	if _, err := io.ReadFull(c, answer); err != nil {
		return err
	}
	var welcome peer.Welcome
	if err := json.Unmarshal(answer, &welcome); err != nil {
		return err
	}
	if welcome.Refused != "" {
		return errors.New(welcome.Refused)
	}
	return nil
}
