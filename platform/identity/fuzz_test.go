package identity

import (
	"encoding/pem"
	"testing"
)

// Goal: certificates, keys and requests of any bytes are read or refused, never a panic; what is read is whole.
func FuzzReadPEM(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"))
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: []byte{0x30, 0x03, 2, 1, 1}}))
	f.Add([]byte{0x30, 0x84, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := parseCertificate(b); err == nil && len(c.Raw) == 0 {
			t.Fatal("an empty certificate")
		}
		if k, err := parseKey(b); err == nil && k.Curve == nil {
			t.Fatal("an empty key")
		}
		if r, err := parseRequest(b); err == nil && len(r.Raw) == 0 {
			t.Fatal("an empty request")
		}
	})
}
