package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"baton/control/engine"
	"baton/control/engine/redis"
	"baton/test/fleet"
)

const benchPassword = "bench"

// redisSite is a primary and two replicas.
type redisSite struct {
	dir     string
	servers []*redisServer
}

type redisServer struct {
	name string
	port int
	cmd  *exec.Cmd
	c    *goredis.Client
}

// silent keeps the client library from printing each refused connection.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

func startRedisSite(dir string) (*redisSite, error) {
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, fmt.Errorf("%w (Debian: apt-get install redis-server)", err)
	}
	goredis.SetLogger(silent{})
	ports, err := fleet.FreePorts(3)
	if err != nil {
		return nil, err
	}
	s := &redisSite{dir: dir}
	for i, p := range ports {
		r := &redisServer{name: fmt.Sprintf("r%d", i+1), port: p, c: redisClient(fmt.Sprintf("127.0.0.1:%d", p))}
		c := redis.Config{Host: "127.0.0.1", Port: p, Dir: filepath.Join(dir, r.name), Password: benchPassword}
		if i > 0 {
			c.ReplicaOf = &engine.Peer{Host: "127.0.0.1", Port: ports[0]}
		}
		text, err := c.File()
		if err != nil {
			s.stop()
			return nil, err
		}
		if r.cmd, err = startServer(binary, c.Dir, "redis.conf", text); err != nil {
			s.stop()
			return nil, err
		}
		s.servers = append(s.servers, r)
	}
	if now, ok := s.await(moveTime, func() bool { return len(s.followers(s.servers[0])) == 2 }); !ok {
		s.stop()
		return nil, fmt.Errorf("the replicas did not attach in %s", now)
	}
	return s, nil
}

// startServer starts redis-server with a configuration file of its own.
func startServer(binary, dir, file string, text []byte, args ...string) (*exec.Cmd, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, file), text, 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command(binary, append([]string{filepath.Join(dir, file)}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd, cmd.Start()
}

func redisClient(address string) *goredis.Client {
	return goredis.NewClient(&goredis.Options{Addr: address, Password: benchPassword, Protocol: 2, MaxRetries: -1, DisableIdentity: true,
		DialTimeout: 2 * time.Second, ReadTimeout: 30 * time.Second})
}

func endProcess(cmd *exec.Cmd) {
	if cmd != nil && cmd.Process != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

func (s *redisSite) stop() {
	for _, r := range s.servers {
		r.c.Close()
		endProcess(r.cmd)
	}
}

// await polls each 10 ms.
func (s *redisSite) await(limit time.Duration, ok func() bool) (time.Duration, bool) {
	began := time.Now()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok() {
			return time.Since(began), true
		}
		if time.Since(began) > limit {
			return time.Since(began), false
		}
		<-tick.C
	}
}

func (r *redisServer) info(section string) map[string]string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out := map[string]string{}
	for l := range strings.Lines(r.c.Info(ctx, section).Val()) {
		if k, v, ok := strings.Cut(strings.TrimSpace(l), ":"); ok {
			out[k] = v
		}
	}
	return out
}

// primary is the server that says it is one and has the most replicas.
func (s *redisSite) primary() (best *redisServer) {
	most := -1
	for _, r := range s.servers {
		in := r.info("replication")
		if n, _ := strconv.Atoi(in["connected_slaves"]); in["role"] == "master" && n > most {
			best, most = r, n
		}
	}
	return best
}

// followers are the servers that follow p with their links up.
func (s *redisSite) followers(p *redisServer) (out []*redisServer) {
	for _, r := range s.servers {
		in := r.info("replication")
		if r != p && in["role"] == "slave" && in["master_port"] == strconv.Itoa(p.port) && in["master_link_status"] == "up" {
			out = append(out, r)
		}
	}
	return out
}

// settle waits until another server than from is primary and all others follow it, or the deadline, and returns what is
// then so.
func (s *redisSite) settle(from *redisServer, deadline time.Time) (followers []*redisServer, now *redisServer) {
	s.await(time.Until(deadline), func() bool {
		now = nil
		for _, r := range s.servers {
			if r != from && r.info("replication")["role"] == "master" {
				now, followers = r, s.followers(r)
			}
		}
		return now != nil && len(followers) == len(s.servers)-1
	})
	return followers, now
}

// align points everybody to the primary by hand.
func (s *redisSite) align(p *redisServer) error {
	ctx, cancel := context.WithTimeout(context.Background(), moveTime)
	defer cancel()
	for _, r := range s.servers {
		if in := r.info("replication"); r != p && (in["role"] != "slave" || in["master_port"] != strconv.Itoa(p.port)) {
			if err := r.c.Do(ctx, "REPLICAOF", "127.0.0.1", p.port).Err(); err != nil {
				return err
			}
		}
	}
	if took, ok := s.await(moveTime, func() bool { return len(s.followers(p)) == len(s.servers)-1 }); !ok {
		return fmt.Errorf("the servers did not follow %s in %s", p.name, took)
	}
	return nil
}

// syncs are the resynchronizations served since the start.
type syncs struct{ full, partial int }

func (s *redisSite) syncs() (n syncs) {
	for _, r := range s.servers {
		in := r.info("stats")
		f, _ := strconv.Atoi(in["sync_full"])
		p, _ := strconv.Atoi(in["sync_partial_ok"])
		n.full, n.partial = n.full+f, n.partial+p
	}
	return n
}

// missing counts acknowledged writes that a server does not hold.
func (s *redisSite) missing(r *redisServer, acked []int) (lost int, err error) {
	for len(acked) > 0 {
		part := acked[:min(len(acked), 500)]
		acked = acked[len(part):]
		keys := make([]string, len(part))
		for i, n := range part {
			keys[i] = "w:" + strconv.Itoa(n)
		}
		got, err := r.c.MGet(context.Background(), keys...).Result()
		if err != nil {
			return lost, err
		}
		for i, v := range got {
			if v != strconv.Itoa(part[i]) {
				lost++
			}
		}
	}
	return lost, nil
}

// redisWriter writes one number after the other, about one a millisecond, each under a key of its own. After an error it
// asks every server for its role and goes on with the primary; with a fixed address it connects there again.
type redisWriter struct {
	s    *redisSite
	at   string
	stop chan struct{}
	done sync.WaitGroup

	mu    sync.Mutex
	seq   int
	last  time.Time
	since taken
}

// taken is what was written since the last take.
type taken struct {
	acked    []int
	gap      time.Duration // longest between two acknowledgements
	errs     int
	firstErr string
}

func (s *redisSite) write(at string) (*redisWriter, error) {
	w := &redisWriter{s: s, at: at, stop: make(chan struct{})}
	w.done.Go(w.run)
	return w, w.flow(moveTime, 100)
}

func (w *redisWriter) run() {
	pace := time.NewTicker(time.Millisecond)
	defer pace.Stop()
	ctx := context.Background()
	var c *goredis.Client
	if w.at != "" {
		c = redisClient(w.at)
		defer c.Close()
	}
	for {
		select {
		case <-w.stop:
			return
		case <-pace.C:
		}
		if c == nil {
			if c = w.find(ctx); c == nil {
				continue
			}
		}
		w.mu.Lock()
		w.seq++
		n := w.seq
		w.mu.Unlock()
		err := c.Set(ctx, "w:"+strconv.Itoa(n), n, 0).Err()
		now := time.Now()
		w.mu.Lock()
		if err != nil {
			w.since.errs++
			if w.since.firstErr == "" {
				w.since.firstErr = err.Error()
			}
			if w.at == "" {
				c = nil
			}
		} else {
			if !w.last.IsZero() {
				w.since.gap = max(w.since.gap, now.Sub(w.last))
			}
			w.last = now
			w.since.acked = append(w.since.acked, n)
		}
		w.mu.Unlock()
	}
}

func (w *redisWriter) find(ctx context.Context) *goredis.Client {
	for _, r := range w.s.servers {
		role, err := r.c.Do(ctx, "ROLE").Slice()
		if err == nil && len(role) > 0 && role[0] == "master" {
			return r.c
		}
	}
	return nil
}

// take returns what was written since the last call.
func (w *redisWriter) take() taken {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.since
	w.since = taken{}
	return t
}

// flow waits for n more acknowledgements.
func (w *redisWriter) flow(limit time.Duration, n int) error {
	w.mu.Lock()
	from := len(w.since.acked)
	w.mu.Unlock()
	if took, ok := w.s.await(limit, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.since.acked) >= from+n
	}); !ok {
		return fmt.Errorf("writes do not flow after %s: %s", took, w.take().firstErr)
	}
	return nil
}

func (w *redisWriter) end() {
	close(w.stop)
	w.done.Wait()
}

// tail is the end of a log file, for errors.
func tail(path string) string {
	b, _ := os.ReadFile(path)
	lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-20):], []byte("\n")))
}
