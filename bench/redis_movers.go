package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"baton/control/engine"
	"baton/test/fleet"

	goredis "github.com/redis/go-redis/v9"
)

// failoverMover is the server's own FAILOVER.
type failoverMover struct{}

func (*failoverMover) name() string           { return "`FAILOVER`" }
func (*failoverMover) start(*redisSite) error { return nil }
func (*failoverMover) stop()                  {}
func (*failoverMover) address() string        { return "" }

func (*failoverMover) move(ctx context.Context, s *redisSite, to *redisServer) error {
	if err := s.primary().c.Do(ctx, "FAILOVER", "TO", "127.0.0.1", to.port).Err(); err != nil {
		return err
	}
	if took, ok := s.await(moveTime, func() bool { return to.info("replication")["role"] == "master" }); !ok {
		return fmt.Errorf("%s is not primary after %s", to.name, took)
	}
	return nil
}

// sentinelMover is SENTINEL FAILOVER with three Sentinels.
type sentinelMover struct {
	cmds    []*exec.Cmd
	clients []*goredis.Client
}

func (*sentinelMover) name() string    { return "`SENTINEL FAILOVER`" }
func (*sentinelMover) address() string { return "" }

const sentinelName = "bench"

func (m *sentinelMover) start(s *redisSite) error {
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		return err
	}
	ports, err := fleet.FreePorts(3)
	if err != nil {
		return err
	}
	for i, p := range ports {
		dir := filepath.Join(s.dir, fmt.Sprintf("sentinel%d", i+1))
		text := fmt.Sprintf("port %d\nbind 127.0.0.1\ndir %s\nsentinel monitor %s 127.0.0.1 %d 2\nsentinel auth-pass %s %s\n",
			p, dir, sentinelName, s.servers[0].port, sentinelName, benchPassword)
		cmd, err := startServer(binary, dir, "sentinel.conf", []byte(text), "--sentinel")
		if err != nil {
			m.stop()
			return err
		}
		m.cmds = append(m.cmds, cmd)
		m.clients = append(m.clients, goredis.NewClient(&goredis.Options{Addr: fmt.Sprintf("127.0.0.1:%d", p), Protocol: 2, MaxRetries: -1, DisableIdentity: true}))
	}
	if took, ok := s.await(moveTime, m.ready); !ok {
		m.stop()
		return fmt.Errorf("the Sentinels did not find each other and the replicas in %s", took)
	}
	return nil
}

// ready tells whether every Sentinel knows the others and both replicas, and no failover runs.
func (m *sentinelMover) ready() bool {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	agreed := ""
	for _, c := range m.clients {
		v, err := c.Do(ctx, "SENTINEL", "MASTER", sentinelName).Slice()
		if err != nil {
			return false
		}
		f := map[string]string{}
		for i := 0; i+1 < len(v); i += 2 {
			f[fmt.Sprint(v[i])] = fmt.Sprint(v[i+1])
		}
		if f["num-slaves"] != "2" || f["num-other-sentinels"] != "2" || f["flags"] != "master" || agreed != "" && f["port"] != agreed {
			return false
		}
		agreed = f["port"]
	}
	return agreed != ""
}

func (m *sentinelMover) stop() {
	for i, c := range m.cmds {
		if i < len(m.clients) {
			m.clients[i].Close()
		}
		endProcess(c)
	}
	m.cmds, m.clients = nil, nil
}

func (m *sentinelMover) move(ctx context.Context, s *redisSite, _ *redisServer) error {
	from := strconv.Itoa(s.primary().port)
	if took, ok := s.await(moveTime, m.ready); !ok {
		return fmt.Errorf("the Sentinels do not agree after %s", took)
	}
	var err error
	if took, ok := s.await(moveTime, func() bool {
		err = m.clients[0].Do(ctx, "SENTINEL", "FAILOVER", sentinelName).Err()
		return err == nil
	}); !ok {
		return fmt.Errorf("the command SENTINEL FAILOVER is refused for %s: %w", took, err)
	}
	if took, ok := s.await(moveTime, func() bool {
		at, err := m.clients[0].Do(ctx, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", sentinelName).StringSlice()
		return err == nil && len(at) == 2 && at[1] != from
	}); !ok {
		return fmt.Errorf("the Sentinels named no other primary in %s", took)
	}
	return nil
}

// batonMover is a planned promotion by a control plane and an agent.
type batonMover struct {
	binary   string
	endpoint bool // the writer goes through the stable endpoint
	control  *controlProcess
	agent    *exec.Cmd
	at       string
}

func (m *batonMover) name() string {
	if m.endpoint {
		return "Baton, writer at the endpoint"
	}
	return "Baton"
}

func (m *batonMover) address() string { return m.at }

const benchCluster = "bench"

func (m *batonMover) start(s *redisSite) error {
	m.control = newControlProcess(m.binary, filepath.Join(s.dir, "control"))
	if err := os.MkdirAll(m.control.dir, 0o700); err != nil {
		return err
	}
	if err := m.control.start(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), moveTime)
	defer cancel()
	if err := m.startAgent(ctx, s); err != nil {
		m.stop()
		return err
	}
	if err := m.settled(ctx); err != nil {
		m.stop()
		return err
	}
	if m.endpoint {
		if err := m.openEndpoint(ctx); err != nil {
			m.stop()
			return err
		}
	}
	return nil
}

func (m *batonMover) startAgent(ctx context.Context, s *redisSite) error {
	var peers []engine.Peer
	var list []engine.Instance
	for _, r := range s.servers {
		peers = append(peers, engine.Peer{Node: r.name, Host: "127.0.0.1", Port: r.port})
	}
	for _, r := range s.servers {
		list = append(list, engine.Instance{Cluster: benchCluster, Node: r.name, Engine: engine.Redis, Host: "127.0.0.1", Port: r.port,
			Dir: filepath.Join(s.dir, r.name), Auth: engine.Auth{Password: benchPassword}, Peers: peers})
	}
	b, err := json.Marshal(list)
	if err != nil {
		return err
	}
	dir := filepath.Join(s.dir, "agent")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "instances.json"), b, 0o600); err != nil {
		return err
	}
	token, err := m.control.joinToken(ctx)
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	m.agent = exec.Command(m.binary, "agent", "--data", dir, "--name", "bench-host")
	m.agent.Env = append(os.Environ(), "BATON_JOIN_TOKEN="+token)
	m.agent.Stdout, m.agent.Stderr = log, log
	m.agent.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return m.agent.Start()
}

// settled waits until the cluster is known and healthy.
func (m *batonMover) settled(ctx context.Context) error {
	return m.poll(ctx, "a healthy cluster", func() (bool, error) {
		var c struct {
			Verdict struct{ Level, Sentence string }
		}
		_, err := m.control.call(ctx, "GET", "/clusters/"+benchCluster, nil, &c)
		if err == nil && c.Verdict.Level != "healthy" {
			err = fmt.Errorf("%s", c.Verdict.Sentence)
		}
		return err == nil, err
	})
}

func (m *batonMover) openEndpoint(ctx context.Context) error {
	ports, err := fleet.FreePorts(1)
	if err != nil {
		return err
	}
	var e struct{ State, Why string }
	if _, err := m.control.call(ctx, "PUT", "/clusters/"+benchCluster+"/endpoint", map[string]any{"enabled": true, "readWritePort": ports[0]}, &e); err != nil {
		return err
	}
	m.at = fmt.Sprintf("127.0.0.1:%d", ports[0])
	return m.poll(ctx, "an open endpoint", func() (bool, error) {
		_, err := m.control.call(ctx, "GET", "/clusters/"+benchCluster+"/endpoint", nil, &e)
		return err == nil && e.State == "forwarding", fmt.Errorf("it is %s: %s (%w)", e.State, e.Why, err)
	})
}

func (m *batonMover) poll(ctx context.Context, what string, ok func() (bool, error)) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		is, err := ok()
		if is {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("no %s: %w\n%s", what, err, tail(filepath.Join(m.control.dir, "log")))
		}
	}
}

func (m *batonMover) stop() {
	endProcess(m.agent)
	if m.control != nil {
		m.control.stop()
	}
}

// move asks for a promotion as a person would: plan, then confirm with the node's name.
func (m *batonMover) move(ctx context.Context, _ *redisSite, to *redisServer) error {
	var id string
	err := m.poll(ctx, "accepted promotion", func() (bool, error) {
		var p struct {
			Report     struct{ Hash, Reason string }
			Generation string
		}
		if _, err := m.control.call(ctx, "POST", "/clusters/"+benchCluster+"/plan", map[string]any{"node": to.name}, &p); err != nil {
			return false, err
		}
		var a struct{ OperationID string }
		_, err := m.control.call(ctx, "POST", "/clusters/"+benchCluster+"/promotions", map[string]any{"node": to.name, "typedName": to.name,
			"reportHash": p.Report.Hash, "generation": p.Generation, "reason": "measurement"}, &a)
		id = a.OperationID
		return err == nil, err
	})
	if err != nil {
		return err
	}
	var o struct{ State, Outcome string }
	err = m.poll(ctx, "end of the promotion", func() (bool, error) {
		_, err := m.control.call(ctx, "GET", "/operations/"+id, nil, &o)
		return err == nil && o.State != "running" && o.State != "requested" && !strings.HasPrefix(o.State, "rolling"), err
	})
	switch {
	case err != nil:
		return err
	case o.State == "rolled-back":
		return fmt.Errorf("%w: %s", errTakenBack, o.Outcome)
	case o.State != "done":
		return fmt.Errorf("it ended %s: %s", o.State, o.Outcome)
	}
	return nil
}
