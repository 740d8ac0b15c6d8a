package browser

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"baton/test/fleet"
)

// scripts run one after the other against the same Baton; each drives the dashboard as a person would. The first makes
// the account, the others sign in with it.
var scripts = []string{"promote", "flows", "store", "terminal", "hosts"}

// scriptTime bounds one script on a machine that is far slower than usual.
const scriptTime = 10 * time.Minute

// Goal: a stranger sets up, signs in, promotes with a wrong and a right name, and does everything else the pages offer.
// Method: `baton up --demo` on free ports, Chromium driven by the scripts in web/e2e; each "ok" or "FAIL" line they
// print is a subtest, with the page's log after it when it failed.
func TestDashboard(t *testing.T) {
	chromium := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			chromium = p
			break
		}
	}
	if chromium == "" {
		t.Skip("chromium is missing (Debian: apt-get install chromium); no page was looked at")
	}
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("node is missing; no page was looked at")
	}
	web := filepath.Join("..", "..", "web")
	for _, module := range []string{"playwright-core", "axe-core"} {
		if _, err := os.Stat(filepath.Join(web, "node_modules", module)); err != nil {
			t.Skipf("web/node_modules/%s is missing: run make web", module)
		}
	}
	base, link := startUp(t)
	shots := filepath.Join(artifacts(t), "screenshots")
	env := append(append(os.Environ(), machinesFor(t)...), "BATON_URL="+base, "BATON_ARTIFACTS="+shots, "CHROMIUM="+chromium)
	began, steps := time.Now(), 0
	for i, name := range scripts {
		file := filepath.Join("e2e", name+".mjs")
		if _, err := os.Stat(filepath.Join(web, file)); err != nil {
			continue
		}
		with := env
		if i == 0 {
			with = append(with, "BATON_SETUP="+link)
		}
		t.Run(name, func(t *testing.T) { steps += runScript(t, web, file, with) })
	}
	fmt.Printf("=> browser: %d steps in %.0f s; screenshots in %s\n", steps, time.Since(began).Seconds(), shots)
}

// runScript runs one script and returns how many steps it took.
func runScript(t *testing.T, web, file string, env []string) (steps int) {
	cmd := exec.Command("node", file)
	cmd.Dir, cmd.Env, cmd.Stderr = web, env, os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(scriptTime, func() { cmd.Process.Kill() })
	defer watchdog.Stop()
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "ok "):
			steps++
			t.Run(stepName(line), func(*testing.T) {})
		case strings.HasPrefix(line, "FAIL "):
			steps++
			t.Run(stepName(line), func(t *testing.T) { t.Error(line) })
		default:
			t.Log(line)
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && (!errors.As(err, &exit) || !t.Failed()) {
		t.Errorf("the script ended: %v", err)
	}
	if steps == 0 {
		t.Error("the script took no step")
	}
	return steps
}

func stepName(line string) string {
	name := strings.TrimSpace(line[len("FAIL"):])
	if i := strings.LastIndex(name, " ("); i > 0 && strings.HasPrefix(line, "ok") {
		name = name[:i]
	}
	if i := strings.Index(name, ": "); i > 0 {
		name = name[:i]
	}
	return name
}

func artifacts(t *testing.T) string {
	if a := os.Getenv("TEST_ARTIFACTS"); a != "" {
		return a
	}
	return t.TempDir()
}

var setupLink = regexp.MustCompile(`https?://[^\s]+/setup#token=[^\s]+`)

// startUp starts everything on this machine and returns the address and the set-up link.
func startUp(t *testing.T) (base, link string) {
	t.Helper()
	binary, err := fleet.Binary()
	if err != nil {
		t.Fatal(err)
	}
	ports, err := fleet.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	listen, data := fmt.Sprintf("%s:%d", fleet.Host, ports[0]), filepath.Join(t.TempDir(), "data")
	t.Cleanup(func() { endServers(data) })
	cmd := exec.Command(binary, "up", "--demo", "--data", data, "--listen", listen,
		"--agent-listen", fmt.Sprintf("%s:%d", fleet.Host, ports[1]))
	// A shell of the host reads what HOME holds; that of whoever runs the test may wait for something.
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	found := make(chan string, 1)
	ended := make(chan struct{})
	go func() {
		lines := bufio.NewScanner(out)
		link := ""
		for lines.Scan() {
			if m := setupLink.FindString(lines.Text()); m != "" {
				link = m
			}
			if strings.Contains(lines.Text(), "Ctrl-C") {
				found <- link
			}
		}
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(2 * time.Minute):
			t.Error("baton up did not stop within 2 minutes of SIGTERM")
			_ = cmd.Process.Kill()
		}
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(stderr.String())
			if b, err := os.ReadFile(filepath.Join(data, "up.log")); err == nil {
				_ = os.WriteFile(filepath.Join(artifacts(t), "browser-up.log"), b, 0o600)
			}
		}
	})
	select {
	case link = <-found:
	case <-ended:
		t.Fatalf("baton up ended: %s", stderr.String())
	case <-time.After(5 * time.Minute):
		t.Fatalf("baton up is not ready after 5 minutes: %s", stderr.String())
	}
	if link == "" {
		t.Fatal("baton up printed no set-up link")
	}
	return "http://" + listen, link
}

// endServers ends what agents of this data directory started and a failed script left: clusters that people make go on
// when `baton up` ends. Each carries the directory in its environment.
func endServers(data string) {
	all, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range all {
		env, _ := os.ReadFile(path)
		if !bytes.Contains(env, []byte("@"+filepath.Join(data, "agent"))) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil && pid > 1 {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}
