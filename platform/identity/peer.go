package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

// AgentServer is mutual TLS for an agent that answers other agents, made of
// what it uses towards the control plane (ClientConfig). Only holders of an
// agent's certificate of the same authority are let in.
func AgentServer(own *tls.Config) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: own.Certificates, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: own.RootCAs,
		VerifyConnection: func(cs tls.ConnectionState) error {
			who, err := PeerIdentity(cs)
			if err == nil && who.Kind != KindAgent {
				err = fmt.Errorf("a certificate of kind %q may not act as an agent", who.Kind)
			}
			return err
		},
	}
}

// AgentClient is mutual TLS for an agent that dials the agent of an id. An
// agent's certificate names no host, so its holder is checked instead.
func AgentClient(own *tls.Config, id string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: own.Certificates, ServerName: id,
		// The chain is verified below: it is one of a client.
		InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			if len(cs.PeerCertificates) == 0 {
				return errors.New("the other agent presented no certificate")
			}
			leaf := cs.PeerCertificates[0]
			if _, err := leaf.Verify(x509.VerifyOptions{Roots: own.RootCAs, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
				return err
			}
			if ou := leaf.Subject.OrganizationalUnit; len(ou) != 1 || Kind(ou[0]) != KindAgent || leaf.Subject.CommonName != id {
				return fmt.Errorf("this is %s %q, not agent %q", leaf.Subject.OrganizationalUnit, leaf.Subject.CommonName, id)
			}
			return nil
		},
	}
}
