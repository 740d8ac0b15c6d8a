package provider

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// sshd is a real OpenSSH server of this test's own, on a loopback port.
type sshd struct {
	port    int
	key     []byte // lets the present user in
	hostKey string // fingerprint
}

func newKey(t *testing.T, file string) (private []byte, public ssh.PublicKey) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	private = pem.EncodeToMemory(block)
	if file != "" {
		if err := os.WriteFile(file, private, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return private, signer.PublicKey()
}

func startSSHD(t *testing.T) *sshd {
	t.Helper()
	bin := "/usr/sbin/sshd"
	if _, err := os.Stat(bin); err != nil {
		if bin, err = exec.LookPath("sshd"); err != nil {
			t.Skip("sshd is not installed (Debian: apt-get install openssh-server); nothing of this test was run")
		}
	}
	if os.Geteuid() == 0 {
		// Compiled into sshd: where it confines its first stage when run by root.
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Skipf("sshd needs /run/sshd, which cannot be made here: %v; nothing of this test was run", err)
		}
	}
	dir := t.TempDir()
	s := &sshd{}
	_, host := newKey(t, filepath.Join(dir, "host"))
	s.hostKey = ssh.FingerprintSHA256(host)
	private, public := newKey(t, "")
	s.key = private
	if err := os.WriteFile(filepath.Join(dir, "authorized"), ssh.MarshalAuthorizedKey(public), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 20 { // a port may be taken between its choice and the start
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s.port = ln.Addr().(*net.TCPAddr).Port
		ln.Close()
		// SHLVL: a bash that sshd starts would read the start files of whoever runs the tests, as if it were interactive.
		conf := fmt.Sprintf("ListenAddress 127.0.0.1\nPort %d\nHostKey %s/host\nAuthorizedKeysFile %s/authorized\nPidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nPrintMotd no\nPrintLastLog no\nSetEnv SHLVL=2\n",
			s.port, dir, dir)
		if err := os.WriteFile(filepath.Join(dir, "conf"), []byte(conf), 0o600); err != nil {
			t.Fatal(err)
		}
		log, err := os.Create(filepath.Join(dir, "log"))
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(bin, "-D", "-e", "-f", filepath.Join(dir, "conf"))
		cmd.Stdout, cmd.Stderr = log, log
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() { _ = cmd.Wait(); close(ended) }()
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			<-ended
			if t.Failed() {
				b, _ := os.ReadFile(filepath.Join(dir, "log"))
				t.Logf("sshd:\n%s", b)
			}
		})
		if listens(s.port, ended) {
			return s
		}
	}
	b, _ := os.ReadFile(filepath.Join(dir, "log"))
	t.Fatalf("sshd does not start:\n%s", b)
	return nil
}

func listens(port int, ended <-chan struct{}) bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(time.Minute); time.Now().Before(limit); {
		if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			c.Close()
			return true
		}
		select {
		case <-ended:
			return false
		case <-tick.C:
		}
	}
	return false
}

func (s *sshd) target(t *testing.T) SSHTarget {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	return SSHTarget{Address: "127.0.0.1", Port: s.port, User: me.Username, Key: s.key, HostKey: s.hostKey}
}

// program stands for the agent's: it writes down what it is called with and
// what it reads.
const program = `#!/bin/sh
dir=$(dirname "$0")
echo "$@" >>"$dir/calls"
[ "$2" = join ] && cat >"$dir/read"
[ "$2" = --data ] && tr '\0' ' ' </proc/self/environ >"$dir/environment"
exit 0
`

// TestInstallOverSSH: with a real sshd, the machine is looked at, the program
// arrives whole, the token goes through standard input and stands in no
// argument, and the agent is started.
func TestInstallOverSSH(t *testing.T) {
	s := startSSHD(t)
	local := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(local, []byte(program), 0o755); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "there")
	in := SSHInstall{Binary: local, Token: "baton-join.secret", Name: "db7", Location: "rack 7", Dir: dir}
	var steps []string
	tell := func(step, detail string) { steps = append(steps, step+": "+detail) }
	for range 2 { // it may be repeated
		steps = nil
		if err := InstallOverSSH(context.Background(), s.target(t), in, tell); err != nil {
			t.Fatalf("%v after %q", err, steps)
		}
	}
	if len(steps) != 5 || !strings.HasPrefix(steps[2], "upload: ") {
		t.Errorf("%q", steps)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "baton")); err != nil || string(got) != program {
		t.Errorf("what arrived: %q %v", got, err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "read")); err != nil || string(got) != in.Token+"\n" {
		t.Errorf("it read %q, %v", got, err)
	}
	started := func() string {
		b, _ := os.ReadFile(filepath.Join(dir, "calls"))
		return string(b)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(time.Minute); !strings.Contains(started(), "agent --data "+dir+"/agent --location rack 7"); <-tick.C {
		if time.Now().After(limit) {
			t.Fatalf("not started: %q", started())
		}
	}
	if calls := started(); strings.Contains(calls, "secret") || !strings.Contains(calls, "agent join --data "+dir+"/agent --name db7\n") {
		t.Errorf("calls %q", calls)
	}
	b, _ := os.ReadFile(filepath.Join(dir, "environment"))
	if strings.Contains(string(b), "secret") {
		t.Error("the token stands in the environment")
	}
}

// TestAHostKeyMustBeConfirmed: nothing is done on a machine whose key nobody
// confirmed, or that shows another one; a wrong key does not get in.
func TestAHostKeyMustBeConfirmed(t *testing.T) {
	s := startSSHD(t)
	none := func(string, string) {}
	dir := filepath.Join(t.TempDir(), "there")
	for _, confirmed := range []string{"", "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"} {
		target := s.target(t)
		target.HostKey = confirmed
		err := InstallOverSSH(context.Background(), target, SSHInstall{Binary: os.Args[0], Token: "t", Dir: dir}, none)
		var e *HostKeyError
		if !errors.As(err, &e) || e.Fingerprint != s.hostKey || e.Confirmed != confirmed {
			t.Errorf("confirmed %q: %v", confirmed, err)
		}
	}
	if f, kind, err := HostKey(context.Background(), s.target(t)); err != nil || f != s.hostKey || kind != ssh.KeyAlgoED25519 {
		t.Errorf("%s %s %v", f, kind, err)
	}
	target := s.target(t)
	target.Key, _ = newKey(t, "")
	if err := InstallOverSSH(context.Background(), target, SSHInstall{Binary: os.Args[0], Token: "t", Dir: dir}, none); err == nil || !strings.Contains(err.Error(), "does not let") {
		t.Errorf("a stranger's key: %v", err)
	}
	for _, bad := range []SSHInstall{{Name: "a;reboot"}, {Location: "$(id)"}, {Provider: "x\ny"}, {Dir: "/tmp/a b"}, {Dir: "relative"}} {
		if err := InstallOverSSH(context.Background(), s.target(t), bad, none); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("something was written")
	}
}
