package hub

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"baton/platform/identity"

	"google.golang.org/grpc/credentials"
)

// PeerProtocol is what control nodes agree on with ALPN when they speak HTTP to
// each other on the agents' port.
const PeerProtocol = "baton-control/1"

// handshakeTime bounds a TLS handshake.
const handshakeTime = 5 * time.Second

// sorter finishes the TLS handshake and hands connections of other control
// nodes on; the rest are agents', which speak gRPC.
type sorter struct {
	conf *tls.Config
	peer func(net.Conn, string)
}

func newSorter(conf *tls.Config, peer func(net.Conn, string)) credentials.TransportCredentials {
	conf = conf.Clone()
	conf.NextProtos = []string{"h2"}
	if peer != nil {
		conf.NextProtos = append(conf.NextProtos, PeerProtocol)
	}
	return &sorter{conf: conf, peer: peer}
}

// ServerHandshake implements credentials.TransportCredentials.
func (s *sorter) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn := tls.Server(raw, s.conf)
	_ = raw.SetDeadline(time.Now().Add(handshakeTime))
	if err := conn.Handshake(); err != nil {
		conn.Close()
		return nil, nil, err
	}
	_ = raw.SetDeadline(time.Time{})
	cs := conn.ConnectionState()
	switch cs.NegotiatedProtocol {
	case "h2":
		return conn, credentials.TLSInfo{State: cs, CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}, nil
	case PeerProtocol:
		who, err := identity.PeerIdentity(cs)
		if err != nil || who.Kind != identity.KindControl || s.peer == nil {
			conn.Close()
			return nil, nil, fmt.Errorf("refused as a control node: certificate of kind %q (%v)", who.Kind, err)
		}
		s.peer(conn, who.ID)
		return nil, nil, credentials.ErrConnDispatched
	}
	conn.Close()
	return nil, nil, fmt.Errorf("protocol %q is not spoken here", cs.NegotiatedProtocol)
}

// ClientHandshake implements credentials.TransportCredentials; a hub dials
// nobody.
func (s *sorter) ClientHandshake(_ context.Context, _ string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, fmt.Errorf("a hub dials nobody, not %s", raw.RemoteAddr())
}

// Info implements credentials.TransportCredentials.
func (s *sorter) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone implements credentials.TransportCredentials.
func (s *sorter) Clone() credentials.TransportCredentials { return &sorter{s.conf.Clone(), s.peer} }

// OverrideServerName implements credentials.TransportCredentials.
func (s *sorter) OverrideServerName(string) error { return nil }
