// Package provider tells about the machines databases run on, and reaches them.
//
// Local is the machine the agent runs on, read from what its kernel, firmware
// and first-boot tool say; where these leave the place open, the metadata
// service of the provider the firmware names is asked, at its link-local
// address only and for 300 ms at most, while nobody waits. Shell installs the
// agent on a machine over SSH.
package provider

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"baton/control/engine"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/load"
	"github.com/shirou/gopsutil/v4/mem"
	"golang.org/x/sys/unix"
)

// Local reads this machine. Make it with NewLocal; it belongs to one goroutine.
type Local struct {
	root   string // "/" but in tests
	static engine.HostFacts
	told   atomic.Pointer[string] // location the metadata service told
}

// Named are facts a person gave; they win over what the machine says.
type Named struct {
	Name, Provider, Location string
}

// NewLocal reads what does not change while the machine runs.
func NewLocal(named Named) *Local {
	l := newLocal("/", named)
	if named.Location == "" && l.static.Location == unknownPlace {
		go l.discover(metadata{metadataAddress})
	}
	return l
}

// unknownPlace is the location of a machine that does not say.
const unknownPlace = "local"

// discover asks the metadata service where the machine stands.
func (l *Local) discover(m metadata) {
	if where, err := m.locate(context.Background(), l.static.Provider); err == nil {
		l.told.Store(&where)
	}
}

func newLocal(root string, named Named) *Local {
	l := &Local{root: root}
	f := &l.static
	f.Name = named.Name
	if f.Name == "" {
		f.Name, _ = os.Hostname()
	}
	f.Arch, f.Cores = runtime.GOARCH, runtime.NumCPU()
	f.OS = l.osName()
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		f.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	f.BootID = l.line("proc/sys/kernel/random/boot_id")
	vendor, product := l.line("sys/class/dmi/id/sys_vendor"), l.line("sys/class/dmi/id/product_name")
	f.Model = l.model(vendor, product)
	f.Virtualization = l.virtualization(vendor, product)
	f.Provider, f.Location = l.place(vendor, product)
	if named.Provider != "" {
		f.Provider = named.Provider
	}
	if named.Location != "" {
		f.Location = named.Location
	}
	f.Addresses = addresses()
	_, _ = cpu.Percent(0, false) // the first reading starts the interval
	return l
}

// Read returns the present facts.
func (l *Local) Read() engine.HostFacts {
	f := l.static
	if where := l.told.Load(); where != nil {
		f.Location = *where
	}
	f.Clock = time.Now()
	f.CPUPercent = -1
	if p, err := cpu.Percent(0, false); err == nil && len(p) == 1 {
		f.CPUPercent = p[0]
	}
	if m, err := mem.VirtualMemory(); err == nil {
		f.MemoryBytes, f.MemoryFree = int64(m.Total), int64(m.Available)
	}
	if a, err := load.Avg(); err == nil {
		f.Load1 = a.Load1
	}
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) == nil {
		f.UptimeSeconds = int64(si.Uptime)
	}
	return f
}

// Disk reads the volume under dir, or under its nearest existing parent.
func Disk(dir string) (engine.DiskFacts, error) {
	d := engine.DiskFacts{Dir: dir}
	at := dir
	for {
		u, err := disk.Usage(at)
		if err == nil {
			d.FreeBytes, d.TotalBytes = int64(u.Free), int64(u.Total)
			return d, nil
		}
		if parent := filepath.Dir(at); parent != at {
			at = parent
			continue
		}
		return d, err
	}
}

func (l *Local) line(path string) string {
	b, err := os.ReadFile(filepath.Join(l.root, path))
	if err != nil {
		return ""
	}
	s, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	return strings.TrimSpace(s)
}

func (l *Local) osName() string {
	f, err := os.Open(filepath.Join(l.root, "etc/os-release"))
	if err != nil {
		return runtime.GOOS
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		if v, ok := strings.CutPrefix(sc.Text(), "PRETTY_NAME="); ok {
			return strings.Trim(v, `"'`)
		}
	}
	return runtime.GOOS
}

// model is the machine's name, or its processor's where firmware gives none.
func (l *Local) model(vendor, product string) string {
	if product != "" && !meaningless(product) {
		if vendor != "" && !meaningless(vendor) && !strings.Contains(product, vendor) {
			return vendor + " " + product
		}
		return product
	}
	if c, err := cpu.Info(); err == nil && len(c) > 0 && c[0].ModelName != "" {
		return c[0].ModelName
	}
	return "unknown"
}

// meaningless firmware texts say nothing about the machine.
func meaningless(s string) bool {
	switch strings.ToLower(s) {
	case "", "to be filled by o.e.m.", "system manufacturer", "system product name", "default string", "none", "not specified":
		return true
	}
	return false
}

var vendors = []struct{ part, name string }{
	{"amazon ec2", "AWS"}, {"google", "Google Cloud"}, {"microsoft corporation", "Azure"}, {"hetzner", "Hetzner"},
	{"digitalocean", "DigitalOcean"}, {"scaleway", "Scaleway"}, {"ovh", "OVHcloud"}, {"vultr", "Vultr"},
	{"linode", "Akamai"}, {"akamai", "Akamai"}, {"oraclecloud", "Oracle Cloud"}, {"alibaba", "Alibaba Cloud"}, {"upcloud", "UpCloud"}, {"exoscale", "Exoscale"},
}

// place is provider and location: from the first-boot tool's own record, else
// the provider from the firmware's vendor, else "own hardware".
func (l *Local) place(vendor, product string) (provider, location string) {
	var rec struct {
		V1 struct {
			Cloud  string `json:"cloud_name"`
			Region string `json:"region"`
			Zone   string `json:"availability_zone"`
		} `json:"v1"`
	}
	if b, err := os.ReadFile(filepath.Join(l.root, "run/cloud-init/instance-data.json")); err == nil && json.Unmarshal(b, &rec) == nil {
		provider = rec.V1.Cloud
		location = rec.V1.Zone
		if location == "" {
			location = rec.V1.Region
		}
	}
	if provider == "" || provider == "unknown" || provider == "none" {
		provider = ""
		text := strings.ToLower(vendor + " " + product + " " + l.line("sys/class/dmi/id/chassis_asset_tag"))
		for _, v := range vendors {
			if strings.Contains(text, v.part) {
				provider = v.name
				break
			}
		}
	}
	if provider == "" {
		provider = "own machine"
	}
	if location == "" {
		location = unknownPlace
	}
	return provider, location
}

func (l *Local) virtualization(vendor, product string) string {
	text := strings.ToLower(vendor + " " + product)
	for _, v := range []struct{ part, name string }{
		{"qemu", "KVM"}, {"kvm", "KVM"}, {"vmware", "VMware"}, {"virtualbox", "VirtualBox"}, {"xen", "Xen"}, {"firecracker", "Firecracker"}} {
		if strings.Contains(text, v.part) {
			return v.name
		}
	}
	if b, err := os.ReadFile(filepath.Join(l.root, "proc/cpuinfo")); err == nil && strings.Contains(string(b), " hypervisor") {
		return "virtual machine"
	}
	return ""
}

func addresses() []string {
	var out []string
	as, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range as {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && !n.IP.IsLinkLocalUnicast() {
			out = append(out, n.IP.String())
		}
	}
	return out
}
