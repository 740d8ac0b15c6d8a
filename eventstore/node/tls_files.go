package node

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	pki "baton/platform/identity"
)

// Files of an authority.
const (
	authorityCert = "ca.crt"
	authorityKey  = "ca.key"
)

// checkAuthority finds out whether the authority can be used, or made.
func (t *TLS) checkAuthority() error {
	crt, key := filepath.Join(t.o.AuthorityDir, authorityCert), filepath.Join(t.o.AuthorityDir, authorityKey)
	_, errCrt := os.Stat(crt)
	_, errKey := os.Stat(key)
	switch {
	case errors.Is(errCrt, fs.ErrNotExist) && errors.Is(errKey, fs.ErrNotExist):
		if t.o.MayMake {
			return nil
		}
		return fmt.Errorf("no certificate: %s holds no authority, and the nodes of a cluster share one: make it once with 'baton certs authority DIR', "+
			"copy DIR to every node and give --certificate-authority-path DIR; or give certificate-file and certificate-private-key-file, or insecure for development", t.o.AuthorityDir)
	case errCrt != nil:
		return fmt.Errorf("%s cannot be read (%w): both files of the authority are needed to issue this node's certificate", crt, cause(errCrt))
	case errKey != nil:
		return fmt.Errorf("%s cannot be read (%w): both files of the authority are needed to issue this node's certificate", key, cause(errKey))
	}
	return nil
}

// read loads a set from files or has it issued.
func (t *TLS) read() (*tlsState, error) {
	s := &tlsState{stamp: t.stamp(), commonName: t.o.CommonName}
	var rootPEM []byte
	if t.issued() {
		ca, err := pki.OpenCA(t.o.AuthorityDir)
		if err != nil {
			return nil, err
		}
		s.stamp = t.stamp() // it may have been made just now
		certPEM, keyPEM, err := ca.IssueStoreNode(t.member.String(), t.o.Hosts)
		if err != nil {
			return nil, err
		}
		pair, err := tls.X509KeyPair(certPEM, keyPEM)
		if err != nil {
			return nil, err
		}
		s.certificate, rootPEM = &pair, ca.CertificatePEM()
		if t.state.Load() == nil {
			t.logger.Info("this node's certificate is issued by the authority; clients trust its ca.crt", "authority", filepath.Join(t.o.AuthorityDir, authorityCert), "fingerprint", ca.Fingerprint())
		}
	} else {
		pair, err := t.readFiles()
		if err != nil {
			return nil, err
		}
		s.certificate = pair
	}
	if s.commonName == "" {
		s.commonName = s.certificate.Leaf.Subject.CommonName
	}
	if t.o.Roots != "" || rootPEM != nil {
		roots, err := readRoots(t.o.Roots)
		if err != nil {
			return nil, err
		}
		roots = append(roots, parseAll(rootPEM)...)
		s.roots = poolOf(roots)
		s.root = t.ownRoot(s)
	}
	return s, nil
}

// ownRoot is the root that the own certificate leads to; nil if it leads to none.
func (t *TLS) ownRoot(s *tlsState) *x509.CertPool {
	var between []*x509.Certificate
	for _, der := range s.certificate.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			between = append(between, c)
		}
	}
	chains, err := s.certificate.Leaf.Verify(x509.VerifyOptions{Roots: s.roots, Intermediates: poolOf(between), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		t.logger.Warn("this node's certificate does not lead to a trusted root: other nodes will refuse it, and no user can sign in by certificate", "error", err)
		return nil
	}
	return poolOf(chains[0][len(chains[0])-1:])
}

func (t *TLS) readFiles() (*tls.Certificate, error) {
	certFile, keyFile := t.o.CertFile, t.o.KeyFile
	for _, f := range []struct{ option, path string }{{"certificate-file", certFile}, {"certificate-private-key-file", keyFile}} {
		if _, err := os.ReadFile(f.path); err != nil {
			return nil, fmt.Errorf("--%s %s cannot be read (%w): name a PEM file this user can read", f.option, f.path, cause(err))
		}
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("%s and %s are not a certificate and its key in PEM form (%w)", certFile, keyFile, err)
	}
	if until := pair.Leaf.NotAfter; time.Now().After(until) {
		return nil, fmt.Errorf("the certificate in %s expired on %s: renew it", certFile, until.Format(time.DateOnly))
	}
	return &pair, nil
}

// readRoots reads a PEM file, or every PEM file of a directory; nothing for "".
func readRoots(path string) ([]*x509.Certificate, error) {
	if path == "" {
		return nil, nil
	}
	files, err := rootFiles(path)
	if err != nil {
		return nil, fmt.Errorf("--trusted-root-certificates-path %s cannot be read (%w): name a directory or file with root certificates", path, cause(err))
	}
	var roots []*x509.Certificate
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // a directory, or not ours to read; what matters is that a root is found
		}
		roots = append(roots, parseAll(data)...)
	}
	if len(roots) == 0 {
		return nil, fmt.Errorf("--trusted-root-certificates-path %s holds no certificate in PEM form", path)
	}
	return roots, nil
}

func rootFiles(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	return filepath.Glob(filepath.Join(path, "*"))
}

// parseAll returns the certificates among the PEM blocks of data.
func parseAll(data []byte) []*x509.Certificate {
	var list []*x509.Certificate
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return list
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			list = append(list, c)
		}
	}
}

// stamp changes when a file changes: names, sizes and times.
func (t *TLS) stamp() string {
	files := []string{t.o.CertFile, t.o.KeyFile}
	if t.issued() {
		files = []string{filepath.Join(t.o.AuthorityDir, authorityCert), filepath.Join(t.o.AuthorityDir, authorityKey)}
	}
	if t.o.Roots != "" {
		if roots, err := rootFiles(t.o.Roots); err == nil {
			files = append(files, roots...)
		}
	}
	var b strings.Builder
	for _, file := range files {
		if info, err := os.Stat(file); err == nil {
			fmt.Fprintf(&b, "%s %d %d\n", file, info.Size(), info.ModTime().UnixNano())
		}
	}
	return b.String()
}

func cause(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
