package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func newCA(t *testing.T) *CA {
	t.Helper()
	ca, err := OpenCA(filepath.Join(t.TempDir(), "ca"))
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func TestAuthorityIsKeptAndItsKeyIsPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	a, err := OpenCA(dir)
	if err != nil {
		t.Fatal(err)
	}
	b, err := OpenCA(dir)
	if err != nil || a.Fingerprint() != b.Fingerprint() {
		t.Fatalf("opened again: %v", err)
	}
	if st, err := os.Stat(filepath.Join(dir, "ca.key")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v", st, err)
	}
	if err := os.Remove(filepath.Join(dir, "ca.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenCA(dir); err == nil {
		t.Error("an authority without its key was replaced or opened")
	}
	other := newCA(t)
	if err := WriteFile(filepath.Join(dir, "ca.key"), mustKeyPEM(t, other), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenCA(dir); err == nil {
		t.Error("another authority's key was accepted")
	}
}

func mustKeyPEM(t *testing.T, c *CA) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// dial makes one handshake and returns what the server learned of the client.
func dial(t *testing.T, server, client *tls.Config) (Identity, error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	type seen struct {
		id  Identity
		err error
	}
	got := make(chan seen, 1)
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			got <- seen{err: err}
			return
		}
		defer conn.Close()
		s := tls.Server(conn, server)
		if err := s.Handshake(); err != nil {
			got <- seen{err: err}
			return
		}
		id, err := PeerIdentity(s.ConnectionState())
		got <- seen{id, err}
		s.Write([]byte{1})
	}()
	conn, err := (&net.Dialer{Timeout: time.Minute}).Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := tls.Client(conn, client)
	if err := c.Handshake(); err != nil {
		return Identity{}, err
	}
	c.SetReadDeadline(time.Now().Add(time.Minute))
	c.Read(make([]byte, 1)) // lets the server finish
	s := <-got
	return s.id, s.err
}

func clientConfig(t *testing.T, ca *CA, who Identity) *tls.Config {
	t.Helper()
	key, keyPEM, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := NewRequest(key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Sign(csr, who)
	if err != nil {
		t.Fatal(err)
	}
	conf, err := ClientConfig(cert, keyPEM, ca.CertificatePEM())
	if err != nil {
		t.Fatal(err)
	}
	return conf
}

func TestPeersKnowEachOtherOnlyThroughTheAuthority(t *testing.T) {
	ca, other := newCA(t), newCA(t)
	server, err := ca.ServerConfig(nil)
	if err != nil {
		t.Fatal(err)
	}
	who := Identity{KindAgent, "a1"}
	if id, err := dial(t, server, clientConfig(t, ca, who)); err != nil || id != who {
		t.Errorf("a right client: %+v, %v", id, err)
	}
	if _, err := dial(t, server, clientConfig(t, other, who)); err == nil {
		t.Error("a client that trusts another authority accepted this server")
	}
	stranger := clientConfig(t, other, who)
	stranger.RootCAs = pool(ca.cert)
	if id, err := dial(t, server, stranger); err == nil {
		t.Errorf("a certificate of another authority was taken for %+v", id)
	}
	if id, err := dial(t, server, PinnedConfig(ca.Fingerprint())); err == nil || id != (Identity{}) {
		t.Errorf("a client without certificate was taken for %+v", id)
	}
	if _, err := dial(t, server, PinnedConfig(other.Fingerprint())); err == nil || !strings.Contains(err.Error(), "join token") {
		t.Errorf("a pinned joiner accepted another authority: %v", err)
	}
	// Sending the pinned authority's certificate along does not help a server
	// that has no certificate from it.
	fake, err := other.ServerConfig(nil)
	if err != nil {
		t.Fatal(err)
	}
	fake.Certificates[0].Certificate = append(fake.Certificates[0].Certificate[:1], ca.cert.Raw)
	if _, err := dial(t, fake, PinnedConfig(ca.Fingerprint())); err == nil {
		t.Error("a server that only shows the pinned authority was accepted")
	}
	// An agent's certificate is for clients: it is no server's.
	agent := clientConfig(t, ca, Identity{KindAgent, ServerName})
	posing := &tls.Config{Certificates: agent.Certificates}
	if _, err := dial(t, posing, clientConfig(t, ca, who)); err == nil {
		t.Error("an agent's certificate served as the control plane's")
	}
}

func TestRequestsThatProveNothingAreRefused(t *testing.T) {
	key, _, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	good, err := NewRequest(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckRequest(good); err != nil {
		t.Errorf("a good request: %v", err)
	}
	bad := append([]byte{}, good...)
	bad[len(bad)-1] ^= 1
	if err := CheckRequest(bad); err == nil {
		t.Error("a request with a broken signature was accepted")
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, p384)
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckRequest(der); err == nil {
		t.Error("a request with another kind of key was accepted")
	}
	for n := range good {
		if CheckRequest(good[:n]) == nil {
			t.Fatalf("a request cut at %d bytes was accepted", n)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	good := JoinToken{Address: "127.0.0.1:8401", Others: []string{"127.0.0.2:8401"}, CAFingerprint: strings.Repeat("a", 64), Secret: "s"}.String()
	f.Add(good)
	f.Add("baton-join.")
	f.Add(good[:len(good)-3])
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := ParseToken(s)
		if err != nil {
			if len(s) > 20 && strings.Contains(err.Error(), s) {
				t.Errorf("the error repeats the token")
			}
			return
		}
		again, err := ParseToken(tok.String())
		if err != nil || !reflect.DeepEqual(again, tok) {
			t.Errorf("%+v does not survive: %+v, %v", tok, again, err)
		}
	})
}
