package agent

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// stepVariable makes the test binary one end of TestLimitsInANetworkNamespace.
const stepVariable = "LIMITS_TEST_STEP"

// TestLimitsStep is no test: it is run inside a network namespace.
func TestLimitsStep(t *testing.T) {
	if os.Getenv(stepVariable) == "" {
		return
	}
	step := strings.Split(os.Getenv(stepVariable), " ")
	switch step[0] {
	case "serve": // until its standard input ends
		ln, err := net.Listen("tcp", "0.0.0.0:6379")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				c.Close()
			}
		}()
		fmt.Println("listening")
		_, _ = os.Stdin.Read(make([]byte, 1))
	case "limit", "free":
		l := Limits{Cluster: "shop", Ports: []int{6379}, Allow: []string{"10.77.0.2/32"}, Always: []string{"10.77.0.4"}}
		if step[0] == "free" {
			l.Allow = nil
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		for range 2 { // it replaces itself
			if err := runNft(ctx, ruleset([]Limits{l}, []netip.Addr{netip.MustParseAddr("10.77.0.5")}, step[1] == "reject")); err != nil {
				t.Fatal(err)
			}
		}
	case "dial": // from an address, to another
		patience := time.Minute
		if step[3] == "refused" {
			patience = time.Second // nothing tells when a packet was dropped
		}
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(step[1])}, Timeout: patience}
		c, err := d.Dial("tcp", net.JoinHostPort(step[2], "6379"))
		if err == nil {
			c.Close()
		}
		if (err == nil) != (step[3] == "let-in") {
			t.Fatalf("from %s: %v", step[1], err)
		}
	}
}

// TestLimitsInANetworkNamespace: with the kernel's own filter, in a network of
// its own, who is not in the list does not get in, and the cluster itself, the
// control nodes and the host itself do.
func TestLimitsInANetworkNamespace(t *testing.T) {
	for _, program := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed: the rules are compared as text only", program)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("not root: network namespaces cannot be made; the rules are compared as text only")
	}
	server, client := fmt.Sprintf("baton-lim-s%d", os.Getpid()), fmt.Sprintf("baton-lim-c%d", os.Getpid())
	ip := func(args ...string) error {
		out, err := exec.Command("ip", args...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
		}
		return nil
	}
	if err := ip("netns", "add", server); err != nil {
		t.Skipf("network namespaces are not allowed here: %v", err)
	}
	t.Cleanup(func() { _ = ip("netns", "del", server); _ = ip("netns", "del", client) })
	veth := fmt.Sprintf("bl%d", os.Getpid()%1_000_000)
	for _, args := range [][]string{{"netns", "add", client}, {"link", "add", veth + "s", "netns", server, "type", "veth", "peer", "name", veth + "c", "netns", client},
		{"-n", server, "addr", "add", "10.77.0.1/24", "dev", veth + "s"}, {"-n", server, "link", "set", veth + "s", "up"}, {"-n", server, "link", "set", "lo", "up"},
		{"-n", client, "link", "set", veth + "c", "up"}} {
		if err := ip(args...); err != nil {
			t.Skipf("no pair of links can be made here: %v", err)
		}
	}
	for _, a := range []string{"2", "3", "4", "5"} {
		if err := ip("-n", client, "addr", "add", "10.77.0."+a+"/24", "dev", veth+"c"); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	in := func(where, step string) *exec.Cmd {
		cmd := exec.Command("ip", "netns", "exec", where, self, "-test.run", "^TestLimitsStep$", "-test.v")
		cmd.Env = append(os.Environ(), stepVariable+"="+step, "GORACE=atexit_sleep_ms=0")
		return cmd
	}
	serve := in(server, "serve")
	stdin, err := serve.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := serve.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := serve.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close(); _ = serve.Wait() })
	ready := ""
	for buf := make([]byte, 256); !strings.Contains(ready, "listening"); {
		n, err := stdout.Read(buf)
		if ready += string(buf[:n]); err != nil {
			t.Fatalf("the server: %v: %s", err, ready)
		}
	}
	run := func(where, step string) error {
		out, err := in(where, step).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", step, err, out)
		}
		return nil
	}
	want := func(from, to, what string) {
		t.Helper()
		where := client
		if from == to {
			where = server
		}
		if err := run(where, "dial "+from+" "+to+" "+what); err != nil {
			t.Errorf("%s should be %s: %v", from, what, err)
		}
	}
	want("10.77.0.3", "10.77.0.1", "let-in") // without limits
	how := "reject"
	if err := run(server, "limit "+how); err != nil {
		t.Logf("this kernel cannot answer refused clients: %v", err)
		if how = "drop"; run(server, "limit "+how) != nil {
			t.Skipf("this kernel takes no rules: %v", run(server, "limit "+how))
		}
	}
	for from, what := range map[string]string{"10.77.0.2": "let-in", "10.77.0.4": "let-in", "10.77.0.5": "let-in", "10.77.0.3": "refused"} {
		want(from, "10.77.0.1", what)
	}
	want("10.77.0.1", "10.77.0.1", "let-in") // the host itself
	if err := run(server, "free "+how); err != nil {
		t.Fatal(err)
	}
	want("10.77.0.3", "10.77.0.1", "let-in")
	t.Logf("=> | limits in a network namespace | 4 of 4 addresses as the list says, refused by %s |", how)
}
