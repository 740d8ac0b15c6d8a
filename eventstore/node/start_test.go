package node

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAddressInUseIsRefusedAndNothingWritten(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, 1, nil)
	c.start(0)
	dir := filepath.Join(t.TempDir(), "second")
	if n, err := Start(Config{Dir: dir, PeerListen: c.addrs[0]}); err == nil {
		n.Stop()
		t.Fatal("two nodes listen at one address")
	} else if !strings.Contains(err.Error(), c.addrs[0]) {
		t.Errorf("the error does not name the address: %v", err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("something was written: %v", err)
	}
}

func TestSecondProcessOnADirectoryIsRefused(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, 1, nil)
	c.start(0)
	if n, err := Start(Config{Dir: c.dirs[0], PeerListen: "127.0.0.1:0"}); err == nil {
		n.Stop()
		t.Fatal("two nodes share a directory")
	}
}

func TestNodeWithALogButNoIdentityIsRefused(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, 1, func(_ int, cfg *Config) { cfg.PeerSeeds = nil })
	c.start(0)
	c.waitLeader()
	c.write(0, "orders", 0)
	c.stop(0)
	if err := os.Remove(filepath.Join(c.dirs[0], identityFile)); err != nil {
		t.Fatal(err)
	}
	if n, err := Start(Config{Dir: c.dirs[0], PeerListen: "127.0.0.1:0"}); err == nil {
		n.Stop()
		t.Fatal("a node forgot who it is and started")
	}
}

// Goal: seeds are client addresses; nodes find each other's peer addresses by
// asking there.
func TestSeedsAreResolvedOverHTTP(t *testing.T) {
	t.Parallel()
	servers := make([]*httptest.Server, 3)
	c := newCluster(t, 3, 3, nil)
	for i := range servers {
		servers[i] = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_ = json.NewEncoder(w).Encode(seedAnswer{ID: 1, PeerAddress: c.addrs[i]})
		}))
		t.Cleanup(servers[i].Close)
	}
	c.tune = func(_ int, cfg *Config) {
		cfg.PeerSeeds = nil
		for _, s := range servers {
			cfg.Seeds = append(cfg.Seeds, strings.TrimPrefix(s.URL, "http://"))
		}
	}
	c.startAll()
	c.roles(3, 0)
	recorder := httptest.NewRecorder()
	c.nodes[0].HelloHandler().ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, HelloPath, nil))
	var answer seedAnswer
	if err := json.Unmarshal(recorder.Body.Bytes(), &answer); err != nil || answer.PeerAddress != c.addrs[0] || answer.ID != c.nodes[0].ID() {
		t.Errorf("hello answers %s, %v", recorder.Body, err)
	}
}
