package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"baton/control/api"
)

// sshPasswordVariable may hold the password of the machine's user: the command
// line can be read by other users of this machine.
const sshPasswordVariable = "BATON_SSH_PASSWORD"

// taskLook is how often an installation is looked at while it is followed.
const taskLook = time.Second

// hostSSHCommand is `hosts ssh`.
func hostSSHCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "ssh ADDRESS", Short: "Install the agent on a machine over SSH (needs the role admin)",
		Long: "Has the control plane sign in to a machine over SSH, copy the program there and start the agent as a service. The\n" +
			"machine's host key is shown first and is to be confirmed: on a terminal by typing yes, elsewhere by --host-key. The\n" +
			"private key is read from --key-file, the password from " + sshPasswordVariable + "; both are used once and kept nowhere.",
		Example: "  baton hosts ssh 10.0.0.7 --user root --key-file ~/.ssh/id_ed25519 --location rack-a",
		Args:    cobra.ExactArgs(1),
	}
	open := clientFlags(cmd)
	var r api.SSHRequest
	f := cmd.Flags()
	f.IntVar(&r.Port, "port", 22, "port of its SSH server")
	f.StringVar(&r.User, "user", "root", "whom to sign in as: root, or who may use sudo without a password")
	keyFile := f.String("key-file", "", "file with the private key, without a passphrase (default: the password in $"+sshPasswordVariable+")")
	f.StringVar(&r.HostKey, "host-key", "", "fingerprint of the machine's host key, as ssh-keygen -lf shows it there: SHA256:...")
	f.StringVar(&r.Name, "name", "", "name of the host (its own)")
	f.StringVar(&r.Location, "location", "", "where it stands, such as rack-a")
	wait := f.Bool("wait", true, "follow it to its end")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := open()
		if err != nil {
			return err
		}
		r.Address = args[0]
		if *keyFile != "" {
			key, err := readSmall(*keyFile)
			if err != nil {
				return fmt.Errorf("read the private key: %w", err)
			}
			r.Key = key + "\n"
		} else if r.Password = os.Getenv(sshPasswordVariable); r.Password == "" {
			return errors.New("no way in: give --key-file, or the password in " + sshPasswordVariable)
		}
		return c.installAgent(cmd, &r, *wait)
	}
	return cmd
}

// installAgent asks for an installation, has the host key confirmed, and asks again.
func (c *client) installAgent(cmd *cobra.Command, r *api.SSHRequest, wait bool) error {
	var task api.HostTaskAccepted
	err := c.call(cmd.Context(), "POST", "/hosts/ssh", r, &task)
	var p *api.Problem
	if errors.As(err, &p) && p.Code == api.CodeHostKey && p.HostKey != "" && r.HostKey == "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s.\nOn the machine this prints its keys: for k in /etc/ssh/ssh_host_*_key.pub; do ssh-keygen -lf $k; done\n", p.Detail)
		if err := confirmHostKey(cmd.InOrStdin(), cmd.ErrOrStderr(), p.HostKey); err != nil {
			return err
		}
		r.HostKey = p.HostKey
		err = c.call(cmd.Context(), "POST", "/hosts/ssh", r, &task)
	}
	if err != nil {
		return failure(err)
	}
	return c.followInstall(cmd.Context(), task.TaskID, wait)
}

// confirmHostKey asks a person whether a key is the machine's. Nobody is asked
// where standard input is no terminal.
func confirmHostKey(in io.Reader, out io.Writer, key string) error {
	if f, ok := in.(*os.File); ok && !term.IsTerminal(int(f.Fd())) {
		return &exitError{exitRefused, fmt.Errorf("the host key is not confirmed; if it is the same, run the command again with --host-key %s", key)}
	}
	fmt.Fprint(out, "Is it the same key? Type yes to go on: ")
	line, _ := bufio.NewReader(in).ReadString('\n') // the end of the input is no yes
	if strings.TrimSpace(line) != "yes" {
		return &exitError{exitRefused, errors.New("the host key was not confirmed; nothing was sent to the machine")}
	}
	return nil
}

// followInstall prints the steps of an installation as they begin, to its end.
func (c *client) followInstall(ctx context.Context, id string, wait bool) error {
	tick := time.NewTicker(taskLook)
	defer tick.Stop()
	for shown := 0; ; {
		var t api.HostTask
		if err := c.call(ctx, "GET", "/hosts/tasks/"+segment(id), nil, &t); err != nil {
			return failure(err)
		}
		for ; shown < len(t.Steps) && !c.json; shown++ {
			fmt.Fprintf(c.out, "%s  %s: %s\n", t.Steps[shown].At.Local().Format("15:04:05"), t.Steps[shown].Step, t.Steps[shown].Detail)
		}
		switch {
		case t.State == "failed":
			return fmt.Errorf("the agent was not installed on %s: %s", t.Address, t.Error)
		case (t.State != "running" || !wait) && c.json:
			return c.writeJSON(t)
		case t.State != "running":
			fmt.Fprintf(c.out, "Installed. %s is among the hosts as soon as its agent connects: baton hosts\n", t.Address)
			return nil
		case !wait:
			fmt.Fprintf(c.out, "The installation on %s goes on.\n", t.Address)
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
