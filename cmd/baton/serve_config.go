package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
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
func nodeConfig(s *config.Settings, client net.Addr, secured *node.TLS, logger *slog.Logger) (cfg node.Config, cleanUp func(), err error) {
	cleanUp = func() {}
	clientPort := client.(*net.TCPAddr).Port
	host := firstText(s.String("advertise-host-to-client-as"), s.String("node-host-advertise-as"), reachable(s.String("node-ip"), logger))
	peerHost := firstText(s.String("replication-host-advertise-as"), reachable(s.String("replication-ip"), logger))
	peerPort := s.Int("replication-port")
	cfg = node.Config{
		Dir: s.String("db"), IndexDir: s.String("index"),
		Name: s.String("node-name"), ClusterSize: int(s.Int("cluster-size")), Priority: int(s.Int("node-priority")), ReadOnlyReplica: s.Bool("read-only-replica"),
		JoinOnly:   s.Bool("join-only"),
		PeerListen: net.JoinHostPort(s.String("replication-ip"), strconv.FormatInt(peerPort, 10)),
		ClientHost: host, ClientPort: firstPort(s.Int("advertise-node-port-to-client-as"), s.Int("node-port-advertise-as"), int64(clientPort)),
		ScrubEvery:   scrubEvery(s),
		WriteTimeout: millis(s, "write-timeout-ms"), ReplaceAfter: time.Duration(s.Int("replace-after-sec")) * time.Second,
		MaxAppendBytes: int(s.Int("max-append-size")), MaxEventBytes: int(s.Int("max-append-event-size")),
		TLS: secured, Version: version, Logger: logger,
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

// scrubEvery is negative for a node that reads its log by request only.
func scrubEvery(s *config.Settings) time.Duration {
	if hours := s.Int("scrub-hours"); hours > 0 {
		return time.Duration(hours) * time.Hour
	}
	return -1
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

// loadNodeTLS finds the certificates of a secure node; nil on an insecure one. Only a node that is a cluster by itself may make an authority: the nodes
// of a cluster would each make their own and trust nobody.
func loadNodeTLS(s *config.Settings, logger *slog.Logger) (*node.TLS, error) {
	if s.Bool("insecure") {
		return nil, nil
	}
	alone := s.Int("cluster-size") == 1 && len(s.List("gossip-seed")) == 0 && !s.Bool("read-only-replica") && !s.Bool("join-only") && (s.String("cluster-dns") == noDNS || !s.Bool("discover-via-dns"))
	hosts := []string{"localhost", "127.0.0.1", "::1", s.String("node-ip"), s.String("replication-ip"), s.String("node-host-advertise-as"),
		s.String("replication-host-advertise-as"), s.String("advertise-host-to-client-as")}
	if name, err := os.Hostname(); err == nil {
		hosts = append(hosts, name)
	}
	slices.Sort(hosts)
	return node.LoadTLS(node.TLSOptions{
		CertFile: s.String("certificate-file"), KeyFile: s.String("certificate-private-key-file"), Roots: s.String("trusted-root-certificates-path"),
		CommonName: s.String("certificate-reserved-node-common-name"), AuthorityDir: firstText(s.String("certificate-authority-path"), filepath.Join(s.String("db"), "ca")),
		MayMake: alone, Hosts: slices.Compact(hosts), Logger: logger,
	})
}
