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
	"strings"
	"syscall"
	"testing"
	"time"

	"baton/test/fleet"
)

// Goal: a stranger sets up, signs in, promotes with a wrong and a right name, and sees the roles change and the audit.
// Method: `baton up --demo` on free ports, Chromium driven by web/e2e/promote.mjs; each "ok" or "FAIL" line it prints
// is a subtest.
func TestDashboard(t *testing.T) {
	chromium := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			chromium = p
			break
		}
	}
	if chromium == "" {
		t.Skip("chromium is missing")
	}
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("node is missing")
	}
	root := filepath.Join("..", "..")
	if _, err := os.Stat(filepath.Join(root, "web", "node_modules", "playwright-core")); err != nil {
		t.Skip("web/node_modules is missing: run make web")
	}
	base, link := startUp(t)
	shots := filepath.Join(artifacts(t), "screenshots")

	cmd := exec.Command("node", filepath.Join("e2e", "promote.mjs"))
	cmd.Dir = filepath.Join(root, "web")
	cmd.Env = append(os.Environ(), "BATON_URL="+base, "BATON_SETUP="+link, "BATON_ARTIFACTS="+shots, "CHROMIUM="+chromium)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(8*time.Minute, func() { cmd.Process.Kill() })
	defer watchdog.Stop()
	steps := 0
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "ok "):
			steps++
			t.Run(stepName(line), func(t *testing.T) {})
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
		t.Fatal("the script took no step")
	}
	fmt.Printf("=> browser: %d steps; screenshots in %s\n", steps, shots)
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
	listen := fmt.Sprintf("%s:%d", fleet.Host, ports[0])
	cmd := exec.Command(binary, "up", "--demo", "--data", filepath.Join(t.TempDir(), "data"), "--listen", listen,
		"--agent-listen", fmt.Sprintf("%s:%d", fleet.Host, ports[1]))
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
