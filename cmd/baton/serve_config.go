package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"baton/eventstore/node"
	"baton/platform/config"
)

// noDNS is the name that stands for "no DNS discovery".
const noDNS = "fake.dns"

// lookupTimeout bounds the DNS discovery at start.
const lookupTimeout = 5 * time.Second

// nodeConfig turns options into a node's configuration. cleanUp undoes what it had to create.
func nodeConfig(s *config.Settings, client net.Addr, secured *nodeTLS, logger *slog.Logger) (cfg node.Config, cleanUp func(), err error) {
	cleanUp = func() {}
	clientPort := client.(*net.TCPAddr).Port
	host := firstText(s.String("advertise-host-to-client-as"), s.String("node-host-advertise-as"), reachable(s.String("node-ip"), logger))
	peerHost := firstText(s.String("replication-host-advertise-as"), reachable(s.String("replication-ip"), logger))
	peerPort := s.Int("replication-port")
	cfg = node.Config{
		Dir: s.String("db"), IndexDir: s.String("index"),
		Name: s.String("node-name"), ClusterSize: int(s.Int("cluster-size")), Priority: int(s.Int("node-priority")), ReadOnlyReplica: s.Bool("read-only-replica"),
		PeerListen: net.JoinHostPort(s.String("replication-ip"), strconv.FormatInt(peerPort, 10)),
		ClientHost: host, ClientPort: firstPort(s.Int("advertise-node-port-to-client-as"), s.Int("node-port-advertise-as"), int64(clientPort)),
		WriteTimeout: millis(s, "write-timeout-ms"), ReplaceAfter: time.Duration(s.Int("replace-after-sec")) * time.Second,
		MaxAppendBytes: int(s.Int("max-append-size")), MaxEventBytes: int(s.Int("max-append-event-size")),
		PeerServerTLS: secured.peerServer(), PeerClientTLS: secured.peerClient(), SeedTLS: secured.seed(),
		Version: version, Logger: logger,
	}
	if advertised := firstPort(s.Int("replication-tcp-port-advertise-as"), peerPort); advertised != 0 {
		cfg.PeerAdvertise = net.JoinHostPort(peerHost, strconv.Itoa(advertised))
	}
	if cfg.Seeds, err = seeds(s, logger); err != nil {
		return cfg, cleanUp, err
	}
	// The peer port is the node's to open; a short try tells now, before anything is written, if it is taken.
	if peerPort != 0 {
		probe, err := listen(s.String("replication-ip"), peerPort, "replication-port")
		if err != nil {
			return cfg, cleanUp, err
		}
		probe.Close()
	}
	if s.Bool("mem-db") {
		dir, err := memoryDir()
		if err != nil {
			return cfg, cleanUp, fmt.Errorf("no place for an in-memory database: %w", err)
		}
		cfg.Dir, cfg.IndexDir = dir, ""
		cleanUp = func() { os.RemoveAll(dir) }
	}
	return cfg, cleanUp, nil
}

// seeds are the other nodes' client addresses, given or found by DNS.
func seeds(s *config.Settings, logger *slog.Logger) ([]string, error) {
	given := s.List("gossip-seed")
	name := s.String("cluster-dns")
	if len(given) > 0 || !s.Bool("discover-via-dns") || name == "" || name == noDNS {
		if len(given) == 0 && s.Int("cluster-size") > 1 {
			logger.Warn("no gossip seeds: this node waits until another one has it as a seed; give --gossip-seed otherwise")
		}
		return given, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupHost(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("cluster-dns %q cannot be resolved (%w): correct it, or name the nodes with --gossip-seed", name, err)
	}
	for _, address := range addresses {
		given = append(given, net.JoinHostPort(address, strconv.FormatInt(s.Int("cluster-gossip-port"), 10)))
	}
	return given, nil
}

// reachable is the host others are told for a host that is listened on.
func reachable(host string, logger *slog.Logger) string {
	if ip := net.ParseIP(host); ip == nil || !ip.IsUnspecified() {
		return host
	}
	name, err := os.Hostname()
	if err != nil {
		name = "localhost"
	}
	logger.Warn("this node listens on every address and tells others its host name; give an advertise option if they reach it by another name", "host", name)
	return name
}

func firstText(candidates ...string) string {
	for _, c := range candidates {
		if c != "" {
			return c
		}
	}
	return ""
}

func firstPort(candidates ...int64) int {
	for _, c := range candidates {
		if c != 0 {
			return int(c)
		}
	}
	return 0
}

// memoryDir makes a directory on a memory file system where there is one.
func memoryDir() (string, error) {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		if dir, err := os.MkdirTemp("/dev/shm", "baton-*"); err == nil {
			return dir, nil
		}
	}
	return os.MkdirTemp("", "baton-*")
}

// nodeTLS holds a secure node's certificates; nil on an insecure one. All its methods accept nil and then return nil.
type nodeTLS struct {
	certificate tls.Certificate
	roots       *x509.CertPool // nil: those of the system
	commonName  string         // marks certificates of nodes
}

func loadNodeTLS(s *config.Settings) (*nodeTLS, error) {
	if s.Bool("insecure") {
		return nil, nil
	}
	certFile, keyFile := s.String("certificate-file"), s.String("certificate-private-key-file")
	for _, f := range []struct{ option, path string }{{"certificate-file", certFile}, {"certificate-private-key-file", keyFile}} {
		if _, err := os.ReadFile(f.path); err != nil {
			return nil, fmt.Errorf("--%s %s cannot be read (%w): name a PEM file this user can read", f.option, f.path, pathCause(err))
		}
	}
	certificate, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("%s and %s are not a certificate and its key in PEM form (%w)", certFile, keyFile, err)
	}
	n := &nodeTLS{certificate: certificate, commonName: s.String("certificate-reserved-node-common-name")}
	if n.commonName == "" {
		n.commonName = certificate.Leaf.Subject.CommonName
	}
	if path := s.String("trusted-root-certificates-path"); path != "" {
		if n.roots, err = loadRoots(path); err != nil {
			return nil, err
		}
	}
	if until := certificate.Leaf.NotAfter; time.Now().After(until) {
		return nil, fmt.Errorf("the certificate in %s expired on %s: renew it", certFile, until.Format(time.DateOnly))
	}
	return n, nil
}

// loadRoots reads a PEM file, or every PEM file of a directory.
func loadRoots(path string) (*x509.CertPool, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("--trusted-root-certificates-path %s cannot be read (%w): name a directory or file with root certificates", path, pathCause(err))
	}
	files := []string{path}
	if info.IsDir() {
		if files, err = filepath.Glob(filepath.Join(path, "*")); err != nil {
			return nil, err
		}
	}
	pool, found := x509.NewCertPool(), false
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // a directory, or not ours to read; what matters is that a root is found
		}
		found = pool.AppendCertsFromPEM(data) || found
	}
	if !found {
		return nil, fmt.Errorf("--trusted-root-certificates-path %s holds no certificate in PEM form", path)
	}
	return pool, nil
}

func pathCause(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

func (n *nodeTLS) base() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{n.certificate}, RootCAs: n.roots, ClientCAs: n.roots}
}

// server is for the client port: clients prove themselves by credentials, not by certificates.
func (n *nodeTLS) server() *tls.Config {
	if n == nil {
		return nil
	}
	c := n.base()
	c.ClientCAs = nil
	return c
}

// seed is for asking other nodes' client ports.
func (n *nodeTLS) seed() *tls.Config {
	if n == nil {
		return nil
	}
	return n.base()
}

// peerServer and peerClient are for the links between nodes: both sides show a node's certificate.
func (n *nodeTLS) peerServer() *tls.Config {
	if n == nil {
		return nil
	}
	c := n.base()
	c.ClientAuth = tls.RequireAndVerifyClientCert
	c.VerifyConnection = n.isNode
	return c
}

func (n *nodeTLS) peerClient() *tls.Config {
	if n == nil {
		return nil
	}
	c := n.base()
	c.VerifyConnection = n.isNode
	return c
}

// isNode refuses certificates of the same root that do not belong to a node.
func (n *nodeTLS) isNode(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("no certificate was shown")
	}
	if name := state.PeerCertificates[0].Subject.CommonName; name != n.commonName {
		return fmt.Errorf("certificate of %q is not that of a node (%q)", name, n.commonName)
	}
	return nil
}
