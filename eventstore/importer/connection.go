package importer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// schemes of connection strings, without the suffix that asks for discovery.
var schemes = []string{"esdb", "kdb", "kurrent", "kurrentdb"}

const (
	defaultPort = "2113"
	// dialTimeout bounds the time for one host of a connection string.
	dialTimeout = 10 * time.Second
	// maxMessage is the largest answer taken, bytes: an event may have 16 MiB
	// by default and servers can be told to allow more.
	maxMessage = 256 << 20
)

// Connection is a parsed connection string.
type Connection struct {
	Hosts          []string // host:port, tried in this order
	User, Password string
	TLS            bool
	CAFile         string // PEM; the system's authorities when empty
	Verify         bool   // the server's certificate
}

// ParseConnection reads scheme://[user:password@]host[:port][,host...][?key=value&...]
// with the keys tls, tlsVerifyCert, tlsCaFile; other keys of clients are passed
// over. The error says what is wrong without showing a password.
func ParseConnection(text string) (Connection, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || !slices.Contains(schemes, strings.TrimSuffix(strings.ToLower(scheme), "+discover")) {
		return Connection{}, errors.New("a connection string begins with esdb:// or kurrentdb://, for example esdb://localhost:2113?tls=false")
	}
	rest, query, _ := strings.Cut(rest, "?")
	rest = strings.TrimSuffix(rest, "/")
	c := Connection{TLS: true, Verify: true}
	if at := strings.LastIndex(rest, "@"); at >= 0 {
		user, password, ok := strings.Cut(rest[:at], ":")
		var errUser, errPassword error
		c.User, errUser = url.PathUnescape(user)
		c.Password, errPassword = url.PathUnescape(password)
		if !ok || user == "" || errUser != nil || errPassword != nil {
			return Connection{}, errors.New("the connection string names a user in another form than user:password@; write special characters as %XX")
		}
		rest = rest[at+1:]
	}
	for _, host := range strings.Split(rest, ",") {
		if host == "" || strings.ContainsAny(host, "/ ") {
			return Connection{}, fmt.Errorf("the connection string names no host, or one that is none: %q", host)
		}
		if !strings.Contains(strings.TrimPrefix(host, "["), ":") || strings.HasSuffix(host, "]") {
			host += ":" + defaultPort
		}
		c.Hosts = append(c.Hosts, host)
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return Connection{}, errors.New("the options after ? cannot be read; they have the form key=value&key=value")
	}
	for key, list := range values {
		value := list[len(list)-1]
		switch strings.ToLower(key) {
		case "tls":
			c.TLS = !strings.EqualFold(value, "false")
		case "tlsverifycert":
			c.Verify = !strings.EqualFold(value, "false")
		case "tlscafile":
			c.CAFile = value
		}
	}
	return c, nil
}

// dial connects to the first host that answers.
func (c Connection) dial(ctx context.Context) (*grpc.ClientConn, error) {
	options := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage))}
	if c.TLS {
		config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: !c.Verify}
		if c.CAFile != "" {
			pem, err := os.ReadFile(c.CAFile)
			if err != nil {
				return nil, fmt.Errorf("read the authority's certificate: %w", err)
			}
			config.RootCAs = x509.NewCertPool()
			if !config.RootCAs.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("%s holds no certificate in PEM form", c.CAFile)
			}
		}
		options[0] = grpc.WithTransportCredentials(credentials.NewTLS(config))
		if c.User != "" {
			options = append(options, grpc.WithPerRPCCredentials(basic(base64.StdEncoding.EncodeToString([]byte(c.User+":"+c.Password)))))
		}
	}
	for _, host := range c.Hosts {
		conn, err := grpc.NewClient("passthrough:///"+host, options...)
		if err != nil {
			return nil, fmt.Errorf("connect to %s: %w", host, err)
		}
		if waitConnected(ctx, conn) {
			return conn, nil
		}
		conn.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return nil, fmt.Errorf("no answer from %s; check host, port and whether the server has TLS (tls=false for one without)", strings.Join(c.Hosts, ", "))
}

func waitConnected(ctx context.Context, conn *grpc.ClientConn) bool {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn.Connect()
	for {
		state := conn.GetState()
		if state == connectivity.Ready {
			return true
		}
		if state == connectivity.TransientFailure || !conn.WaitForStateChange(ctx, state) {
			return false
		}
	}
}

// basic is the credentials of a user, encoded.
type basic string

func (b basic) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Basic " + string(b)}, nil
}

func (basic) RequireTransportSecurity() bool { return true }
