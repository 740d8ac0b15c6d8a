package fleet

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
)

// SSHD is a machine that can be reached over SSH: a real OpenSSH server on a
// loopback port, whose sessions have processes and a /opt of their own. All
// that is started there ends with it.
type SSHD struct {
	Port int
	// Key lets root in; in PEM.
	Key []byte
	// HostKey is the fingerprint it shows.
	HostKey string

	cmd   *exec.Cmd
	log   string
	ended chan struct{}
}

// ErrNoSSHD is returned where such a machine cannot be made; its text says why.
var ErrNoSSHD = errors.New("no machine to reach over SSH can be made here")

// confine is run by root in namespaces of its own: what an installation writes
// stays in memory, and no systemd of this machine is seen.
const confine = `mount -t tmpfs tmpfs /opt && { [ ! -d /run/systemd ] || mount -t tmpfs tmpfs /run/systemd; } && exec "$0" -D -e -f "$1"`

// StartSSHD starts one; its files are in dir.
func StartSSHD(dir string) (*SSHD, error) {
	program := "/usr/sbin/sshd"
	if _, err := os.Stat(program); err != nil {
		return nil, fmt.Errorf("%w: sshd is not installed (Debian: apt-get install openssh-server)", ErrNoSSHD)
	}
	unshare := []string{"--mount", "--pid", "--fork", "--kill-child", "--mount-proc"}
	if out, err := exec.Command("unshare", append(unshare, "true")...).CombinedOutput(); err != nil || os.Geteuid() != 0 {
		return nil, fmt.Errorf("%w: namespaces need root: %v %s", ErrNoSSHD, err, bytes.TrimSpace(out))
	}
	// Compiled into sshd: where it confines its first stage.
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoSSHD, err)
	}
	s := &SSHD{log: filepath.Join(dir, "sshd.log")}
	host, hostPublic, err := sshKey()
	if err != nil {
		return nil, err
	}
	key, public, err := sshKey()
	if err != nil {
		return nil, err
	}
	s.Key, s.HostKey = key, ssh.FingerprintSHA256(hostPublic)
	for name, data := range map[string][]byte{"host": host, "authorized": ssh.MarshalAuthorizedKey(public)} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return nil, err
		}
	}
	ports, err := FreePorts(1)
	if err != nil {
		return nil, err
	}
	s.Port = ports[0]
	conf := filepath.Join(dir, "conf")
	// SHLVL: a bash that sshd starts would read the start files of whoever runs the tests, as if it were interactive.
	text := fmt.Sprintf("ListenAddress %s\nPort %d\nHostKey %[3]s/host\nAuthorizedKeysFile %[3]s/authorized\nPidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"+
		"KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nPrintMotd no\nPrintLastLog no\nSetEnv SHLVL=2\n", Host, s.Port, dir)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, err
	}
	log, err := os.Create(s.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s.cmd = exec.Command("unshare", append(unshare, "sh", "-c", confine, program, conf)...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	s.ended = make(chan struct{})
	go func() {
		_ = s.cmd.Wait()
		close(s.ended)
	}()
	err = Await(time.Minute, "sshd that listens", func() (bool, string) {
		c, err := net.Dial("tcp", net.JoinHostPort(Host, strconv.Itoa(s.Port)))
		if err != nil {
			return false, err.Error()
		}
		c.Close()
		return true, ""
	})
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, s.Log())
		s.Close()
		return nil, err
	}
	return s, nil
}

func sshKey() (private []byte, public ssh.PublicKey, err error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		return nil, nil, err
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(block), signer.PublicKey(), nil
}

// Log is what the server wrote.
func (s *SSHD) Log() string {
	b, _ := os.ReadFile(s.log)
	return string(b)
}

// Close ends the machine with everything on it.
func (s *SSHD) Close() {
	_ = s.cmd.Process.Kill() // the kernel ends the rest of its namespace
	<-s.ended
}
