package proxy

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"baton/control/engine/redis/redistest"
)

// proxyAddress asks this test binary to be a proxy in front of that address,
// in a process of its own, so that its CPU time can be read.
const proxyAddress = "PROXY_IN_FRONT_OF"

func TestMain(m *testing.M) {
	if to := os.Getenv(proxyAddress); to != "" {
		serveAlone(to)
		return
	}
	os.Exit(m.Run())
}

func serveAlone(to string) {
	port, _ := strconv.Atoi(os.Getenv("PROXY_PORT"))
	s := New(Options{})
	err := s.Apply(Route{Cluster: "bench", Enabled: true, Host: "127.0.0.1", ReadWritePort: port, Primary: Member{Node: "r1", Address: to}})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ready")
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	<-end
	s.Close(context.Background())
}

// BenchmarkThroughput has redis-benchmark (Debian: redis-tools) set keys
// directly, through the endpoint, and through HAProxy in TCP mode where it is
// installed (Debian: haproxy; or HAPROXY names the program), in one run. It
// reports requests per second and the CPU time of the process in between.
//
//	go test ./control/proxy -run xxx -bench Throughput -benchtime 1x
func BenchmarkThroughput(b *testing.B) {
	tool, err := exec.LookPath("redis-benchmark")
	if err != nil {
		b.Skip("redis-benchmark is not installed (Debian: redis-tools); nothing was measured")
	}
	server := redistest.Cluster(b, 1)[0]
	to := server.Instance.Address()
	for _, depth := range []int{1, 16} {
		b.Run(fmt.Sprintf("pipeline=%d/direct", depth), func(b *testing.B) { load(b, tool, server.Instance.Port, depth, 0) })
		b.Run(fmt.Sprintf("pipeline=%d/endpoint", depth), func(b *testing.B) {
			port := redistest.FreePort(b)
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), proxyAddress+"="+to, fmt.Sprintf("PROXY_PORT=%d", port))
			load(b, tool, port, depth, begin(b, cmd, "ready"))
		})
		b.Run(fmt.Sprintf("pipeline=%d/haproxy", depth), func(b *testing.B) {
			peer := os.Getenv("HAPROXY")
			if peer == "" {
				if peer, err = exec.LookPath("haproxy"); err != nil {
					b.Skip("haproxy is not installed; the peer was not measured")
				}
			}
			port := redistest.FreePort(b)
			file := filepath.Join(b.TempDir(), "haproxy.cfg")
			text := fmt.Sprintf("global\n maxconn 1000\ndefaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n"+
				"listen redis\n bind 127.0.0.1:%d\n server r1 %s\n", port, to)
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				b.Fatal(err)
			}
			load(b, tool, port, depth, begin(b, exec.Command(peer, "-db", "-f", file), ""))
		})
	}
}

// begin starts a process that ends with the benchmark and returns its id.
func begin(b *testing.B, cmd *exec.Cmd, ready string) int {
	b.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if ready != "" {
		if line, err := bufio.NewReader(out).ReadString('\n'); strings.TrimSpace(line) != ready {
			b.Fatal(line, err)
		}
	}
	return cmd.Process.Pid
}

const benchRequests = 200_000

func load(b *testing.B, tool string, port, depth, pid int) {
	redistest.Eventually(b, 30*time.Second, "the port answers", func() bool {
		c := exec.Command("redis-cli", "-p", strconv.Itoa(port), "-a", redistest.Password, "ping")
		out, err := c.Output()
		return err == nil && strings.Contains(string(out), "PONG")
	})
	for b.Loop() {
		before := cpuOf(pid)
		out, err := exec.Command(tool, "-p", strconv.Itoa(port), "-a", redistest.Password, "-t", "set", "-c", "50", "-P", strconv.Itoa(depth),
			"-n", strconv.Itoa(benchRequests), "-d", "100", "-r", "100000", "--csv").Output()
		if err != nil {
			b.Fatal(err)
		}
		used := cpuOf(pid) - before
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		fields := strings.Split(strings.ReplaceAll(lines[len(lines)-1], `"`, ""), ",")
		if len(fields) < 7 {
			b.Fatalf("redis-benchmark says %q", out)
		}
		rate, _ := strconv.ParseFloat(fields[1], 64)
		p99, _ := strconv.ParseFloat(fields[6], 64)
		b.ReportMetric(rate, "req/s")
		b.ReportMetric(p99, "p99-ms")
		b.ReportMetric(0, "ns/op")
		if pid != 0 {
			b.ReportMetric(float64(used.Nanoseconds())/1000/benchRequests, "cpu-us/req")
		}
	}
}

// cpuOf is the CPU time a process has used, in hundredths of a second.
func cpuOf(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}
