package main

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// runServe runs `baton serve` with these arguments in this process, for runs that end by themselves.
func runServe(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	root := rootCommand()
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(append([]string{"serve"}, args...))
	err := root.Execute()
	return out.String(), err
}

// Goal: whatever keeps a node from starting is said in one line that tells how to mend it, and nothing is written.
func TestServeRefusesInOneLineAndWritesNothing(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := strconv.Itoa(taken.Addr().(*net.TCPAddr).Port)
	dir := t.TempDir()
	junk := filepath.Join(t.TempDir(), "junk.pem")
	if err := os.WriteFile(junk, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	db := "--db=" + filepath.Join(dir, "data")
	cases := map[string]struct {
		args []string
		want string
	}{
		"client port in use":     {[]string{"--insecure", "--node-port", port}, "is in use by another program"},
		"peer port in use":       {[]string{"--insecure", "--node-port=0", "--replication-port", port}, "choose another --replication-port"},
		"not our address":        {[]string{"--insecure", "--node-ip=203.0.113.1", "--node-port=0"}, "choose another --node-ip"},
		"bad seed":               {[]string{"--insecure", "--gossip-seed=nowhere"}, "is not host:port"},
		"misspelt option":        {[]string{"--insecure", "--clster-size=3"}, "did you mean cluster-size?"},
		"unreadable file":        {[]string{"--insecure", "--config=/nonexistent/x.yaml"}, "cannot be read"},
		"unreadable certificate": {[]string{"--certificate-file=/nonexistent", "--certificate-private-key-file=" + junk}, "--certificate-file /nonexistent cannot be read"},
		"not a certificate":      {[]string{"--certificate-file=" + junk, "--certificate-private-key-file=" + junk}, "are not a certificate and its key"},
		"no authority to share":  {[]string{"--cluster-size=3", "--discover-via-dns=false"}, "the nodes of a cluster share one"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := runServe(t, append(c.args, db)...)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want one line with %q", err, c.want)
			}
		})
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("something was written: %v %v", entries, err)
	}
}

func TestServeWhatIfShowsValuesAndSources(t *testing.T) {
	t.Setenv("EVENTSTORE_NODE_PRORITY", "7")
	out, err := runServe(t, "--insecure", "--what-if")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"EVENTSTORE_NODE_PRORITY is accepted as another spelling of node-priority", "(environment EVENTSTORE_NODE_PRORITY)", "(command line)", "(default)"} {
		if !strings.Contains(out, want) {
			t.Errorf("what-if lacks %q:\n%s", want, out)
		}
	}
}
