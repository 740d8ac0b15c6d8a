package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"baton/control/agent"
	"baton/control/agent/supervise"
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
	var dir, systemctl string
	var show, start bool
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Write a hardened systemd unit for the agent, and start it with --start",
		Long: "Write a hardened systemd unit for the agent. Then: systemctl daemon-reload && systemctl enable --now baton-agent\n" +
			"(--start does that).\n\n" +
			"Stopping the unit leaves databases running; the next start adopts them. Databases get units of their own unless\n" +
			"--supervisor child says otherwise; only the agent starts those, because it knows which of them may be primary.",
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
			if start {
				for _, words := range [][]string{{"daemon-reload"}, {"enable", unitName}, {"restart", unitName}} {
					if out, err := exec.CommandContext(cmd.Context(), systemctl, words...).CombinedOutput(); err != nil {
						return fmt.Errorf("%s is written; systemctl %s: %w: %s", path, words[0], err, strings.TrimSpace(string(out)))
					}
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s is written, enabled and started.\n", path)
				return nil
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
	f.StringVar(&u.name, "name", "", "name of this host, by default its host name")
	f.StringVar(&u.advertise, "advertise", "", "address other machines reach servers made here at")
	f.StringSliceVar(&u.engineDirs, "engine-dir", nil, "directories with the engines' server programs, by default the system's")
	f.StringVar(&u.supervisor, "supervisor", "", "what carries databases: auto, child or systemd")
	f.StringVar(&systemctl, "systemctl", "systemctl", "program that commands systemd")
	f.BoolVar(&start, "start", false, "enable the unit and start it, or start it again")
	f.BoolVar(&show, "print", false, "print the unit and write nothing")
	return cmd
}

// agentUnit is what the unit of an agent says.
type agentUnit struct {
	data, user, location, provider, binary string
	name, advertise, supervisor            string
	engineDirs                             []string
}

// capabilities the agent and the databases it starts may have at most: to
// write and own data of several users, to end processes, to lock memory, to
// run its lease at a higher priority and to limit who may connect to databases.
const capabilities = "CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_KILL CAP_SETUID CAP_SETGID CAP_SYS_NICE CAP_IPC_LOCK CAP_SYS_PTRACE CAP_NET_BIND_SERVICE CAP_NET_ADMIN"

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
	for _, o := range [][2]string{{"--location", u.location}, {"--provider", u.provider}, {"--name", u.name}, {"--advertise", u.advertise},
		{"--engine-dir", strings.Join(u.engineDirs, ",")}, {"--supervisor", u.supervisor}} {
		if o[1] != "" {
			command = append(command, o[0], o[1])
		}
	}
	for i, word := range command {
		if command[i], err = supervise.UnitWord(word); err != nil {
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
