package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"baton/control/agent"
	"baton/platform/identity"
)

// agentJoinCommand joins and ends, with the token from standard input: there
// no other user of the machine can read it.
func agentJoinCommand() *cobra.Command {
	var dir, name string
	cmd := &cobra.Command{
		Use:   "join",
		Short: "Join a control plane with the one-use token on standard input, and end",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if agent.Joined(dir) {
				fmt.Fprintln(cmd.OutOrStdout(), "This agent has joined already; the token is not used.")
				return nil
			}
			line, err := bufio.NewReader(io.LimitReader(cmd.InOrStdin(), 16<<10)).ReadString('\n')
			if err != nil && (!errors.Is(err, io.EOF) || line == "") {
				return errors.New("there is no join token on standard input")
			}
			if err := agent.Join(cmd.Context(), dir, strings.TrimSpace(line), hostName(name)); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), "Joined.")
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&dir, "data", "./baton-agent", "directory of the agent's own state")
	f.StringVar(&name, "name", "", "name of this host, by default its host name")
	return cmd
}

// unitName of the agent.
const unitName = "baton-agent.service"

// agentInstallCommand writes the systemd unit of the agent.
func agentInstallCommand() *cobra.Command {
	var u agentUnit
	var dir string
	var show bool
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Write a hardened systemd unit for the agent",
		Long: "Write a hardened systemd unit for the agent. Then: systemctl daemon-reload && systemctl enable --now baton-agent\n\n" +
			"Stopping the unit leaves databases running; the next start adopts them.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := u.text()
			if err != nil {
				return err
			}
			if show {
				fmt.Fprint(cmd.OutOrStdout(), text)
				return nil
			}
			path := filepath.Join(dir, unitName)
			if err := identity.WriteFile(path, []byte(text), 0o644); err != nil {
				return fmt.Errorf("%w; run it as root, or see the unit with --print", err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is written. Start it: systemctl daemon-reload && systemctl enable --now baton-agent\n", path)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&u.data, "data", "/var/lib/baton-agent", "directory of the agent's own state")
	f.StringVar(&u.user, "user", "", "user to run as, by default root")
	f.StringVar(&u.location, "location", "", "where this host stands, by default what the machine says")
	f.StringVar(&u.provider, "provider", "", "who provides this host, by default what the machine says")
	f.StringVar(&u.binary, "binary", "", "path of this program, by default where it runs from")
	f.StringVar(&dir, "unit-dir", "/etc/systemd/system", "directory of systemd's units")
	f.BoolVar(&show, "print", false, "print the unit and write nothing")
	return cmd
}

// agentUnit is what the unit of an agent says.
type agentUnit struct{ data, user, location, provider, binary string }

// capabilities the agent and the databases it starts may have at most: to
// write and own data of several users, to end processes, to lock memory and to
// run its lease at a higher priority.
const capabilities = "CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_KILL CAP_SETUID CAP_SETGID CAP_SYS_NICE CAP_IPC_LOCK CAP_SYS_PTRACE CAP_NET_BIND_SERVICE"

func (u agentUnit) text() (string, error) {
	if u.binary == "" {
		var err error
		if u.binary, err = os.Executable(); err != nil {
			return "", fmt.Errorf("find the program's own file: %w", err)
		}
	}
	data, err := filepath.Abs(u.data)
	if err != nil {
		return "", err
	}
	command := []string{u.binary, "agent", "--data", data}
	for _, o := range [][2]string{{"--location", u.location}, {"--provider", u.provider}} {
		if o[1] != "" {
			command = append(command, o[0], o[1])
		}
	}
	for i, word := range command {
		if command[i], err = unitWord(word); err != nil {
			return "", err
		}
	}
	who := ""
	if u.user != "" {
		if _, err := user.Lookup(u.user); err != nil {
			return "", fmt.Errorf("user %q: %w", u.user, err)
		}
		who = "User=" + u.user + "\n"
	}
	return `[Unit]
Description=Baton agent: starts, watches and commands the databases of this host
After=network-online.target
Wants=network-online.target

[Service]
ExecStart=` + strings.Join(command, " ") + `
` + who + `Restart=always
RestartSec=1
# The agent alone is stopped: databases go on, and the next agent adopts them.
KillMode=process
OOMScoreAdjust=-900
LimitNOFILE=1048576
LimitMEMLOCK=infinity
UMask=0077
NoNewPrivileges=yes
CapabilityBoundingSet=` + capabilities + `
ProtectSystem=full
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectHostname=yes
RestrictNamespaces=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
LockPersonality=yes
SystemCallArchitectures=native

[Install]
WantedBy=multi-user.target
`, nil
}

// unitWord quotes a word for a unit's command line.
func unitWord(s string) (string, error) {
	if strings.ContainsAny(s, "\n\r\x00") {
		return "", fmt.Errorf("%q cannot stand in a unit", s)
	}
	s = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%", "$", "$$").Replace(s)
	if strings.ContainsAny(s, " \t'\"\\;") || s == "" {
		return `"` + s + `"`, nil
	}
	return s, nil
}
