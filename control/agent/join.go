package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	agentpb "baton/gen/agent"
	"baton/platform/identity"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
)

// renewBefore the end of its certificate an agent asks for a new one; a
// control plane may be away for a part of that.
const renewBefore = 90 * 24 * time.Hour

// ErrNotJoined: the directory holds no identity; run with a join token first.
var ErrNotJoined = errors.New("this agent has not joined a control plane")

// member is what a joined agent keeps: agent.json, agent.crt, agent.key, ca.crt.
type member struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Address string `json:"address"` // of the control node that led last
	// Addresses are those of all control nodes, as they last told.
	Addresses []string `json:"addresses,omitempty"`
	tls       *tls.Config
	until     time.Time // end of the certificate
}

func loadMember(dir string) (member, error) {
	var m member
	b, err := os.ReadFile(filepath.Join(dir, "agent.json"))
	if errors.Is(err, os.ErrNotExist) {
		return m, ErrNotJoined
	}
	if err != nil {
		return m, fmt.Errorf("read the agent's identity: %w", err)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("read the agent's identity in %s: %w", dir, err)
	}
	var parts [3][]byte
	for i, name := range []string{"agent.crt", "agent.key", "ca.crt"} {
		if parts[i], err = os.ReadFile(filepath.Join(dir, name)); err != nil {
			return m, fmt.Errorf("read the agent's identity: %w", err)
		}
	}
	if m.tls, err = identity.ClientConfig(parts[0], parts[1], parts[2]); err != nil {
		return m, fmt.Errorf("read the agent's identity in %s: %w", dir, err)
	}
	leaf, err := x509.ParseCertificate(m.tls.Certificates[0].Certificate[0])
	if err != nil {
		return m, fmt.Errorf("read the agent's certificate: %w", err)
	}
	m.until = leaf.NotAfter
	return m, nil
}

// Joined tells whether dir holds an identity.
func Joined(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "agent.json"))
	return err == nil
}

// SetAddress changes where a joined agent finds its control plane.
func SetAddress(dir, address string) error {
	m, err := loadMember(dir)
	if err != nil || m.Address == address && len(m.Addresses) <= 1 {
		return err
	}
	m.Address, m.Addresses = address, []string{address}
	return storeMember(dir, m)
}

func storeMember(dir string, m member) error {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return identity.WriteFile(filepath.Join(dir, "agent.json"), b, 0o600)
}

// Join exchanges the token for an identity in dir. The private key is made here and
// never leaves. Joining again in a directory that has an identity is refused.
func Join(ctx context.Context, dir, token, name string) error {
	t, err := identity.ParseToken(token)
	if err != nil {
		return err
	}
	if Joined(dir) {
		return fmt.Errorf("an agent in %s has joined already; remove the directory to join anew", dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the agent's directory: %w", err)
	}
	key, keyPEM, err := identity.NewKey()
	if err != nil {
		return err
	}
	csr, err := identity.NewRequest(key)
	if err != nil {
		return fmt.Errorf("make certificate request: %w", err)
	}
	reply, at, err := join(ctx, t, &agentpb.JoinRequest{Secret: t.Secret, CsrDer: csr, Name: name})
	if err != nil {
		return err
	}
	if err := storeCertificate(dir, keyPEM, reply); err != nil {
		return err
	}
	// agent.json comes last: it makes the identity count.
	return storeMember(dir, member{ID: reply.GetAgentId(), Name: name, Address: at, Addresses: merge(reply.GetAddresses(), t.Addresses())})
}

// joinTime bounds the attempt at one control node.
const joinTime = 15 * time.Second

// join asks one control node after the other until one answers, and returns
// which did. A refusal is an answer.
func join(ctx context.Context, t identity.JoinToken, req *agentpb.JoinRequest) (reply *agentpb.JoinReply, at string, err error) {
	for _, at = range t.Addresses() {
		reply, err = joinAt(ctx, at, t.CAFingerprint, req)
		if c := status.Code(err); err == nil || c == codes.PermissionDenied || c == codes.InvalidArgument || ctx.Err() != nil {
			break
		}
	}
	switch s := status.Convert(err); {
	case err == nil:
		return reply, at, nil
	case s.Code() == codes.PermissionDenied || s.Code() == codes.InvalidArgument:
		return nil, at, fmt.Errorf("join %s: %s", at, s.Message())
	}
	return nil, at, fmt.Errorf("join %s: %w", at, err)
}

func joinAt(ctx context.Context, address, fingerprint string, req *agentpb.JoinRequest) (*agentpb.JoinReply, error) {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(identity.PinnedConfig(fingerprint))))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, joinTime)
	defer cancel()
	return agentpb.NewAgentLinkClient(conn).Join(ctx, req)
}

// IdentityOf returns the id and name a joined agent's directory holds, or
// ErrNotJoined.
func IdentityOf(dir string) (id, name string, err error) {
	m, err := loadMember(dir)
	return m.ID, m.Name, err
}

// storeCertificate writes what a join brought, the certificate last.
func storeCertificate(dir string, keyPEM []byte, reply *agentpb.JoinReply) error {
	for _, f := range []struct {
		name string
		data []byte
	}{{"agent.key", keyPEM}, {"ca.crt", reply.GetCaPem()}, {"agent.crt", reply.GetCertificatePem()}} {
		if err := identity.WriteFile(filepath.Join(dir, f.name), f.data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// renew replaces the certificate when less than renewBefore of its life is
// left. The key stays, so that one file changes and a crash leaves a pair that fits.
func (a *Agent) renew(ctx context.Context, api agentpb.AgentLinkClient) error {
	if time.Until(a.me.until) > renewBefore {
		return nil
	}
	keyPEM, err := os.ReadFile(filepath.Join(a.opt.Dir, "agent.key"))
	if err != nil {
		return fmt.Errorf("read the agent's key: %w", err)
	}
	csr, err := identity.RequestFor(keyPEM)
	if err != nil {
		return fmt.Errorf("make certificate request: %w", err)
	}
	reply, err := api.Renew(ctx, &agentpb.RenewRequest{CsrDer: csr})
	if err != nil {
		return err
	}
	if reply.GetAgentId() != a.me.ID {
		return fmt.Errorf("the control plane renewed the certificate of agent %s, not of %s", reply.GetAgentId(), a.me.ID)
	}
	if err := identity.WriteFile(filepath.Join(a.opt.Dir, "agent.crt"), reply.GetCertificatePem(), 0o600); err != nil {
		return err
	}
	me, err := loadMember(a.opt.Dir)
	if err != nil {
		return err
	}
	a.me.tls, a.me.until = me.tls, me.until // from the next dial on
	a.log.Info("certificate renewed", "until", me.until)
	return nil
}
