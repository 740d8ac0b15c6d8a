// Package facttest reads stories: text files with facts, a line of three
// dashes, and the verdict expected of them. Stories are run with -rewrite to
// write what the code says now, to be read before it is kept.
//
//	# a comment begins a story and names it
//	cluster redis generation=3
//	node a primary
//	node b replica lag=100
//	failsafe a 12
//	---
//	Healthy: ...
//
// Words of a node: its role, then any of down, unseen, stale, linkdown,
// loading, saving, failover, never, unlinked, nopersist, sameHost, and
// key=value of lag, lagsec, silence, history, of, version, term, priority,
// load, cores, disk, mem, fsync, age, skew, sync, foreign, senders, noreach,
// slow, maxmemory, used, setting, why.
package facttest

import (
	"flag"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"baton/control/engine"
	"baton/control/health"
)

var rewrite = flag.Bool("rewrite", false, "write the present verdicts into the stories")

// Now is the moment of every story.
var Now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// Story is the facts of one story. Rest are the lines that are not facts of
// nodes, for the package under test.
type Story struct {
	health.Snapshot
	Options   map[string]string // of the cluster line
	Connected map[string]bool
	Rest      [][]string
}

// Run runs every story of a file through verdict.
func Run(t *testing.T, file string, verdict func(*Story) string) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for i, block := range strings.Split(strings.TrimSpace(string(raw)), "\n\n") {
		facts, want, _ := strings.Cut(block, "\n---\n")
		facts = strings.TrimSuffix(facts, "\n---")
		s, err := parse(facts)
		if err != nil {
			t.Fatalf("%s, story %d: %v", file, i+1, err)
		}
		got := strings.TrimSpace(verdict(s))
		if i > 0 {
			out.WriteString("\n")
		}
		fmt.Fprintf(&out, "%s\n---\n%s\n", facts, got)
		if got != strings.TrimSpace(want) && !*rewrite {
			t.Errorf("%s: %s\ngot\n%s\nwant\n%s", file, strings.SplitN(facts, "\n", 2)[0], got, want)
		}
	}
	if *rewrite {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func parse(text string) (*Story, error) {
	s := &Story{Options: map[string]string{}, Connected: map[string]bool{}}
	s.Now, s.Cluster = Now, "c"
	for _, line := range strings.Split(text, "\n") {
		w := strings.Fields(line)
		switch {
		case len(w) == 0 || w[0] == "#":
		case w[0] == "cluster":
			s.Engine = w[1]
			for _, o := range w[2:] {
				k, v, _ := strings.Cut(o, "=")
				s.Options[k] = v
			}
		case w[0] == "failsafe":
			// failsafe NODE SECONDS: its agent said so; without seconds it is what the record permits.
			s.Failsafe = &health.Failsafe{Node: w[1], Seen: len(w) > 2}
			if s.Failsafe.Seen {
				n, err := strconv.Atoi(w[2])
				if err != nil {
					return nil, fmt.Errorf("%q: %w", line, err)
				}
				s.Failsafe.For = time.Duration(n) * time.Second
			}
		case w[0] == "node":
			if err := s.node(w[1:]); err != nil {
				return nil, fmt.Errorf("%q: %w", line, err)
			}
		default:
			s.Rest = append(s.Rest, w)
		}
	}
	s.reach()
	sort.Slice(s.Nodes, func(i, j int) bool { return s.Nodes[i].Name < s.Nodes[j].Name })
	return s, nil
}

func ptr[T any](v T) *T { return &v }

// node adds a node that is well in all that the words do not say.
func (s *Story) node(w []string) error {
	name, role := w[0], engine.Role(strings.ReplaceAll(w[1], "_", " "))
	addr := "h:" + name
	n := health.Node{Name: name, Agent: "agent-" + name, Address: addr, Priority: 100, LastRole: role,
		ReportAge: 200 * time.Millisecond, SeenAge: 300 * time.Millisecond,
		Host: &engine.HostFacts{Name: "host-" + name, Cores: 4, Load1: 0.4, MemoryBytes: 8 << 30, MemoryFree: 4 << 30},
		Disk: &engine.DiskFacts{FreeBytes: 50 << 30, TotalBytes: 100 << 30, FsyncP99Ms: ptr(2.0)}}
	o := &engine.Observation{Up: true, Role: role, LinkUp: true, History: "h1", EngineVersion: "7.0.15", WritesPerSecond: 10, Term: 5,
		Facts: engine.Facts{QueryMs: ptr(0.4), Reach: map[string]engine.Reach{}}}
	if s.Engine == engine.Redis {
		o.Term = 0
		o.Facts.Loading, o.Facts.PersistOK, o.Facts.FailoverRunning, o.Facts.DataSaving = ptr(false), ptr(true), ptr(false), ptr(false)
		o.Facts.SendersFree, o.Facts.SyncNeeded = ptr(int64(100)), ptr(int64(0))
		if role != engine.RolePrimary {
			o.ReplicaOf = "primary"
		}
	}
	n.Seen = o
	s.Connected[n.Agent] = true
	for _, word := range w[2:] {
		if err := s.word(&n, word); err != nil {
			return err
		}
	}
	s.Nodes = append(s.Nodes, n)
	return nil
}

func (s *Story) word(n *health.Node, word string) error {
	k, v, _ := strings.Cut(word, "=")
	num, _ := strconv.ParseFloat(v, 64)
	o := n.Seen
	if o == nil {
		return fmt.Errorf("%q after unseen", word)
	}
	switch k {
	case "down":
		o.Up, o.Err = false, "connection refused"
	case "unseen":
		n.Seen, n.Agent, n.ReportAge, n.LastRole = nil, "", -1, ""
	case "stale":
		n.SeenAge, n.ReportAge = 12*time.Second, 12*time.Second
	case "linkdown":
		o.LinkUp = false
	case "loading":
		o.Facts.Loading = ptr(true)
	case "saving":
		o.Facts.DataSaving = ptr(true)
	case "failover":
		o.Facts.FailoverRunning = ptr(true)
	case "nopersist":
		o.Facts.PersistOK, o.Facts.PersistWhy = ptr(false), "it was started without a file"
	case "never":
		n.Never = true
	case "unlinked":
		s.Connected[n.Agent] = false
	case "nofacts":
		o.Facts = engine.Facts{}
	case "sameHost":
		n.Agent = "agent-shared"
		s.Connected[n.Agent] = true
	case "lag":
		o.LagBytes = int64(num)
	case "lagsec":
		o.LagSeconds = num
	case "silence":
		o.LinkSilenceSeconds = num
	case "history":
		o.History = v
	case "of":
		o.ReplicaOf = "h:" + v
	case "version":
		o.EngineVersion = v
	case "term":
		o.Term = uint64(num)
	case "priority":
		n.Priority = int(num)
	case "load":
		n.Host.Load1 = num
	case "cores":
		n.Host.Cores = int(num)
	case "disk":
		n.Disk.FreeBytes = int64(num * float64(n.Disk.TotalBytes) / 100)
	case "mem":
		n.Host.MemoryFree = int64(num * float64(n.Host.MemoryBytes) / 100)
	case "fsync":
		n.Disk.FsyncP99Ms = ptr(num)
	case "age":
		n.ReportAge = time.Duration(num * float64(time.Second))
	case "skew":
		n.Host.ClockSkewMs = num
	case "sync":
		o.Facts.SyncNeeded = ptr(int64(num))
	case "foreign":
		o.Facts.ForeignManager = ptr(v)
	case "senders":
		o.Facts.SendersFree = ptr(int64(num))
	case "noreach":
		o.Facts.Reach["h:"+v] = engine.Reach{Code: engine.CodeAuth, Err: "WRONGPASS"}
	case "slow":
		o.Facts.QueryMs = ptr(num)
	case "maxmemory":
		o.Facts.MemoryLimitBytes = ptr(int64(num))
	case "used":
		o.Facts.MemoryUsedBytes = ptr(int64(num))
	case "setting":
		o.Facts.Settings = map[string]string{"maxmemory-policy": v}
	case "why":
		o.Why, o.Promotable = strings.ReplaceAll(v, "_", " "), false
	default:
		return fmt.Errorf("unknown word %q", word)
	}
	return nil
}

// reach lets every node log in to every other unless its words say otherwise,
// and lets replicas follow the primary.
func (s *Story) reach() {
	primary := ""
	for i := range s.Nodes {
		if n := &s.Nodes[i]; n.Seen != nil && n.Seen.Role == engine.RolePrimary {
			primary = n.Address
		}
	}
	for i := range s.Nodes {
		n := &s.Nodes[i]
		if n.Seen == nil {
			continue
		}
		if n.Seen.ReplicaOf == "primary" {
			n.Seen.ReplicaOf = primary
		}
		for k := range s.Nodes {
			a := s.Nodes[k].Address
			if _, ok := n.Seen.Facts.Reach[a]; !ok && n.Seen.Facts.Reach != nil {
				n.Seen.Facts.Reach[a] = engine.Reach{OK: true, RTTMs: 0.3}
			}
		}
	}
}
