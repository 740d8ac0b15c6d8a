package agent

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// maxClientsTold bounds the answer of ActionClients.
const maxClientsTold = 256

// clientsOf tells who is connected to the cluster's servers and endpoint here.
func clientsOf(_ context.Context, a *Agent, o Order) (map[string]string, error) {
	ports := map[int]bool{}
	for _, in := range a.known() {
		if in.Cluster == o.Cluster {
			ports[in.Port] = true
		}
	}
	seen := map[netip.Addr]bool{}
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // no such protocol
		}
		for _, x := range established(b, ports) {
			seen[x] = true
		}
	}
	if a.opt.Proxy != nil {
		for _, text := range a.opt.Proxy.Clients(o.Cluster) {
			if x, err := netip.ParseAddr(text); err == nil {
				seen[x] = true
			}
		}
	}
	list := make([]netip.Addr, 0, len(seen))
	for x := range seen {
		list = append(list, x)
	}
	slices.SortFunc(list, netip.Addr.Compare)
	b, err := json.Marshal(list[:min(len(list), maxClientsTold)])
	if err != nil {
		return nil, err
	}
	return map[string]string{"addresses": string(b)}, nil
}

// established reads the kernel's table of TCP connections (proc(5), net/tcp):
// the remote ends of those that are established to one of the ports.
func established(table []byte, ports map[int]bool) []netip.Addr {
	const stateEstablished = "01"
	var out []netip.Addr
	lines := bufio.NewScanner(bytes.NewReader(table))
	for lines.Scan() {
		f := strings.Fields(lines.Text()) // number, local, remote, state, ...
		if len(f) < 4 || f[3] != stateEstablished {
			continue
		}
		_, port, ok := strings.Cut(f[1], ":")
		n, err := strconv.ParseUint(port, 16, 16)
		if !ok || err != nil || !ports[int(n)] {
			continue
		}
		text, _, _ := strings.Cut(f[2], ":")
		if a, ok := kernelAddr(text); ok {
			out = append(out, a)
		}
	}
	return out
}

// kernelAddr reads an address as the table writes it: 32-bit words in the
// machine's own order, which is little-endian on all machines this runs on.
func kernelAddr(text string) (netip.Addr, bool) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != 4 && len(b) != 16 {
		return netip.Addr{}, false
	}
	for i := 0; i < len(b); i += 4 {
		slices.Reverse(b[i : i+4])
	}
	a, ok := netip.AddrFromSlice(b)
	return a.Unmap(), ok
}
