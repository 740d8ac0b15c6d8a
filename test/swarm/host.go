package swarm

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"baton/control/agent/delta"
	"baton/control/engine"
	agentpb "baton/gen/agent"

	"github.com/fxamacker/cbor/v2"
	"google.golang.org/grpc/credentials"
)

// inCBOR writes reports as agents do.
var inCBOR = func() cbor.EncMode {
	m, err := cbor.EncOptions{Time: cbor.TimeRFC3339Nano}.EncMode()
	if err != nil {
		panic(err)
	}
	return m
}()

// host is one simulated machine. Only the goroutine of its link uses it.
type host struct {
	address string
	creds   credentials.TransportCredentials
	began   time.Time
	report  report
	known   report // what the control plane has of it; Sequence 0: nothing
	since   int    // reports since the last whole one
}

// wholeEvery is after how many reports a whole one is sent, as agents do.
const wholeEvery = 256

// report has the names of control/agent's Report.
type report struct {
	Agent       string                `json:"agent"`
	Name        string                `json:"name"`
	Version     string                `json:"version"`
	PID         int                   `json:"pid"`
	At          time.Time             `json:"at"`
	ReceivedAt  time.Time             `json:"receivedAt"`
	Sequence    uint64                `json:"sequence,string"`
	Host        engine.HostFacts      `json:"host"`
	Instances   []instance            `json:"instances"`
	Processes   []engine.ProcessState `json:"processes"`
	Programs    []engine.Program      `json:"programs,omitempty"`
	Disk        *engine.DiskFacts     `json:"disk,omitempty"`
	Supervision string                `json:"supervision,omitempty"`
}

type instance struct {
	Cluster     string              `json:"cluster"`
	Node        string              `json:"node"`
	Engine      string              `json:"engine"`
	Address     string              `json:"address"`
	Process     string              `json:"process,omitempty"`
	Disk        *engine.DiskFacts   `json:"disk,omitempty"`
	Observation *engine.Observation `json:"observation,omitempty"`
}

// Cluster and Node are the names of the simulated ones, counted from 0. The
// first node of each is its primary.
func Cluster(c int) string { return fmt.Sprintf("sim-%04d", c) }

// Node is the name of a cluster's node.
func Node(c, n int) string { return fmt.Sprintf("sim-%04d-%d", c, n+1) }

// place is the made-up address of a node.
func place(c, n int) string { return fmt.Sprintf("10.%d.%d.%d:6379", 100+n, c/250, 1+c%250) }

func newHost(i int) *host {
	fsync := 0.8
	return &host{began: time.Now(), report: report{Name: fmt.Sprintf("sim-host-%04d", i), Version: "simulated", PID: 4000 + i, Supervision: "child",
		Host: engine.HostFacts{Name: fmt.Sprintf("sim-host-%04d", i), OS: "linux", Kernel: "6.1.0-28-amd64", Arch: "amd64", Model: "Standard PC (Q35 + ICH9, 2009)",
			Cores: 8, MemoryBytes: 32 << 30, MemoryFree: 20 << 30, Provider: "local", Location: fmt.Sprintf("zone-%d", i%3), BootID: fmt.Sprintf("5b5c1ad0-93b3-4e2f-9d0f-%012d", i),
			Addresses: []string{fmt.Sprintf("10.0.%d.%d", i/250, 1+i%250)}, Virtualization: "kvm"},
		Programs: []engine.Program{{Engine: engine.Redis, Version: "7.0.15", Path: "/usr/bin/redis-server"}},
		Disk:     &engine.DiskFacts{Dir: "/var/lib/baton/agent", FreeBytes: 200 << 30, TotalBytes: 400 << 30, FsyncP99Ms: &fsync}}}
}

// add puts a node of a cluster on the host.
func (h *host) add(c, n, nodes int) {
	name := Node(c, n)
	yes, no, zero, fsync, replicas, free := true, false, int64(0), 0.8, int64(nodes-1), int64(9_900)
	conns, limit, backlog := int64(42), int64(10_000), int64(64<<20)
	memory, cap, oldest, manager := int64(900<<20), int64(4<<30), 0.0, ""
	query := 0.2
	o := &engine.Observation{Cluster: Cluster(c), Node: name, Engine: engine.Redis, Address: place(c, n), Up: true, Role: engine.RoleReplica, EngineVersion: "7.0.15",
		State: "slave", Position: 1 << 33, LinkUp: true, ReplicaOf: place(c, 0), History: fmt.Sprintf("%040x", 7_000_000+c), WritesPerSecond: -1, Priority: 100,
		Facts: engine.Facts{QueryMs: &query, Loading: &no, PersistOK: &yes, MemoryUsedBytes: &memory, MemoryLimitBytes: &cap, DataSaving: &no, FailoverRunning: &no,
			Connections: &conns, ConnectionsMax: &limit, SendersFree: &free, SyncNeeded: &zero, ReplicasAttached: &zero, BacklogBytes: &backlog, SyncFull: &zero,
			OldestTransactionSeconds: &oldest, ForeignManager: &manager, Reach: map[string]engine.Reach{},
			Settings: map[string]string{"maxmemory": "4294967296", "maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "everysec", "save": "3600 1 300 100 60 10000",
				"databases": "16", "min-replicas-to-write": "0", "min-replicas-max-lag": "10", "repl-backlog-size": "67108864", "repl-diskless-load": "disabled",
				"notify-keyspace-events": "", "maxclients": "10000", "masteruser": "", "replica-priority": "100", "replica-announced": "yes", "users": "7a1c33f5e09d"}},
		Details: map[string]string{"runId": fmt.Sprintf("%040x", 90_000_000+c*16+n), "configFile": "/var/lib/baton/data/" + name + "/redis.conf", "uptimeSeconds": "86400",
			"connectedReplicas": "0", "syncFull": "0", "syncPartialOk": "4", "failoverState": "no-failover", "keys": "keys=120000,expires=0,avg_ttl=0",
			"processId": strconv.Itoa(10_000 + c*16 + n), "aofSize": "104857600"}}
	for p := range nodes {
		if p != n {
			o.Facts.Reach[place(c, p)] = engine.Reach{OK: true, RTTMs: 0.3}
		}
	}
	if n == 0 {
		o.Role, o.State, o.ReplicaOf, o.WritesPerSecond = engine.RolePrimary, "master", "", 1200
		o.Facts.ReplicasAttached = &replicas
		o.Details["connectedReplicas"], o.Details["syncFull"] = strconv.Itoa(nodes-1), strconv.Itoa(nodes-1)
		for p := 1; p < nodes; p++ {
			o.Links = append(o.Links, engine.Link{Address: place(c, p), Role: engine.RoleReplica, State: "online", Up: true})
		}
	}
	h.report.Instances = append(h.report.Instances, instance{Cluster: Cluster(c), Node: name, Engine: engine.Redis, Address: place(c, n), Process: name, Observation: o,
		Disk: &engine.DiskFacts{Dir: "/var/lib/baton/data/" + name, FreeBytes: 200 << 30, TotalBytes: 400 << 30, FsyncP99Ms: &fsync}})
	h.report.Processes = append(h.report.Processes, engine.ProcessState{Name: name, State: "running", PID: 10_000 + c*16 + n, StartedAt: h.began,
		LogFile: "/var/lib/baton/agent/processes/" + name + ".log"})
}

// next is the next report in the form it travels in, and its size: whole, or what
// changed since the one before.
func (h *host) next(whole bool) (m *agentpb.Report, size int, err error) {
	h.move()
	if h.since++; whole || h.known.Sequence == 0 || h.since >= wholeEvery {
		b, err := inCBOR.Marshal(&h.report)
		if err != nil {
			return nil, 0, err
		}
		h.since, h.known = 0, report{}
		return &agentpb.Report{Cbor: b}, len(b), cbor.Unmarshal(b, &h.known)
	}
	m = &agentpb.Report{Base: h.known.Sequence, Delta: delta.Of(&h.known, &h.report)}
	h.known, err = delta.Apply(&h.known, m.Delta)
	return m, len(m.Delta), err
}

// move makes what moves on a real host move.
func (h *host) move() {
	now := time.Now()
	r := &h.report
	r.Sequence++
	r.At, r.Host.Clock, r.Host.UptimeSeconds = now, now, 864_000+int64(now.Sub(h.began).Seconds())
	r.Host.Load1, r.Host.CPUPercent = 0.5+rand.Float64(), 10+20*rand.Float64()
	r.Host.MemoryFree = 20<<30 + rand.Int64N(1<<28)
	uptime := strconv.FormatInt(86_400+int64(now.Sub(h.began).Seconds()), 10)
	// Every position is the same function of time, so that lag is small and real.
	written := uint64(now.UnixMilli()) * 300
	for i := range r.Instances {
		o := r.Instances[i].Observation
		o.At = now.Add(-time.Duration(rand.Int64N(int64(ReportInterval))))
		behind := uint64(0)
		if o.Role == engine.RoleReplica {
			behind = rand.Uint64N(2_000)
			o.PrimaryPosition, o.LagBytes, o.LinkSilenceSeconds = written, int64(behind), 0
		} else {
			o.WritesPerSecond = 1_100 + 200*rand.Float64()
			for k := range o.Links {
				o.Links[k].Position, o.Links[k].LagBytes = written-rand.Uint64N(2_000), rand.Int64N(2_000)
			}
		}
		o.Position = written - behind
		*o.Facts.QueryMs = 0.1 + 0.3*rand.Float64()
		*o.Facts.MemoryUsedBytes = 900<<20 + rand.Int64N(1<<24)
		o.Details["uptimeSeconds"] = uptime
		for a, reach := range o.Facts.Reach {
			if now.Sub(reach.At) > 5*time.Second {
				reach.At, reach.RTTMs = now, 0.2+0.2*rand.Float64()
				o.Facts.Reach[a] = reach
			}
		}
	}
}
