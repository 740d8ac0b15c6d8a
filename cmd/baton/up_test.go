package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"baton/control/demo"
)

// upRun is one `baton up --demo` process.
type upRun struct {
	t    *testing.T
	cmd  *exec.Cmd
	mu   sync.Mutex
	text bytes.Buffer
	done chan struct{}
}

func (u *upRun) output() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.text.String()
}

func buildBaton(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "baton")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return path
}

func startUp(t *testing.T, binary, data string, more ...string) *upRun {
	t.Helper()
	u := &upRun{t: t, done: make(chan struct{})}
	u.cmd = exec.Command(binary, append([]string{"up", "--demo", "--data", data, "--listen", "127.0.0.1:0", "--agent-listen", "127.0.0.1:0"}, more...)...)
	r, w := io.Pipe()
	u.cmd.Stdout, u.cmd.Stderr = w, w
	if err := u.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(r)
	up := make(chan struct{})
	go func() {
		for lines.Scan() {
			u.mu.Lock()
			u.text.WriteString(lines.Text() + "\n")
			u.mu.Unlock()
			if strings.HasPrefix(lines.Text(), "Ctrl-C") {
				close(up)
			}
		}
	}()
	go func() {
		u.cmd.Wait()
		w.Close()
		close(u.done)
	}()
	t.Cleanup(func() {
		u.cmd.Process.Kill()
		<-u.done
	})
	select {
	case <-up:
	case <-u.done:
		t.Fatalf("it ended:\n%s", u.output())
	case <-time.After(3 * time.Minute):
		t.Fatalf("it did not come up:\n%s", u.output())
	}
	return u
}

var dashboardLine = regexp.MustCompile(`Dashboard +(\S+)`)

// clusters asks the API as the client commands do.
func (u *upRun) clusters(data string) map[string]clusterLine {
	url := dashboardLine.FindStringSubmatch(u.output())[1]
	token, err := os.ReadFile(filepath.Join(data, "cli-token"))
	if err != nil {
		u.t.Fatal(err)
	}
	req, _ := http.NewRequest("GET", url+"/api/v1/clusters", nil)
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	var list struct{ Clusters []clusterLine }
	if resp.StatusCode != 200 || json.NewDecoder(resp.Body).Decode(&list) != nil {
		return nil
	}
	out := map[string]clusterLine{}
	for _, c := range list.Clusters {
		out[c.ID] = c
	}
	return out
}

type clusterLine struct {
	ID              string
	MembersUp       int
	WritesPerSecond float64
	Primary         *struct{ Node string }
}

// keyOf reads or sets a key of the demo's Redis cluster as its clients do, through its endpoint.
func keyOf(t *testing.T, data, value string) (got string, err error) {
	var l demo.Layout
	b, err := os.ReadFile(filepath.Join(data, "demo", "layout.json"))
	if err == nil {
		err = json.Unmarshal(b, &l)
	}
	if err != nil {
		t.Fatal(err)
	}
	c := goredis.NewClient(&goredis.Options{Addr: fmt.Sprintf("127.0.0.1:%d", l.RedisReadWrite), Username: l.RedisUser, Password: l.RedisPassword, Protocol: 2, DisableIdentity: true, MaxRetries: -1})
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if value != "" {
		return value, c.Set(ctx, "kept", value, 0).Err()
	}
	return c.Get(ctx, "kept").Result()
}

// supervised are the pids of the demo's processes by name, as the kernel has them.
func supervised(t *testing.T, data string) map[string]int {
	t.Helper()
	out := map[string]int{}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		env, _ := os.ReadFile(filepath.Join(d, "environ"))
		for kv := range bytes.SplitSeq(env, []byte{0}) {
			if name, ok := strings.CutSuffix(string(kv), "@"+filepath.Join(data, "agent")); ok {
				var pid int
				fmt.Sscan(filepath.Base(d), &pid)
				_, name, _ = strings.Cut(name, "=")
				// A process that has just ended may still be listed.
				if st, err := os.ReadFile(filepath.Join(d, "stat")); err == nil && !strings.Contains(string(st), ") Z ") {
					out[name] = pid
				}
			}
		}
	}
	return out
}

// naming are the command lines of the processes that name the data directory,
// as the guardian of leases does, which nobody supervises.
func naming(data string) (lines []string) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		line, _ := os.ReadFile(filepath.Join(d, "cmdline")) // empty for what has ended
		if bytes.Contains(line, []byte(data)) {
			lines = append(lines, string(bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
		}
	}
	return lines
}

func waitFor(t *testing.T, u *upRun, what string, ok func() bool) {
	t.Helper()
	deadline, tick := time.Now().Add(3*time.Minute), time.NewTicker(50*time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s\n%s", what, u.output())
		}
		<-tick.C
	}
}

// TestUpStartsEverythingAdoptsWhatRunsAndEndsIt starts the demo, kills
// `baton up` as nothing could prevent, starts it again, ends it by Ctrl-C, and
// starts it a third time. The primary of the Redis cluster has a lease, which
// nobody renews while `baton up` is away: it may have been ended meanwhile, and
// is then replaced or started again by itself, with what it held.
func TestUpStartsEverythingAdoptsWhatRunsAndEndsIt(t *testing.T) {
	binary, data := buildBaton(t), filepath.Join(t.TempDir(), "data")
	t.Cleanup(func() { // whatever a failed test left
		for _, pid := range supervised(t, data) {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	want := map[string]int{demo.EventStoreID: 5}
	redis := demo.RedisServer() != ""
	if redis {
		want[demo.RedisID] = 3
	} else {
		t.Log(demo.NoRedis + "; tested without it")
	}
	healthy := func(u *upRun) func() bool {
		return func() bool {
			have := u.clusters(data)
			for id, n := range want {
				if c := have[id]; c.MembersUp != n || c.Primary == nil || c.WritesPerSecond <= 0 {
					return false
				}
			}
			return true
		}
	}
	kept := func(u *upRun) func() bool {
		return func() bool {
			got, err := keyOf(t, data, "")
			if err == nil && got != "through all of it" {
				t.Fatalf("the key is %q", got)
			}
			return err == nil
		}
	}
	u := startUp(t, binary, data)
	if n := strings.Count(u.output(), "/setup#token="); n != 1 {
		t.Errorf("%d setup links:\n%s", n, u.output())
	}
	waitFor(t, u, "all clusters have a primary, all members and a load", healthy(u))
	if redis {
		waitFor(t, u, "a key is set", func() bool { _, err := keyOf(t, data, "through all of it"); return err == nil })
	}
	before := supervised(t, data)
	if redis {
		waitFor(t, u, "a guardian watches over the lease", func() bool {
			return slices.ContainsFunc(naming(data), func(line string) bool { return strings.Contains(line, " guard ") })
		})
	}

	second := exec.Command(binary, "up", "--data", data, "--listen", "127.0.0.1:0", "--agent-listen", "127.0.0.1:0")
	if out, err := second.CombinedOutput(); err == nil || !strings.Contains(string(out), "another `baton up` uses") {
		t.Errorf("a second start on the same data: %v\n%s", err, out)
	}

	u.cmd.Process.Kill()
	<-u.done
	u = startUp(t, binary, data)
	waitFor(t, u, "all clusters are seen again", healthy(u))
	if after := supervised(t, data); !samePIDs(ofEventStore(before), ofEventStore(after)) {
		t.Errorf("the event store's nodes were not adopted: before %v, after %v", before, after)
	}
	if redis {
		waitFor(t, u, "the key is there after a kill", kept(u))
	}
	u.interrupt(t, data)

	u = startUp(t, binary, data)
	waitFor(t, u, "all clusters are back", healthy(u))
	if redis {
		waitFor(t, u, "the key is there after a stop", kept(u))
	}
	u.interrupt(t, data)
}

// interrupt is Ctrl-C; nothing may be left running.
func (u *upRun) interrupt(t *testing.T, data string) {
	t.Helper()
	u.cmd.Process.Signal(syscall.SIGINT)
	select {
	case <-u.done:
	case <-time.After(3 * time.Minute):
		t.Fatalf("Ctrl-C did not end it:\n%s", u.output())
	}
	if code := u.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d:\n%s", code, u.output())
	}
	if left := supervised(t, data); len(left) != 0 {
		t.Errorf("processes are left: %v", left)
	}
	if left := naming(data); len(left) != 0 {
		t.Errorf("processes that work in the data directory are left: %q", left)
	}
}

func ofEventStore(pids map[string]int) map[string]int {
	out := map[string]int{}
	for name, pid := range pids {
		if strings.HasPrefix(name, demo.EventStoreID+"-") {
			out[name] = pid
		}
	}
	return out
}

func samePIDs(a, b map[string]int) bool {
	if len(a) != len(b) || len(a) == 0 {
		return false
	}
	for name, pid := range a {
		if b[name] != pid {
			return false
		}
	}
	return true
}

func TestHostNamesTakeTheFormOfNames(t *testing.T) {
	if got := hostName("given"); got != "given" {
		t.Errorf("got %q", got)
	}
	if got := hostName(""); !slices.ContainsFunc([]string{got}, regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`).MatchString) {
		t.Errorf("this machine's name became %q", got)
	}
}

func TestExampleCommandIsShortAtDefaults(t *testing.T) {
	standard, err := filepath.Abs("baton-data/cli-token")
	if err != nil {
		t.Fatal(err)
	}
	if got := exampleCommand("http://127.0.0.1:8400", standard); got != "baton clusters" {
		t.Errorf("got %q", got)
	}
	if got := exampleCommand("http://127.0.0.1:9", "/x/t"); got != "baton clusters --server http://127.0.0.1:9 --token-file /x/t" {
		t.Errorf("got %q", got)
	}
}
