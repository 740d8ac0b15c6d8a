package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"baton/control/engine/redis/redistest"
)

// from connects to the endpoint from an address of this machine.
func from(t *testing.T, address string, port int) *raw {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}, Timeout: 30 * time.Second}
	nc, err := d.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return &raw{t: t, nc: nc, r: bufio.NewReader(nc)}
}

// ends reads until the connection is over and returns what came.
func (c *raw) ends() string {
	c.t.Helper()
	_ = c.nc.SetReadDeadline(time.Now().Add(60 * time.Second))
	b, err := io.ReadAll(c.r)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		c.t.Fatalf("the connection does not end: %q, %v", b, err)
	}
	return string(b)
}

// TestOnlyClientsOfAllowedNetworksGetIn: refused ones are told why and
// counted; who is in when the list changes and is outside then is put out.
func TestOnlyClientsOfAllowedNetworksGetIn(t *testing.T) {
	servers := redistest.Cluster(t, 1)
	s, r := open(t, servers, Options{})
	inside, outside := from(t, "127.0.0.2", r.ReadWritePort), from(t, "127.0.0.3", r.ReadOnlyPort)
	for _, c := range []*raw{inside, outside} {
		c.login()
	}
	if got := s.Clients("test"); !slices.Equal(got, []string{"127.0.0.2", "127.0.0.3"}) {
		t.Errorf("clients: %v", got)
	}
	r.Version, r.Allow = 2, []string{"10.0.0.0/8", "127.0.0.2/32"}
	if err := s.Apply(r); err != nil {
		t.Fatal(err)
	}
	outside.ends()
	for _, port := range []int{r.ReadWritePort, r.ReadOnlyPort} {
		if got := from(t, "127.0.0.3", port).ends(); !strings.HasPrefix(got, "-DENIED ") || !strings.Contains(got, "127.0.0.3") {
			t.Errorf("a client from outside is told %q", got)
		}
	}
	inside.send("PING\r\n")
	inside.want("+PONG")
	from(t, "127.0.0.2", r.ReadOnlyPort).login()
	if st := s.Status()[0]; st.Counters.Outside != 3 || st.LastOutside != "127.0.0.3" {
		t.Errorf("told: %+v", st)
	}
	r.Version, r.Allow = 3, nil
	if err := s.Apply(r); err != nil {
		t.Fatal(err)
	}
	from(t, "127.0.0.3", r.ReadWritePort).login()
	r.Version, r.Allow = 4, []string{"everybody"}
	if err := s.Apply(r); err == nil {
		t.Error("a list that is not understood is taken")
	}
}

func TestNetworks(t *testing.T) {
	n, err := parseNetworks([]string{"10.1.0.0/16", "2001:db8::/32"})
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]bool{"10.1.255.255": true, "10.2.0.1": false, "2001:db8::1": true, "2001:db9::1": false, "::1": false} {
		if n.allow(netip.MustParseAddr(address)) != want {
			t.Errorf("%s: not %v", address, want)
		}
	}
	if n.allow(netip.Addr{}) || !networks(nil).allow(netip.MustParseAddr("192.0.2.1")) {
		t.Error("no address is let in, or no list keeps one out")
	}
}
