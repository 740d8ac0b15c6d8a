package proxy

import (
	"fmt"
	"net"
	"net/netip"
	"sort"
	"time"
)

// outsideLogEvery: a client that tries on and on is logged once in this time.
const outsideLogEvery = 10 * time.Second

// networks are those clients may come from; nil: any.
type networks []netip.Prefix

// parseNetworks reads a list of networks. Errors: one that is none; an
// endpoint must not be open because its limit was not understood.
func parseNetworks(list []string) (networks, error) {
	var out networks
	for _, text := range list {
		n, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%q is not a network", text)
		}
		out = append(out, n.Masked())
	}
	return out, nil
}

// allow tells whether a client may connect.
func (n networks) allow(a netip.Addr) bool {
	for _, p := range n {
		if p.Contains(a) {
			return true
		}
	}
	return len(n) == 0
}

// remote is the address a connection comes from; the zero address, which no
// network holds, where it has none.
func remote(nc net.Conn) netip.Addr {
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

// admit lets in or tells a client from elsewhere that it may not connect.
func (e *endpoint) admit(nc net.Conn) bool {
	from := remote(nc)
	e.mu.Lock()
	ok := e.networks.allow(from)
	quiet := !ok && time.Since(e.outsideLogged) < outsideLogEvery
	if !ok {
		e.lastOutside = from.String()
		if !quiet {
			e.outsideLogged = time.Now()
		}
	}
	e.mu.Unlock()
	if ok {
		return true
	}
	e.count(func(c *Counters) { c.Outside++ })
	if !quiet {
		e.s.opt.Log.Warn("a client was refused: its address is in none of the networks that may connect", "cluster", e.cluster, "from", from)
	}
	turnAway(nc, "DENIED clients may not connect to cluster "+e.cluster+" from "+from.String()+"; its administrator can allow that network")
	return false
}

// turnAway tells a client why it may not stay.
func turnAway(nc net.Conn, why string) {
	_ = nc.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = nc.Write([]byte("-" + why + "\r\n"))
	nc.Close()
}

// shutOut ends the connections of clients that may not connect any more; e.mu
// is held.
func (e *endpoint) shutOut() {
	for c := range e.conns {
		if !e.networks.allow(remote(c.client.nc)) {
			e.count(func(n *Counters) { n.Outside++ })
			go c.close()
		}
	}
}

// maxClientsTold bounds the answer of Clients.
const maxClientsTold = 256

// Clients are the addresses that are connected to a cluster's endpoint here,
// each once, sorted.
func (s *Server) Clients(cluster string) []string {
	s.mu.Lock()
	e := s.endpoints[cluster]
	s.mu.Unlock()
	if e == nil {
		return nil
	}
	seen := map[netip.Addr]bool{}
	e.mu.Lock()
	for c := range e.conns {
		if a := remote(c.client.nc); len(seen) < maxClientsTold {
			seen[a] = true
		}
	}
	e.mu.Unlock()
	out := make([]string, 0, len(seen))
	for a := range seen {
		out = append(out, a.String())
	}
	sort.Strings(out)
	return out
}
