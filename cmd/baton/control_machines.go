package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"baton/control/api"
	"baton/control/provider"
	"baton/control/provider/machines"
)

// openMachines makes the record of machines, before the inventory follows the
// journal. What it needs of later parts is looked up when it is called.
func (c *controlPlane) openMachines() {
	o := machines.Options{Journal: leaderJournal{c.journal}, Now: time.Now, Log: c.log.With("component", "machines"),
		Connect: connectProvider, Sum: sync.OnceValues(programSum),
		Token: func() (string, error) {
			t, _, err := c.AgentToken()
			return t, err
		},
		Joined: func(name string, after time.Time) (string, bool) {
			for _, h := range c.access.Hosts() {
				if h.Name == name && h.At.After(after) {
					return h.Agent, true
				}
			}
			return "", false
		},
		Forget: func(agent string) error {
			if err := c.access.RemoveHost(agent); err != nil {
				return err
			}
			c.Hub.Cut(agent)
			c.mirror.Forget(agent)
			return nil
		}}
	c.machines = machines.New(o)
	c.Inventory.Observe(c.machines.Take)
}

// wireMachines gives the record what seals tokens, and the API the record.
func (c *controlPlane) wireMachines(o *api.Options) {
	if c.secrets != nil {
		c.machines.Secrets = c.secrets
	}
	o.Provisioner = c.machines
	if path, err := os.Executable(); err == nil {
		o.Program = path
	}
}

func connectProvider(kind, token, endpoint string) (provider.Maker, error) {
	if kind != "hetzner" {
		return nil, fmt.Errorf("provider %q: %w", kind, provider.ErrInput)
	}
	return provider.NewHetzner(token, endpoint, version), nil
}

// programSum is the SHA-256 of this very program.
func programSum() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find the program's own file: %w", err)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read the program: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read the program: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
