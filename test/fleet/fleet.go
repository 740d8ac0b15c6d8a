// Package fleet starts real nodes, each a process of the built binary on loopback ports, for system tests and
// benchmarks. It uses only the standard library, so that a module that links an official client can use it too.
//
// Every process a Fleet starts is ended by Close (or by the test's cleanup), also when the test failed; only
// processes it started itself are touched. Output of each node goes to a file beside its data.
package fleet

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Host is where all nodes listen.
const Host = "127.0.0.1"

// Options describe a fleet. Zero values give three insecure voters.
type Options struct {
	Dir         string   // parent of the data directories; must exist
	Nodes       int      // processes; default 3
	ClusterSize int      // voters; default min(Nodes, 3) made odd
	Priorities  []int    // by node; missing ones are 0
	ReadOnly    []bool   // by node: a read-only replica
	ClientPorts []int    // fixed client ports; free ones are picked when empty
	Args        []string // further options for every node
	Env         []string // further NAME=value for every node
	Insecure    bool     // --insecure; set by New unless TLS is given
	TLS         *TLS     // files for every node
	Binary      string   // default $TEST_BINARY, else bin/baton of the project

	Hosts []string // by node: the address it listens on, a number; default Host
	// Spawn starts node i's process somewhere else than here; default: start().
	Spawn func(i int, start func() error) error

	HTTP           *http.Client // for requests to nodes; a plain one by default
	User, Password string       // sent with them when not empty
}

// TLS names the files of a secure fleet.
type TLS struct {
	CertFile, KeyFile, RootsDir, RootFile string
	// Authority is a directory that issues every node's certificate; the files are not needed then.
	Authority string
}

// Fleet is a set of nodes that seed each other.
type Fleet struct {
	Options
	Nodes []*Node
}

// Node is one process, or the place where one runs.
type Node struct {
	Name       string
	Host       string // address it listens on
	ClientPort int
	PeerPort   int
	Dir        string // data
	LogFile    string // output of all its runs, appended
	fleet      *Fleet

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // closed when cmd has been waited for
}

// New prepares a fleet without starting it.
func New(o Options) (*Fleet, error) {
	if o.Nodes == 0 {
		o.Nodes = 3
	}
	if o.ClusterSize == 0 {
		o.ClusterSize = min(o.Nodes, 3)
	}
	if o.Binary == "" {
		b, err := Binary()
		if err != nil {
			return nil, err
		}
		o.Binary = b
	}
	o.Insecure = o.TLS == nil
	if o.HTTP == nil {
		o.HTTP = &http.Client{Timeout: 30 * time.Second}
	}
	f := &Fleet{Options: o}
	ports, err := FreePorts(2 * o.Nodes)
	if err != nil {
		return nil, err
	}
	for i := range o.Nodes {
		n := &Node{
			Name:       fmt.Sprintf("n%d", i+1),
			Host:       Host,
			ClientPort: ports[2*i],
			PeerPort:   ports[2*i+1],
			fleet:      f,
		}
		if i < len(o.Hosts) {
			n.Host = o.Hosts[i]
		}
		if i < len(o.ClientPorts) {
			n.ClientPort = o.ClientPorts[i]
		}
		n.Dir = filepath.Join(o.Dir, n.Name)
		n.LogFile = filepath.Join(o.Dir, n.Name+".log")
		f.Nodes = append(f.Nodes, n)
	}
	return f, nil
}

// Binary finds the binary under test: $TEST_BINARY, or bin/baton in a parent folder.
func Binary() (string, error) {
	if b := os.Getenv("TEST_BINARY"); b != "" {
		if _, err := os.Stat(b); err != nil {
			return "", fmt.Errorf("TEST_BINARY: %w (run make build first)", err)
		}
		return b, nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		b := filepath.Join(dir, "bin", "baton")
		if _, err := os.Stat(b); err == nil {
			return b, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("no bin/baton in any parent folder: run make build first")
		}
		dir = parent
	}
}

// Args are the command-line arguments of node i.
func (f *Fleet) args(i int) []string {
	n := f.Nodes[i]
	var seeds []string
	for j, other := range f.Nodes {
		if j != i {
			seeds = append(seeds, fmt.Sprintf("%s:%d", f.seedHost(other), other.ClientPort))
		}
	}
	args := []string{
		"serve",
		"--db", n.Dir,
		"--cluster-size", strconv.Itoa(f.ClusterSize),
		"--node-ip", n.Host, "--node-port", strconv.Itoa(n.ClientPort),
		"--replication-ip", n.Host, "--replication-port", strconv.Itoa(n.PeerPort),
		"--node-name", n.Name,
		"--discover-via-dns=false",
	}
	if len(seeds) > 0 {
		args = append(args, "--gossip-seed", strings.Join(seeds, ","))
	}
	if i < len(f.Priorities) {
		args = append(args, "--node-priority", strconv.Itoa(f.Priorities[i]))
	}
	if i < len(f.ReadOnly) && f.ReadOnly[i] {
		args = append(args, "--read-only-replica")
	}
	switch {
	case f.Insecure:
		args = append(args, "--insecure")
	case f.TLS.Authority != "":
		args = append(args, "--certificate-authority-path", f.TLS.Authority, "--advertise-host-to-client-as", "localhost")
	default:
		args = append(args, "--certificate-file", f.TLS.CertFile, "--certificate-private-key-file", f.TLS.KeyFile,
			"--trusted-root-certificates-path", f.TLS.RootsDir,
			"--advertise-host-to-client-as", "localhost")
	}
	return append(args, f.Options.Args...)
}

func (f *Fleet) seedHost(n *Node) string {
	if f.Insecure {
		return n.Host
	}
	return "localhost"
}

// Start starts all nodes that do not run.
func (f *Fleet) Start() error {
	for _, n := range f.Nodes {
		if n.Running() {
			continue
		}
		if err := n.Start(); err != nil {
			return err
		}
	}
	return nil
}

// Close kills all nodes and waits for their end.
func (f *Fleet) Close() {
	for _, n := range f.Nodes {
		n.Kill()
	}
}

// index returns the place of n in its fleet.
func (n *Node) index() int {
	for i, m := range n.fleet.Nodes {
		if m == n {
			return i
		}
	}
	return -1
}

// Start starts the process. extra arguments are for this run only.
func (n *Node) Start(extra ...string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd != nil {
		return fmt.Errorf("%s runs already", n.Name)
	}
	out, err := os.OpenFile(n.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(n.fleet.Binary, append(n.fleet.args(n.index()), extra...)...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = append(plainEnvironment(), n.fleet.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // no orphan outlives the test
	start := cmd.Start
	if n.fleet.Spawn != nil {
		start = func() error { return n.fleet.Spawn(n.index(), cmd.Start) }
	}
	if err := start(); err != nil {
		return err
	}
	n.cmd, n.done = cmd, make(chan struct{})
	go func(done chan struct{}) {
		cmd.Wait()
		n.mu.Lock()
		n.cmd = nil
		n.mu.Unlock()
		close(done)
	}(n.done)
	return nil
}

// plainEnvironment is ours without the variables that are options of a node.
func plainEnvironment() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "BATON_") && !strings.HasPrefix(v, "EVENTSTORE_") && !strings.HasPrefix(v, "KURRENTDB_") {
			env = append(env, v)
		}
	}
	return env
}

// Running says whether the process lives.
func (n *Node) Running() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cmd != nil
}

// PID is the process id, 0 when it does not run.
func (n *Node) PID() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return 0
	}
	return n.cmd.Process.Pid
}

// Signal sends s to the process, if it runs.
func (n *Node) Signal(s syscall.Signal) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd != nil {
		_ = n.cmd.Process.Signal(s) // it may have ended by itself
	}
}

// Kill ends the process as kill -9 does and waits until it is gone.
func (n *Node) Kill() {
	n.Signal(syscall.SIGKILL)
	n.wait()
}

// Stop asks the process to end and waits; after limit it is killed. It reports whether it ended by itself.
func (n *Node) Stop(limit time.Duration) bool {
	n.mu.Lock()
	done := n.done
	n.mu.Unlock()
	n.Signal(syscall.SIGTERM)
	if done == nil {
		return true
	}
	select {
	case <-done:
		return true
	case <-time.After(limit):
		n.Kill()
		return false
	}
}

func (n *Node) wait() {
	n.mu.Lock()
	done := n.done
	n.mu.Unlock()
	if done != nil {
		<-done
	}
}

// Address is host:port for clients.
func (n *Node) Address() string { return fmt.Sprintf("%s:%d", n.Host, n.ClientPort) }

// ConnectionString is what an official client takes to find the cluster by gossip through all nodes.
func (f *Fleet) ConnectionString(query string) string {
	var hosts []string
	for _, n := range f.Nodes {
		hosts = append(hosts, n.Address())
	}
	s := "esdb://" + strings.Join(hosts, ",") + "?tls=false"
	if query != "" {
		s += "&" + query
	}
	return s
}

// DirectString is what an official client takes to speak to this node only.
func (n *Node) DirectString(query string) string {
	s := "esdb://" + n.Address() + "?tls=false"
	if query != "" {
		s += "&" + query
	}
	return s
}
