package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Limits say who may connect to the servers of one cluster on one host. The
// control plane makes them; an agent puts them in force as a whole.
type Limits struct {
	Cluster string `json:"cluster"`
	// Version names the content; the agent reports it back.
	Version string `json:"version"`
	Ports   []int  `json:"ports"` // of the cluster's servers on this host, sorted
	// Allow are the networks of clients; empty: anybody, and the limits are
	// forgotten. Always are addresses of the cluster's own servers, agents and
	// endpoints, let in in any case.
	Allow  []string `json:"allow"`
	Always []string `json:"always"`
}

// Check refuses limits that could not be put in force as they say.
func (l *Limits) Check() error {
	if !namePattern.MatchString(l.Cluster) {
		return fmt.Errorf("limits name no cluster")
	}
	for _, p := range l.Ports {
		if p < 1 || p > 65535 {
			return fmt.Errorf("port %d is not one", p)
		}
	}
	for _, n := range l.Allow {
		if _, err := netip.ParsePrefix(n); err != nil {
			return fmt.Errorf("%q is not a network", n)
		}
	}
	for _, a := range l.Always {
		if _, err := netip.ParseAddr(a); err != nil {
			return fmt.Errorf("%q is not an address", a)
		}
	}
	return nil
}

// nftTable is the table of ours. Nothing else is touched.
const nftTable = "inet baton"

// ruleset is all limits as one nft script that replaces what was there: at no
// moment is there less or nothing in force. own are addresses let in to every
// port. reject answers a refused client at once; without it packets are
// dropped, which every kernel can do.
//
// Connections of this machine to itself are not limited.
func ruleset(all []Limits, own []netip.Addr, reject bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "table %s\ndelete table %s\n", nftTable, nftTable) // the first line: so that there is one to delete
	all = slices.DeleteFunc(slices.Clone(all), func(l Limits) bool { return len(l.Allow) == 0 || len(l.Ports) == 0 })
	if len(all) == 0 {
		return b.String()
	}
	slices.SortFunc(all, func(x, y Limits) int { return strings.Compare(x.Cluster, y.Cluster) })
	end := "drop"
	if reject {
		end = "reject with tcp reset"
	}
	fmt.Fprintf(&b, "table %s {\n", nftTable)
	for _, l := range all {
		var nets []netip.Prefix
		for _, n := range l.Allow {
			if p, err := netip.ParsePrefix(n); err == nil {
				nets = append(nets, p.Masked())
			}
		}
		for _, text := range l.Always {
			if a, err := netip.ParseAddr(text); err == nil {
				nets = append(nets, single(a))
			}
		}
		for _, a := range own {
			nets = append(nets, single(a))
		}
		v4, v6 := split4and6(nets)
		fmt.Fprintf(&b, "\tchain cluster-%s {\n", l.Cluster)
		if len(v4) > 0 {
			fmt.Fprintf(&b, "\t\tip saddr { %s } accept\n", strings.Join(v4, ", "))
		}
		if len(v6) > 0 {
			fmt.Fprintf(&b, "\t\tip6 saddr { %s } accept\n", strings.Join(v6, ", "))
		}
		fmt.Fprintf(&b, "\t\tcounter %s\n\t}\n", end)
	}
	b.WriteString("\tchain input {\n\t\ttype filter hook input priority -5; policy accept;\n\t\tiif \"lo\" accept\n")
	for _, l := range all {
		ports := make([]string, len(l.Ports))
		for i, p := range slices.Sorted(slices.Values(l.Ports)) {
			ports[i] = fmt.Sprint(p)
		}
		fmt.Fprintf(&b, "\t\ttcp dport { %s } jump cluster-%s\n", strings.Join(slices.Compact(ports), ", "), l.Cluster)
	}
	b.WriteString("\t}\n}\n")
	return b.String()
}

func single(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	return netip.PrefixFrom(a, a.BitLen())
}

// split4and6 writes networks as nft takes them, sorted, without those that
// another one holds: nft refuses overlaps.
func split4and6(nets []netip.Prefix) (v4, v6 []string) {
	slices.SortFunc(nets, func(a, b netip.Prefix) int {
		if a.Bits() != b.Bits() {
			return a.Bits() - b.Bits() // wide ones first
		}
		return a.Addr().Compare(b.Addr())
	})
	var kept []netip.Prefix
	for _, n := range nets {
		if !slices.ContainsFunc(kept, func(k netip.Prefix) bool { return k.Contains(n.Addr()) && k.Addr().Is4() == n.Addr().Is4() }) {
			kept = append(kept, n)
		}
	}
	for _, n := range kept {
		if n.Addr().Is4() {
			v4 = append(v4, n.String())
		} else {
			v6 = append(v6, n.String())
		}
	}
	return v4, v6
}
