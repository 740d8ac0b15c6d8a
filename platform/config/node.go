package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// NodePrefixes are the environment prefixes of an event-store node, lowest precedence first.
var NodePrefixes = []string{"EVENTSTORE_", "KURRENTDB_", "BATON_"}

// nodeIgnoredEnv bear a node prefix but belong to other commands of the product, or to its tests.
var nodeIgnoredEnv = []string{"BATON_TOKEN", "BATON_SERVER", "BATON_DATA", "BATON_JOIN_TOKEN", "BATON_BIN", "BATON_TEST_*"}

// LoadNode merges the sources of an event-store node's options.
func LoadNode(args, environ []string, readFile func(string) ([]byte, error)) (*Settings, error) {
	s, err := Load(NodeOptions, Input{
		Args: args, Environ: environ, Prefixes: NodePrefixes, IgnoredEnv: nodeIgnoredEnv,
		ReadFile: readFile, ConfigName: "config", UnknownName: "allow-unknown-options",
	})
	if err != nil {
		return nil, err
	}
	return s, checkNode(s)
}

// checkNode refuses combinations that no single option's check can see.
func checkNode(s *Settings) error {
	cert, key := s.String("certificate-file"), s.String("certificate-private-key-file")
	switch {
	case s.Bool("disable-tls"):
		return errors.New("disable-tls is not supported: use certificate-file and certificate-private-key-file, or insecure for development")
	case s.Bool("archiver"):
		return errors.New("archiver is not supported: leave it out; a read-only-replica keeps a full copy")
	case s.Bool("insecure") && cert != "":
		return errors.New("insecure and certificate-file exclude each other: remove one of them")
	case (cert == "") != (key == ""):
		return errors.New("certificate-file and certificate-private-key-file belong together: give both")
	case cert != "" && s.Int("cluster-size") > 1 && s.String("trusted-root-certificates-path") == "":
		return errors.New("trusted-root-certificates-path is missing: nodes of a secure cluster check each other against the root certificates in it")
	case s.Int("node-port") == s.Int("replication-port") && s.Int("node-port") != 0 && s.String("node-ip") == s.String("replication-ip"):
		return fmt.Errorf("node-port and replication-port are both %d: give two different ports", s.Int("node-port"))
	case s.Int("max-append-event-size") > s.Int("max-append-size"):
		return fmt.Errorf("max-append-event-size (%d) is above max-append-size (%d): raise the latter", s.Int("max-append-event-size"), s.Int("max-append-size"))
	}
	return nil
}

const (
	maxPort       = 65535
	maxMillis     = 3_600_000
	maxAppendSize = 256 << 20 // one gRPC message and one entry of the log must hold an append
)

// NodeOptions is the table of an event-store node: ours, and upstream's that make sense here. Those that changed meaning or belong to parts this
// server does without are accepted with a notice, so that existing deployments start.
var NodeOptions = []Option{
	{Name: "config", Kind: Text, Help: "YAML file with options"},
	{Name: "what-if", Kind: Boolean, Default: "false", Help: "print each effective option with its source and exit"},
	{Name: "allow-unknown-options", Kind: Boolean, Default: "false", Help: "ignore options that do not exist"},
	{Name: "log-level", Kind: Text, Default: "info", Help: "debug, info, warn or error", Check: oneOf("debug", "info", "warn", "error")},
	{Name: "log-format", Kind: Text, Default: "text", Help: "text or json, on standard error", Check: oneOf("text", "json")},

	{Name: "trace-endpoint", Kind: Text, Help: "URL of an OpenTelemetry collector (OTLP over HTTP) that receives traces of appends, by default OTEL_EXPORTER_OTLP_ENDPOINT", Check: collector},
	{Name: "trace-ratio", Kind: Text, Default: "0.01", Help: "share of the traces begun here that are kept, 0 to 1", Check: share},

	{Name: "db", Kind: Text, Default: "./baton-node", Help: "data directory"},
	{Name: "index", Kind: Text, Help: "directory of the derived index, by default inside the data directory"},
	{Name: "mem-db", Kind: Boolean, Default: "false", Help: "keep everything in memory: nothing survives a stop"},
	{Name: "node-name", Kind: Text, Help: "name shown for this node, by default its client address"},

	{Name: "cluster-size", Kind: Integer, Default: "1", Min: 1, Max: 9, Help: "voters the cluster aims for; odd", Check: odd},
	{Name: "node-priority", Kind: Integer, Default: "0", Min: -1 << 31, Max: 1<<31 - 1, Aliases: []string{"node-prority"}, Help: "higher is preferred as leader"},
	{Name: "read-only-replica", Kind: Boolean, Default: "false", Help: "copy the data, never vote, never take writes"},
	{Name: "join-only", Kind: Boolean, Default: "false", Help: "without a cluster, wait for one to join and never found one: for nodes that join one with data"},
	{Name: "gossip-seed", Kind: List, Help: "host:port of other nodes' client ports, comma separated", Check: seeds},
	{Name: "discover-via-dns", Kind: Boolean, Default: "true", Help: "ask cluster-dns for the other nodes when there are no gossip seeds"},
	{Name: "cluster-dns", Kind: Text, Default: "fake.dns", Help: "name that resolves to the nodes' addresses; fake.dns means none"},
	{Name: "cluster-gossip-port", Kind: Integer, Default: "2113", Min: 1, Max: maxPort, Help: "client port of the nodes found by DNS"},
	{Name: "scrub-hours", Kind: Integer, Default: "24", Max: 8760, Help: "hours from one reading of the whole log for damage to the next; 0: only by request"},
	{Name: "replace-after-sec", Kind: Integer, Default: "30", Min: 1, Max: 86400, Help: "a voter silent for this long is replaced by a caught-up clone"},

	{Name: "node-ip", Kind: Text, Default: "127.0.0.1", Aliases: []string{"ext-ip"}, Help: "address to listen on for clients", Check: bindHost},
	{Name: "node-port", Kind: Integer, Default: "2113", Max: maxPort, Aliases: []string{"ext-http-port", "http-port"}, Help: "client port, gRPC and HTTP/1.1"},
	{Name: "replication-ip", Kind: Text, Default: "127.0.0.1", Aliases: []string{"int-ip"}, Help: "address to listen on for other nodes", Check: bindHost},
	{Name: "replication-port", Kind: Integer, Default: "1112", Max: maxPort, Aliases: []string{"int-tcp-port"}, Help: "peer port"},
	{Name: "node-host-advertise-as", Kind: Text, Help: "client host told to other nodes"},
	{Name: "node-port-advertise-as", Kind: Integer, Default: "0", Max: maxPort, Help: "client port told to other nodes"},
	{Name: "replication-host-advertise-as", Kind: Text, Help: "peer host told to other nodes"},
	{Name: "replication-tcp-port-advertise-as", Kind: Integer, Default: "0", Max: maxPort, Help: "peer port told to other nodes"},
	{Name: "advertise-host-to-client-as", Kind: Text, Help: "client host told to clients"},
	{Name: "advertise-node-port-to-client-as", Kind: Integer, Default: "0", Max: maxPort, Help: "client port told to clients"},

	{Name: "insecure", Kind: Boolean, Default: "false", Help: "no TLS, no authentication: development only"},
	{Name: "certificate-authority-path", Kind: Text, Help: "directory with ca.crt and ca.key that issue this node's certificate, by default ca in the data directory; made at the first start of a single node"},
	{Name: "certificate-file", Kind: Text, Help: "PEM file with this node's certificate, instead of one from the authority"},
	{Name: "certificate-private-key-file", Kind: Text, Help: "PEM file with its private key"},
	{Name: "certificate-password", Kind: Text, Secret: true, Help: "not supported: give an unencrypted key readable by the service only", Check: noPassword},
	{Name: "trusted-root-certificates-path", Kind: Text, Help: "directory or file with root certificates"},
	{Name: "certificate-reserved-node-common-name", Kind: Text, Help: "common name that marks a certificate as a node's"},
	{Name: "default-admin-password", Kind: Text, Secret: true, EnvOnly: true, Help: "password of user admin when a new cluster makes it; changeit without"},
	{Name: "default-ops-password", Kind: Text, Secret: true, EnvOnly: true, Help: "password of user ops when a new cluster makes it; changeit without"},
	{Name: "allow-anonymous-endpoint-access", Kind: Boolean, Default: "false", Help: "let callers without credentials read statistics and metrics"},
	{Name: "allow-anonymous-stream-access", Kind: Boolean, Default: "false", Help: "let callers without credentials use streams"},
	{Name: "override-anonymous-endpoint-access-for-gossip", Kind: Boolean, Default: "true", Help: "let callers without credentials read gossip"},

	{Name: "write-timeout-ms", Kind: Integer, Default: "2000", Min: 1, Max: maxMillis, Help: "a write not decided within this time is answered as timed out"},
	{Name: "max-append-size", Kind: Integer, Default: "268435456", Min: 1, Max: maxAppendSize, Help: "bytes of one append"},
	{Name: "max-append-event-size", Kind: Integer, Default: "16777216", Min: 1, Max: maxAppendSize, Help: "bytes of one event"},
	{Name: "keep-alive-interval", Kind: Integer, Default: "10000", Min: -1, Max: maxMillis, Help: "ms between gRPC pings to idle clients, -1 for none"},
	{Name: "keep-alive-timeout", Kind: Integer, Default: "10000", Min: 1, Max: maxMillis, Help: "ms until an unanswered ping closes the connection"},
	{Name: "stream-info-cache-capacity", Kind: Integer, Default: "100000", Min: 0, Max: 1 << 31, Help: "streams whose last revision is kept in memory"},

	{Name: "log", Kind: Text, NoEffect: "logs go to standard error"},
	{Name: "unsafe-allow-surplus-nodes", Kind: Boolean, Default: "false", NoEffect: "nodes beyond cluster-size always become clones, and safely"},
	{Name: "unsafe-disable-flush-to-disk", Kind: Boolean, Default: "false", NoEffect: "writes are always on disk before they are acknowledged"},
	{Name: "unsafe-ignore-hard-delete", Kind: Boolean, Default: "false", NoEffect: "tombstones are kept"},
	{Name: "archiver", Kind: Boolean, Default: "false", Help: "not supported"},
	{Name: "disable-tls", Kind: Boolean, Default: "false", Help: "not supported"},
	{Name: "cluster-secret", Kind: Text, Secret: true, NoEffect: "nodes know each other by certificate"},
	{Name: "gossip-interval-ms", Kind: Integer, Default: "2000", NoEffect: "nodes exchange their state several times a second"},
	{Name: "gossip-timeout-ms", Kind: Integer, Default: "2500", NoEffect: "nodes exchange their state over links that are always open"},
	{Name: "gossip-allowed-difference-ms", Kind: Integer, Default: "60000", NoEffect: "clocks take no part in decisions"},
	{Name: "dead-member-removal-period-sec", Kind: Integer, Default: "1800", NoEffect: "members are removed by DELETE /cluster/members"},
	{Name: "leader-election-timeout-ms", Kind: Integer, Default: "1000", NoEffect: "elections time themselves"},
	{Name: "commit-count", Kind: Integer, Default: "-1", NoEffect: "a majority always decides"},
	{Name: "prepare-count", Kind: Integer, Default: "-1", NoEffect: "a majority always decides"},
	{Name: "prepare-timeout-ms", Kind: Integer, Default: "2000", NoEffect: "write-timeout-ms covers the whole write"},
	{Name: "commit-timeout-ms", Kind: Integer, Default: "2000", NoEffect: "write-timeout-ms covers the whole write"},
	{Name: "min-flush-delay-ms", Kind: Integer, Default: "2", NoEffect: "writes are flushed together as they come"},
	{Name: "replication-heartbeat-interval", Kind: Integer, Default: "700", Aliases: []string{"int-tcp-heartbeat-interval"}, NoEffect: "heartbeats time themselves"},
	{Name: "replication-heartbeat-timeout", Kind: Integer, Default: "700", Aliases: []string{"int-tcp-heartbeat-timeout"}, NoEffect: "heartbeats time themselves"},
	{Name: "ext-tcp-port", Kind: Integer, Default: "1113", NoEffect: "clients use gRPC"},
	{Name: "int-http-port", Kind: Integer, Default: "2112", NoEffect: "nodes use the replication port"},
	{Name: "disable-external-tcp-tls", Kind: Boolean, Default: "false", NoEffect: "clients use gRPC"},
	{Name: "disable-internal-tcp-tls", Kind: Boolean, Default: "false", NoEffect: "links between nodes follow insecure"},
	{Name: "enable-external-tcp", Kind: Boolean, Default: "false", NoEffect: "clients use gRPC"},
	{Name: "max-truncation", Kind: Integer, Default: "268435456", NoEffect: "only writes that were never acknowledged are cut, and those are set aside first"},
	{Name: "chunk-size", Kind: Integer, Default: "268435456", NoEffect: "the size of a log segment is fixed"},
	{Name: "cached-chunks", Kind: Integer, Default: "-1", NoEffect: "the cache sizes itself"},
	{Name: "chunks-cache-size", Kind: Integer, Default: "536871424", NoEffect: "the cache sizes itself"},
	{Name: "skip-db-verify", Kind: Boolean, Default: "false", NoEffect: "checksums are verified whenever data is read"},
	{Name: "skip-index-verify", Kind: Boolean, Default: "false", NoEffect: "the index is rebuilt from the log when in doubt"},
	{Name: "max-mem-table-size", Kind: Integer, Default: "1000000", NoEffect: "the index sizes itself"},
	{Name: "reader-threads-count", Kind: Integer, Default: "0", NoEffect: "readers are not pooled"},
	{Name: "worker-threads", Kind: Integer, Default: "0", NoEffect: "workers are not pooled"},
	{Name: "run-projections", Kind: Text, Default: "None", Check: oneOf("none", "system", "all"), Help: "which projections run on the leader: None, System (by category, event type, correlation id, streams) or All, with custom ones"},
	{Name: "start-standard-projections", Kind: Boolean, Default: "false", Help: "enable the system projections when they are made"},
	{Name: "fault-out-of-order-projections", Kind: Boolean, Default: "false", NoEffect: "projections read the log, which has one order"},
	{Name: "projection-threads", Kind: Integer, Default: "3", NoEffect: "each projection has a thread of its own when it has something to do"},
	{Name: "enable-atom-pub-over-http", Kind: Boolean, Default: "false", NoEffect: "streams are served over gRPC only"},
	{Name: "disable-admin-ui", Kind: Boolean, Default: "false", NoEffect: "the dashboard belongs to the control plane"},
	{Name: "disable-stats-on-http", Kind: Boolean, Default: "false", NoEffect: "statistics are always served"},
	{Name: "disable-gossip-on-http", Kind: Boolean, Default: "false", NoEffect: "gossip is always served"},
	{Name: "disable-http-caching", Kind: Boolean, Default: "false", NoEffect: "answers are not cached"},
	{Name: "disable-log-file", Kind: Boolean, Default: "false", NoEffect: "logs go to standard error"},
	{Name: "log-config", Kind: Text, NoEffect: "use log-level and log-format"},
	{Name: "log-console-format", Kind: Text, NoEffect: "use log-format"},
	{Name: "stats-period-sec", Kind: Integer, Default: "30", NoEffect: "statistics are made when asked for"},
	{Name: "stats-storage", Kind: Text, NoEffect: "statistics are not written to streams"},
	{Name: "telemetry-optout", Kind: Boolean, Default: "false", NoEffect: "nothing is ever sent home"},
	{Name: "dev", Kind: Boolean, Default: "false", NoEffect: "use insecure for development"},
	{Name: "licensing-license-key", Kind: Text, Secret: true, NoEffect: "no license key is needed"},
}

func oneOf(words ...string) func(string) error {
	return func(text string) error {
		for _, w := range words {
			if strings.EqualFold(w, text) {
				return nil
			}
		}
		return fmt.Errorf("%q is not one of %s", text, strings.Join(words, ", "))
	}
}

func odd(text string) error {
	if v, _ := parseInt(text); v%2 == 0 {
		return fmt.Errorf("%s is even: give an odd number, a majority of %d needs as many nodes as one of %s", text, v+1, text)
	}
	return nil
}

func noPassword(string) error {
	return errors.New("encrypted private keys are not supported: give an unencrypted key that only the service can read")
}

func bindHost(text string) error {
	if strings.ContainsAny(text, "/ ") || (strings.Contains(text, ":") && net.ParseIP(text) == nil) {
		return fmt.Errorf("%q is not an address: give an IP address or a host name without port", text)
	}
	return nil
}

// collector checks the URL of a collector of traces; it is shown, so that it must hold no secret.
func collector(text string) error {
	u, err := url.Parse(text)
	switch {
	case text == "":
		return nil
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return fmt.Errorf("%q is not the URL of a collector: write for example http://127.0.0.1:4318", text)
	case u.User != nil:
		return errors.New("the URL of a collector must not hold credentials, options are shown: give them in OTEL_EXPORTER_OTLP_HEADERS")
	}
	return nil
}

// share checks a number from 0 to 1.
func share(text string) error {
	if v, err := strconv.ParseFloat(text, 64); err != nil || !(v >= 0 && v <= 1) {
		return fmt.Errorf("%q is not a share: give a number from 0 (none) to 1 (all)", text)
	}
	return nil
}

// seeds checks host:port items.
func seeds(text string) error {
	for _, item := range splitList(text) {
		host, port, err := net.SplitHostPort(item)
		if err != nil || host == "" {
			return fmt.Errorf("seed %q is not host:port: write for example 10.0.0.2:2113, several separated by commas", item)
		}
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > maxPort {
			return fmt.Errorf("seed %q: port %q is not a number from 1 to %d", item, port, maxPort)
		}
	}
	return nil
}
