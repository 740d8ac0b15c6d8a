package agent

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// fakeFilter stands for the kernel: it keeps the last script it took.
type fakeFilter struct {
	mu     sync.Mutex
	script string
	err    error
}

func (f *fakeFilter) take(_ context.Context, script string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return f.err
	}
	f.script = script
	return nil
}

func (f *fakeFilter) now() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.script
}

type limitsWorld struct {
	*hostLimits
	filter *fakeFilter
	link   atomic.Bool
}

func newLimitsWorld(t *testing.T, file string) *limitsWorld {
	t.Helper()
	w := &limitsWorld{filter: &fakeFilter{}}
	w.link.Store(true)
	w.hostLimits = &hostLimits{file: file, nft: w.filter.take, linked: w.link.Load, own: func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("192.0.2.7")} },
		trial: 20 * time.Millisecond, lost: 20 * time.Millisecond, want: map[string]Limits{}, before: map[string]*Limits{}, states: map[string]LimitState{}}
	return w
}

func (w *limitsWorld) state(cluster string) LimitState {
	for _, s := range w.all() {
		if s.Cluster == cluster {
			return s
		}
	}
	return LimitState{}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit, tick := time.Now().Add(time.Minute), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(limit) {
			t.Fatal("waited in vain: " + what)
		}
		<-tick.C
	}
}

func limitsOf(version string, allow ...string) Limits {
	return Limits{Cluster: "shop", Version: version, Ports: []int{6379}, Allow: allow}
}

// TestLimitsCountOnceTheLinkOutlivesTheirTrial, and are taken back when it does
// not.
func TestLimitsCountOnceTheLinkOutlivesTheirTrial(t *testing.T) {
	w := newLimitsWorld(t, filepath.Join(t.TempDir(), "limits.json"))
	if s, err := w.put(limitsOf("1", "10.0.0.0/8")); err != nil || s.State != LimitsTrial {
		t.Fatalf("%+v, %v", s, err)
	}
	eventually(t, "the first limits count", func() bool { return w.state("shop").State == LimitsInForce })
	good := w.filter.now()
	w.link.Store(false)
	if _, err := w.put(limitsOf("2", "172.16.0.0/12")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "what shut us out is taken back", func() bool { return w.state("shop").State == LimitsBack })
	if s := w.state("shop"); s.Version != "2" || !strings.Contains(s.Why, "link") || w.filter.now() != good {
		t.Errorf("%+v, in force is\n%s", s, w.filter.now())
	}
	w.link.Store(true)
	if s, err := w.put(limitsOf("")); err != nil || s.State != LimitsInForce || strings.Contains(w.filter.now(), "drop") || len(w.all()) != 0 {
		t.Errorf("without networks: %+v, %v, %s", s, err, w.filter.now())
	}
}

// TestATrialThatTheAgentDidNotSurviveIsTakenBack at its next start; what counted
// is put in force again.
func TestATrialThatTheAgentDidNotSurviveIsTakenBack(t *testing.T) {
	file := filepath.Join(t.TempDir(), "limits.json")
	w := newLimitsWorld(t, file)
	if _, err := w.put(limitsOf("1", "10.0.0.0/8")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first limits count", func() bool { return w.state("shop").State == LimitsInForce })
	w.mu.Lock()
	w.trial = time.Hour
	w.mu.Unlock()
	if s, err := w.put(limitsOf("2", "172.16.0.0/12")); err != nil || s.State != LimitsTrial {
		t.Fatalf("%+v, %v", s, err)
	}
	next := newLimitsWorld(t, file)
	if err := next.load(); err != nil {
		t.Fatal(err)
	}
	if s := next.state("shop"); s.State != LimitsBack || s.Version != "2" || !strings.Contains(next.filter.now(), "10.0.0.0/8") {
		t.Errorf("%+v\n%s", s, next.filter.now())
	}
	again := newLimitsWorld(t, file)
	if err := again.load(); err != nil {
		t.Fatal(err)
	}
	if s := again.state("shop"); s.State != LimitsInForce || s.Version != "1" || !strings.Contains(again.filter.now(), "10.0.0.0/8") {
		t.Errorf("after a restart: %+v\n%s", s, again.filter.now())
	}
	w.mu.Lock() // ends the watch of the first
	clear(w.before)
	w.mu.Unlock()
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := newLimitsWorld(t, file).load(); err == nil {
		t.Error("a damaged file is taken for no limits")
	}
}

// TestAHostThatCannotLimitSaysSo, and what was in force there stays.
func TestAHostThatCannotLimitSaysSo(t *testing.T) {
	w := newLimitsWorld(t, filepath.Join(t.TempDir(), "limits.json"))
	w.filter.err = errors.New("no such filter")
	if s, err := w.put(limitsOf("1", "10.0.0.0/8")); err != nil || s.State != LimitsNot || !strings.Contains(s.Why, "no such filter") {
		t.Errorf("%+v, %v", s, err)
	}
	w.filter.err = nil
	if s, err := w.put(limitsOf("1", "10.0.0.0/8")); err != nil || s.State != LimitsTrial {
		t.Errorf("tried again: %+v, %v", s, err)
	}
	for _, bad := range []Limits{{Cluster: "Shop"}, {Cluster: "shop", Allow: []string{"all"}}, {Cluster: "shop", Ports: []int{0}},
		{Cluster: "shop", Always: []string{"10.0.0.1; drop"}}} {
		if _, err := w.put(bad); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
	eventually(t, "the trial is over", func() bool { return w.state("shop").State == LimitsInForce })
}

func TestRulesLetOurOwnInAndNameNoNetworkTwice(t *testing.T) {
	got := ruleset([]Limits{
		{Cluster: "shop", Ports: []int{6380, 6379, 6379}, Allow: []string{"10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32"}, Always: []string{"10.2.3.4", "192.0.2.9", "::ffff:192.0.2.9"}},
		{Cluster: "empty", Ports: []int{7000}}, {Cluster: "elsewhere", Allow: []string{"10.0.0.0/8"}},
	}, []netip.Addr{netip.MustParseAddr("192.0.2.7")}, true)
	want := `table inet baton
delete table inet baton
table inet baton {
	chain cluster-shop {
		ip saddr { 10.0.0.0/8, 192.0.2.7/32, 192.0.2.9/32 } accept
		ip6 saddr { 2001:db8::/32 } accept
		counter reject with tcp reset
	}
	chain input {
		type filter hook input priority -5; policy accept;
		iif "lo" accept
		tcp dport { 6379, 6380 } jump cluster-shop
	}
}
`
	if got != want {
		t.Errorf("got\n%s", got)
	}
	if got := ruleset(nil, nil, true); got != "table inet baton\ndelete table inet baton\n" {
		t.Errorf("without limits:\n%s", got)
	}
}

// TestTheKernelsTableTellsWhoIsConnected: established ones to our ports only.
func TestTheKernelsTableTellsWhoIsConnected(t *testing.T) {
	table := `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:18EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1
   1: 0201000A:18EB 0905000A:C001 01 00000000:00000000 00:00000000 00000000     0        0 2
   2: 0201000A:18EB 0A05000A:C002 06 00000000:00000000 00:00000000 00000000     0        0 3
   3: 0201000A:0016 0B05000A:C003 01 00000000:00000000 00:00000000 00000000     0        0 4
   4: 0000000000000000FFFF00000201000A:18EB 0000000000000000FFFF00000C05000A:C004 01 0 0 0
   5: broken
`
	got := established([]byte(table), map[int]bool{6379: true})
	want := []netip.Addr{netip.MustParseAddr("10.0.5.9"), netip.MustParseAddr("10.0.5.12")}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
