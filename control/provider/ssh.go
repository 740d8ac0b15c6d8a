package provider

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

const (
	// sshDialTime bounds connecting and proving who is who.
	sshDialTime = 15 * time.Second
	// sshCommandTime bounds one command; the upload has uploadTime.
	sshCommandTime = time.Minute
	uploadTime     = 10 * time.Minute
	// maxSSHOutput of a command is kept, for the error's text.
	maxSSHOutput = 16 << 10
)

// SSHTarget is a machine to reach and with what. Key and Password are used for
// this connection and kept nowhere.
type SSHTarget struct {
	Address string // host or IP
	Port    int    // 22 when 0
	User    string
	// Password or Key (PEM, without a passphrase) proves who we are.
	Password string
	Key      []byte
	// HostKey is the confirmed fingerprint, as SHA256:...; "" asks for it.
	HostKey string
}

func (t SSHTarget) hostPort() string {
	if t.Port == 0 {
		t.Port = 22
	}
	return net.JoinHostPort(t.Address, strconv.Itoa(t.Port))
}

// HostKeyError says that the machine showed a key that nobody confirmed.
type HostKeyError struct {
	Address, Type string
	Fingerprint   string // what it showed
	Confirmed     string // what was confirmed, "" when nothing was
}

func (e *HostKeyError) Error() string {
	if e.Confirmed == "" {
		return fmt.Sprintf("%s shows the %s host key %s, which is not confirmed yet", e.Address, e.Type, e.Fingerprint)
	}
	return fmt.Sprintf("%s shows the host key %s, confirmed was %s: it is another machine, it was installed anew, or somebody is in between", e.Address, e.Fingerprint, e.Confirmed)
}

// SSHInstall is what an installation needs beside the machine.
type SSHInstall struct {
	Binary string // path of the program to upload, this machine's own
	// Token is the one-use join token; it goes through standard input.
	Token string
	// Name, Location and Provider the host shall have; "" leaves it to the machine.
	Name, Location, Provider string
	// Dir holds program and state on the machine; "" is /opt/baton for root and
	// .baton in the home directory for others.
	Dir string
}

// Progress is told of each step as it begins, and of what it found.
type Progress func(step, detail string)

var (
	remoteDir  = regexp.MustCompile(`^/[A-Za-z0-9._/-]{1,200}$`)
	remoteWord = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}$`)
)

// ErrSSHInput: a value must not be given to a shell.
var ErrSSHInput = errors.New("it may hold letters, digits, spaces, dots, dashes and underscores")

// InstallOverSSH puts the agent on a machine: connects, checks system and
// architecture, uploads the program, joins, and starts it, as a systemd unit
// where systemd runs and we are root, else detached. It is safe to repeat with
// a new token after a failure; on a machine whose agent has joined already it
// only replaces the program and starts it.
//
// Errors: *HostKeyError before anything was sent that could be used elsewhere.
func InstallOverSSH(ctx context.Context, t SSHTarget, in SSHInstall, tell Progress) error {
	for what, v := range map[string]string{"name": in.Name, "location": in.Location, "provider": in.Provider} {
		if v != "" && !remoteWord.MatchString(v) {
			return fmt.Errorf("%s %q: %w", what, v, ErrSSHInput)
		}
	}
	if in.Dir != "" && !remoteDir.MatchString(in.Dir) {
		return fmt.Errorf("directory %q: give an absolute path of letters, digits, dots, dashes and underscores", in.Dir)
	}
	tell("connect", t.User+" at "+t.hostPort())
	m, err := dialSSH(ctx, t)
	if err != nil {
		return err
	}
	defer m.client.Close()
	stop := context.AfterFunc(ctx, func() { m.client.Close() })
	defer stop()
	tell("look", "system and architecture")
	about, err := m.look(ctx)
	if err != nil {
		return err
	}
	if in.Dir == "" {
		in.Dir = about.home + "/.baton"
		if about.root {
			in.Dir = "/opt/baton"
		}
	}
	if !remoteDir.MatchString(in.Dir) {
		return fmt.Errorf("the home directory %q is not one this program writes to; give a directory", about.home)
	}
	tell("upload", in.Dir+"/baton")
	if err := m.upload(ctx, in.Binary, in.Dir); err != nil {
		return err
	}
	tell("join", "with a one-use token")
	join := fmt.Sprintf("%s/baton agent join --data %s/agent", in.Dir, in.Dir)
	if in.Name != "" {
		join += " --name " + quote(in.Name)
	}
	if _, err := m.run(ctx, join, strings.NewReader(in.Token+"\n"), sshCommandTime); err != nil {
		return fmt.Errorf("join from there: %w", err)
	}
	options := ""
	if in.Location != "" {
		options += " --location " + quote(in.Location)
	}
	if in.Provider != "" {
		options += " --provider " + quote(in.Provider)
	}
	command := fmt.Sprintf("%[1]s/baton agent --data %[1]s/agent%[2]s", in.Dir, options)
	if about.root && about.systemd {
		tell("start", "as the systemd unit baton-agent")
		_, err = m.run(ctx, fmt.Sprintf("%[1]s/baton agent install --data %[1]s/agent%[2]s && systemctl daemon-reload && systemctl enable baton-agent && systemctl restart baton-agent", in.Dir, options), nil, sshCommandTime)
	} else {
		tell("start", "detached: systemd does not run there, or the user is not root; it does not start again by itself after a reboot")
		// Its own session and no open descriptor of ours: it outlives the connection.
		_, err = m.run(ctx, fmt.Sprintf("setsid nohup %s >>%s/agent.log 2>&1 </dev/null &", command, in.Dir), nil, sshCommandTime)
	}
	if err != nil {
		return fmt.Errorf("start the agent there: %w", err)
	}
	return nil
}

// machine is a connected one.
type machine struct{ client *ssh.Client }

func dialSSH(ctx context.Context, t SSHTarget) (*machine, error) {
	var shown *HostKeyError
	conf := &ssh.ClientConfig{User: t.User, Timeout: sshDialTime,
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			// Checked before anything of ours is sent.
			if f := ssh.FingerprintSHA256(key); t.HostKey == "" || f != t.HostKey {
				shown = &HostKeyError{Address: t.Address, Type: key.Type(), Fingerprint: f, Confirmed: t.HostKey}
				return shown
			}
			return nil
		}}
	switch {
	case len(t.Key) > 0:
		signer, err := ssh.ParsePrivateKey(t.Key)
		var locked *ssh.PassphraseMissingError
		if errors.As(err, &locked) {
			return nil, errors.New("the key has a passphrase: give one without, made for this")
		}
		if err != nil {
			return nil, errors.New("the key is not a private key in PEM that can be read")
		}
		conf.Auth = []ssh.AuthMethod{ssh.PublicKeys(signer)}
	case t.Password != "":
		conf.Auth = []ssh.AuthMethod{ssh.Password(t.Password)}
	}
	ctx, cancel := context.WithTimeout(ctx, sshDialTime)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", t.hostPort())
	if err != nil {
		return nil, fmt.Errorf("reach %s: %w", t.hostPort(), err)
	}
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	conn, chans, reqs, err := ssh.NewClientConn(raw, t.hostPort(), conf)
	stop()
	if err != nil {
		raw.Close()
		if shown != nil {
			return nil, shown
		}
		if strings.Contains(err.Error(), "unable to authenticate") {
			return nil, fmt.Errorf("%s does not let %s in with this key or password", t.Address, t.User)
		}
		return nil, fmt.Errorf("speak SSH with %s: %w", t.hostPort(), err)
	}
	return &machine{ssh.NewClient(conn, chans, reqs)}, nil
}

// HostKey returns the fingerprint that a machine shows, for a person to confirm.
func HostKey(ctx context.Context, t SSHTarget) (fingerprint, kind string, err error) {
	t.HostKey, t.Password, t.Key = "", "", nil
	m, err := dialSSH(ctx, t)
	var shown *HostKeyError
	switch {
	case errors.As(err, &shown):
		return shown.Fingerprint, shown.Type, nil
	case err == nil:
		m.client.Close()
		err = errors.New("it showed no host key")
	}
	return "", "", err
}

// run runs one command and returns its output; on failure the error ends with
// what it wrote.
func (m *machine) run(ctx context.Context, command string, in io.Reader, limit time.Duration) (string, error) {
	s, err := m.client.NewSession()
	if err != nil {
		return "", fmt.Errorf("open a session: %w", err)
	}
	defer s.Close()
	out, errs := &bounded{}, &bounded{}
	s.Stdin, s.Stdout, s.Stderr = in, out, errs
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err := s.Run(command); err != nil {
		if ctx.Err() != nil {
			return "", fmt.Errorf("it did not end within %s", limit)
		}
		text := strings.TrimSpace(errs.String() + out.String())
		if len(text) > 500 {
			text = text[len(text)-500:]
		}
		return "", fmt.Errorf("%w: %s", err, text)
	}
	return out.String(), nil
}

// bounded keeps the beginning of what is written.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if left := maxSSHOutput - b.Len(); left > 0 {
		b.Buffer.Write(p[:min(len(p), left)])
	}
	return len(p), nil
}

type about struct {
	root, systemd bool
	home          string
}

// machineNames are what uname calls the architectures Go builds for.
var machineNames = map[string]string{"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386", "ppc64le": "ppc64le", "s390x": "s390x", "riscv64": "riscv64"}

func (m *machine) look(ctx context.Context) (about, error) {
	out, err := m.run(ctx, `uname -s; uname -m; id -u; if [ -d /run/systemd/system ]; then echo yes; else echo no; fi; echo "$HOME"`, nil, sshCommandTime)
	if err != nil {
		return about{}, fmt.Errorf("look at the machine: %w", err)
	}
	l := strings.Split(strings.TrimSpace(out), "\n")
	if len(l) != 5 {
		return about{}, errors.New("the machine's shell prints more than was asked for at login; let its start files be silent")
	}
	if l[0] != "Linux" {
		return about{}, fmt.Errorf("the machine runs %s; agents run on Linux", l[0])
	}
	if arch := machineNames[l[1]]; arch != runtime.GOARCH {
		return about{}, fmt.Errorf("the machine is %s and this program was built for %s; install the agent built for it by hand", l[1], runtime.GOARCH)
	}
	return about{root: l[2] == "0", systemd: l[3] == "yes", home: l[4]}, nil
}

// upload writes the program beside its place, compares what arrived, and moves
// it there: a running one goes on with the old file.
func (m *machine) upload(ctx context.Context, binary, dir string) error {
	f, err := os.Open(binary)
	if err != nil {
		return fmt.Errorf("read the program: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := m.run(ctx, fmt.Sprintf("umask 022 && mkdir -p %[1]s && cat >%[1]s/.baton.new", dir), io.TeeReader(f, h), uploadTime); err != nil {
		return fmt.Errorf("upload the program: %w", err)
	}
	sum := hex.EncodeToString(h.Sum(nil))
	if _, err := m.run(ctx, fmt.Sprintf("cd %s && echo '%s  .baton.new' | sha256sum -c --status - && chmod 755 .baton.new && mv .baton.new baton", dir, sum), nil, sshCommandTime); err != nil {
		return fmt.Errorf("check what was uploaded: %w", err)
	}
	return nil
}

// quote makes one word of a shell command.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// Shell reaches machines over SSH and installs this very program there.
type Shell struct{}

// HostKey returns the fingerprint and kind of the key a machine shows.
func (Shell) HostKey(ctx context.Context, t SSHTarget) (fingerprint, kind string, err error) {
	return HostKey(ctx, t)
}

// Install puts this program on the machine as its agent and starts it.
func (Shell) Install(ctx context.Context, t SSHTarget, in SSHInstall, tell Progress) error {
	if in.Binary == "" {
		path, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find the program's own file: %w", err)
		}
		in.Binary = path
	}
	return InstallOverSSH(ctx, t, in, tell)
}
