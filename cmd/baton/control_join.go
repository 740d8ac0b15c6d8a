package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	agentpb "baton/gen/agent"
	"baton/platform/identity"
)

// controlSettings are what a control node keeps of itself.
type controlSettings struct {
	Name string `json:"name"`
	// Joined says that it belongs to a control plane others founded.
	Joined bool `json:"joined"`
	// Peers are the journals of the others as they were when it joined.
	Peers []string `json:"peers,omitempty"`
	// PeerListen is the address chosen for the journal when none was given: the
	// others know it by that.
	PeerListen string `json:"peerListen,omitempty"`
}

const controlSettingsFile = "control.json"

func loadControlSettings(dir string) (s controlSettings, err error) {
	b, err := os.ReadFile(filepath.Join(dir, controlSettingsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		return s, fmt.Errorf("read what this control node knows of itself: %w", err)
	}
	return s, nil
}

func (s controlSettings) save(dir string) error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return identity.WriteFile(filepath.Join(dir, controlSettingsFile), b, 0o600)
}

// sharedFiles are what every control node holds: below the data directory,
// each 0600. Those that do not exist are not shared.
var sharedFiles = []string{"ca/ca.crt", "ca/ca.key", "cli-token", masterKeyName}

// masterKeyName is the file of the key that secrets in the journal are sealed
// with.
const masterKeyName = "master.key"

// readShared reads what a joining control node receives.
func readShared(dir string) (map[string][]byte, error) {
	out := map[string][]byte{}
	for _, name := range sharedFiles {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		out[name] = b
	}
	return out, nil
}

// controlJoinTime bounds the attempt to join at one address.
const controlJoinTime = 15 * time.Second

// joinControl exchanges the token for the shared files. The settings are
// written last: they make the joining count.
func joinControl(ctx context.Context, dir, token, name string) (controlSettings, error) {
	s := controlSettings{Name: name, Joined: true}
	t, err := identity.ParseToken(token)
	if err != nil {
		return s, err
	}
	if _, err := os.Stat(filepath.Join(dir, "ca")); err == nil {
		return s, fmt.Errorf("%s holds a control plane already: to join another one give an empty --data", dir)
	}
	var reply *agentpb.JoinControlReply
	for _, address := range t.Addresses() {
		reply, err = joinControlAt(ctx, address, t, name)
		if c := status.Code(err); err == nil || c == codes.PermissionDenied || c == codes.InvalidArgument || c == codes.FailedPrecondition {
			break
		}
	}
	if err != nil {
		return s, fmt.Errorf("join the control plane: %s", status.Convert(err).Message())
	}
	for _, f := range sharedFiles {
		data, ok := reply.GetFiles()[f]
		if !ok {
			continue
		}
		path := filepath.Join(dir, filepath.FromSlash(f))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return s, fmt.Errorf("make the data directory: %w", err)
		}
		if err := identity.WriteFile(path, data, 0o600); err != nil {
			return s, err
		}
	}
	s.Peers = reply.GetPeers()
	return s, s.save(dir)
}

func joinControlAt(ctx context.Context, address string, t identity.JoinToken, name string) (*agentpb.JoinControlReply, error) {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(identity.PinnedConfig(t.CAFingerprint))))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, controlJoinTime)
	defer cancel()
	return agentpb.NewControlLinkClient(conn).JoinControl(ctx, &agentpb.JoinControlRequest{Secret: t.Secret, Name: name})
}
