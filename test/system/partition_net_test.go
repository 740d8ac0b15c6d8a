package system

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"baton/test/fleet"
)

// network is a number of machines in one: each a network namespace with one
// address of its own, joined by a namespace that routes between them and in
// which any direction between two of them can be cut without a sound.
//
// The namespaces have no name and no process of their own: they end with what
// runs in them and with the test, however that ends.
type network struct {
	t      *testing.T
	router *space
	spaces []*space
	cuts   map[[2]*space]bool // from, to
}

// space is one machine.
type space struct {
	name, ip string
	ns       *os.File
}

// newNetwork makes a machine for each name. Without the right to make
// namespaces, or without iproute2, the test is skipped with that reason.
func newNetwork(t *testing.T, names ...string) *network {
	t.Helper()
	skip := func(why string) {
		t.Helper()
		fmt.Printf("%s: skipped: %s\n", t.Name(), why)
		t.Skip(why + "; nothing of this test was run")
	}
	if os.Geteuid() != 0 {
		skip("network namespaces are made by root only")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		skip("the command ip is not installed (Debian: apt-get install iproute2)")
	}
	n := &network{t: t, cuts: map[[2]*space]bool{}}
	t.Cleanup(n.close)
	var err error
	if n.router, err = newSpace("router", ""); err != nil {
		skip("this machine does not let us make network namespaces: " + err.Error())
	}
	links := "link set lo up\n"
	for i, name := range names {
		s, err := newSpace(name, fmt.Sprintf("10.213.%d.2", i+1))
		if err != nil {
			skip("this machine does not let us make network namespaces: " + err.Error())
		}
		n.spaces = append(n.spaces, s)
		links += fmt.Sprintf("link add v%d type veth peer name eth0 netns /proc/%d/fd/%d\naddr add 10.213.%d.1/24 dev v%d\nlink set v%d up\n",
			i+1, os.Getpid(), s.ns.Fd(), i+1, i+1, i+1)
	}
	err = n.router.within(func() error {
		// Only cuts decide what passes, not where a packet seems to come from.
		for file, value := range map[string]string{"conf/all/rp_filter": "0", "conf/default/rp_filter": "0", "ip_forward": "1"} {
			if err := os.WriteFile("/proc/sys/net/ipv4/"+file, []byte(value), 0); err != nil {
				return err
			}
		}
		return ip(links)
	})
	for i, s := range n.spaces {
		if err == nil {
			err = s.within(func() error {
				return ip(fmt.Sprintf("link set lo up\naddr add %s/24 dev eth0\nlink set eth0 up\nroute add default via 10.213.%d.1\n", s.ip, i+1))
			})
		}
	}
	if err == nil {
		err = n.try()
	}
	if err != nil {
		skip("network namespaces do not work here as the test needs them: " + err.Error())
	}
	return n
}

// newSpace makes a namespace that lives as long as its file is open or a
// process is in it.
func newSpace(name, address string) (*space, error) {
	s := &space{name: name, ip: address}
	err := keepingSpace(func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		s.ns, err = os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
		return err
	})
	return s, err
}

// keepingSpace runs f on a thread whose namespace is afterwards what it was. A
// child of f is begun by that thread, which lives on, as its parent.
func keepingSpace(f func() error) error {
	runtime.LockOSThread()
	own, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer func() {
		if err := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); err != nil {
			panic(fmt.Sprintf("a thread cannot leave a network namespace: %v", err))
		}
		own.Close()
		runtime.UnlockOSThread()
	}()
	return f()
}

// within runs f on the machine: sockets it opens and processes it starts are
// there. f must not leave this to other goroutines.
func (s *space) within(f func() error) error {
	return keepingSpace(func() error {
		if err := unix.Setns(int(s.ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter the machine %s: %w", s.name, err)
		}
		return f()
	})
}

// dial opens a connection from the machine; addresses must be numbers, so that
// nothing is looked up.
func (s *space) dial(ctx context.Context, network, address string) (c net.Conn, err error) {
	var d net.Dialer
	err = s.within(func() error {
		c, err = d.DialContext(ctx, network, address)
		return err
	})
	return c, err
}

// ip carries out commands of iproute2 in the thread's namespace.
func ip(batch string) error {
	cmd := exec.Command("ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(batch)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip: %w: %s", err, out)
	}
	return nil
}

// close gives the namespaces up.
func (n *network) close() {
	for _, s := range append(n.spaces, n.router) {
		if s != nil && s.ns != nil {
			s.ns.Close()
		}
	}
}

// at is the machine of a name.
func (n *network) at(name string) *space {
	for _, s := range n.spaces {
		if s.name == name {
			return s
		}
	}
	n.t.Fatalf("there is no machine %q", name)
	return nil
}

// oneWay drops everything from any of from to any of to; what goes the other
// way passes.
func (n *network) oneWay(from, to []*space) {
	n.t.Helper()
	n.rules("add", from, to)
}

// cut drops everything between the two sides.
func (n *network) cut(a, b []*space) {
	n.t.Helper()
	n.rules("add", a, b)
	n.rules("add", b, a)
}

// heal ends all cuts.
func (n *network) heal() {
	n.t.Helper()
	for pair := range n.cuts {
		n.rules("del", []*space{pair[0]}, []*space{pair[1]})
	}
}

func (n *network) rules(verb string, from, to []*space) {
	n.t.Helper()
	batch := ""
	for _, a := range from {
		for _, b := range to {
			pair := [2]*space{a, b}
			if a == b || n.cuts[pair] == (verb == "add") {
				continue
			}
			if verb == "add" {
				n.cuts[pair] = true
			} else {
				delete(n.cuts, pair)
			}
			batch += fmt.Sprintf("rule %s pref 100 from %s to %s blackhole\n", verb, a.ip, b.ip)
		}
	}
	if batch == "" {
		return
	}
	if err := n.router.within(func() error { return ip(batch) }); err != nil {
		n.t.Fatal(err)
	}
}

// rest are all machines but some.
func (n *network) rest(but ...*space) (out []*space) {
	for _, s := range n.spaces {
		kept := true
		for _, b := range but {
			kept = kept && s != b
		}
		if kept {
			out = append(out, s)
		}
	}
	return out
}

// try sends packets both ways between two machines, with one direction cut and
// with none: what the test relies on.
func (n *network) try() error {
	a, b := n.spaces[0], n.spaces[1]
	var at, bt net.PacketConn
	open := func(s *space) (c net.PacketConn, err error) {
		err = s.within(func() error { c, err = net.ListenPacket("udp4", s.ip+":0"); return err })
		return c, err
	}
	var err error
	if at, err = open(a); err != nil {
		return err
	}
	defer at.Close()
	if bt, err = open(b); err != nil {
		return err
	}
	defer bt.Close()
	leaked := false
	// passes sends until the word arrives.
	passes := func(from, to net.PacketConn, word string) error {
		return fleet.Await(10*time.Second, "a packet to pass", func() (bool, string) {
			if _, err := from.WriteTo([]byte(word), to.LocalAddr()); err != nil {
				return false, err.Error()
			}
			got := make([]byte, 16)
			_ = to.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			k, _, err := to.ReadFrom(got)
			leaked = leaked || err == nil && string(got[:k]) == "cut"
			return err == nil && string(got[:k]) == word, fmt.Sprint(err)
		})
	}
	if err := errors.Join(passes(at, bt, "one"), passes(bt, at, "two")); err != nil {
		return err
	}
	n.oneWay([]*space{a}, []*space{b})
	if err := passes(bt, at, "three"); err != nil {
		return fmt.Errorf("the direction that is not cut: %w", err)
	}
	for range 5 {
		_, _ = at.WriteTo([]byte("cut"), bt.LocalAddr())
	}
	n.heal()
	if err := passes(at, bt, "four"); err != nil {
		return err
	}
	if leaked { // it was sent before "four", on the same way
		return errors.New("a packet passed in a direction that is cut")
	}
	return nil
}
