package agent

import (
	"context"
	"crypto/tls"
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

// ErrNotJoined: the directory holds no identity; run with a join token first.
var ErrNotJoined = errors.New("this agent has not joined a control plane")

// member is what a joined agent keeps: agent.json, agent.crt, agent.key, ca.crt.
type member struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Address string `json:"address"` // of the control plane's agent listener
	tls     *tls.Config
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
	m.tls, err = identity.ClientConfig(parts[0], parts[1], parts[2])
	return m, err
}

// Joined tells whether dir holds an identity.
func Joined(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "agent.json"))
	return err == nil
}

// SetAddress changes where a joined agent finds its control plane.
func SetAddress(dir, address string) error {
	m, err := loadMember(dir)
	if err != nil || m.Address == address {
		return err
	}
	m.Address = address
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
	conn, err := grpc.NewClient(t.Address, grpc.WithTransportCredentials(credentials.NewTLS(identity.PinnedConfig(t.CAFingerprint))))
	if err != nil {
		return fmt.Errorf("join %s: %w", t.Address, err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	reply, err := agentpb.NewAgentLinkClient(conn).Join(ctx, &agentpb.JoinRequest{Secret: t.Secret, CsrDer: csr, Name: name})
	if err != nil {
		if s := status.Convert(err); s.Code() == codes.PermissionDenied || s.Code() == codes.InvalidArgument {
			return fmt.Errorf("join %s: %s", t.Address, s.Message())
		}
		return fmt.Errorf("join %s: %w", t.Address, err)
	}
	for _, f := range []struct {
		name string
		data []byte
	}{{"agent.key", keyPEM}, {"agent.crt", reply.GetCertificatePem()}, {"ca.crt", reply.GetCaPem()}} {
		if err := identity.WriteFile(filepath.Join(dir, f.name), f.data, 0o600); err != nil {
			return err
		}
	}
	// agent.json comes last: it makes the identity count.
	return storeMember(dir, member{ID: reply.GetAgentId(), Name: name, Address: t.Address})
}

// IdentityOf returns the id and name a joined agent's directory holds, or
// ErrNotJoined.
func IdentityOf(dir string) (id, name string, err error) {
	m, err := loadMember(dir)
	return m.ID, m.Name, err
}
