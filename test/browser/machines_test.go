package browser

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"baton/control/provider/hetznertest"
	"baton/test/fleet"
)

// machinesFor gives the scripts a provider whose machines boot, and a machine
// that can be reached over SSH. What cannot be had here is said and left out.
func machinesFor(t *testing.T) (env []string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p := &provider{t: t, server: hetznertest.Start(t), ctx: ctx}
	p.all.Go(p.boots)
	t.Cleanup(func() { cancel(); p.all.Wait() })
	env = []string{"BATON_PROVIDER=" + p.server.URL, "BATON_PROVIDER_TOKEN=" + hetznertest.Token}
	dir := t.TempDir()
	s, err := fleet.StartSSHD(dir)
	if errors.Is(err, fleet.ErrNoSSHD) {
		t.Log(err, "; the installation over SSH is not tried in the browser")
		return env
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		if t.Failed() {
			t.Logf("sshd:\n%s", s.Log())
		}
	})
	key := filepath.Join(dir, "key")
	if err := os.WriteFile(key, s.Key, 0o600); err != nil {
		t.Fatal(err)
	}
	return append(env, "BATON_SSH_PORT="+strconv.Itoa(s.Port), "BATON_SSH_KEY="+key, "BATON_SSH_HOST_KEY="+s.HostKey)
}

// provider boots the machines that are asked of the contract server, as their
// user data tells them, with an agent that is a process of this machine.
type provider struct {
	t      *testing.T
	server *hetznertest.Server
	ctx    context.Context
	all    sync.WaitGroup
}

// boots starts a machine for each that was made, until the test ends.
func (p *provider) boots() {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	booted := 0
	for {
		p.server.Lock()
		made := p.server.Made[booted:]
		p.server.Unlock()
		for _, m := range made {
			dir := p.t.TempDir()
			p.all.Go(func() {
				if err := p.boot(m, dir); err != nil && p.ctx.Err() == nil {
					p.t.Errorf("machine %s does not boot: %v", m.Name, err)
				}
			})
		}
		booted += len(made)
		select {
		case <-p.ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// boot does what the first-boot tool would with the user data: it fetches the
// program, compares its checksum, joins with the token and runs the agent.
func (p *provider) boot(m hetznertest.Created, dir string) error {
	var cloud struct {
		Files []struct{ Path, Content string } `json:"write_files"`
	}
	text, found := strings.CutPrefix(m.UserData, "#cloud-config\n")
	if err := json.Unmarshal([]byte(text), &cloud); err != nil || !found {
		return fmt.Errorf("user data that the first-boot tool would not take: %w", err)
	}
	file := map[string]string{}
	for _, f := range cloud.Files {
		file[filepath.Base(f.Path)] = strings.TrimSpace(f.Content)
	}
	req, err := http.NewRequestWithContext(p.ctx, "GET", file["url"], nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	program := filepath.Join(dir, "baton")
	f, err := os.OpenFile(program, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(f, h), res.Body)
	if err = errors.Join(err, f.Close()); err != nil || res.StatusCode != http.StatusOK {
		return fmt.Errorf("fetch the program: %s %w", res.Status, err)
	}
	if sum := hex.EncodeToString(h.Sum(nil)); sum != file["sum"] {
		return fmt.Errorf("the program's checksum is %s and should be %s", sum, file["sum"])
	}
	data := filepath.Join(dir, "agent")
	join := exec.CommandContext(p.ctx, program, "agent", "join", "--data", data, "--name", file["name"])
	join.Stdin = strings.NewReader(file["token"] + "\n")
	if out, err := join.CombinedOutput(); err != nil {
		return fmt.Errorf("join: %w: %s", err, out)
	}
	agent := exec.CommandContext(p.ctx, program, "agent", "--data", data, "--supervisor", "child")
	var said bytes.Buffer
	agent.Stdout, agent.Stderr = &said, &said
	err = agent.Run() // until the test ends, or the agent is told that it was removed
	if p.ctx.Err() == nil && !strings.Contains(said.String(), "removed") {
		p.t.Logf("the agent of %s ended: %v\n%s", m.Name, err, said.String())
	}
	return nil
}
