package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheUnitLeavesDatabasesRunning: the unit stops the agent alone, may gain
// no privileges, and quotes what was given.
func TestTheUnitLeavesDatabasesRunning(t *testing.T) {
	dir := t.TempDir()
	cmd := agentInstallCommand()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetArgs([]string{"--unit-dir", dir, "--data", "/srv/the agent", "--location", `rack "7" 100% $HOME`, "--binary", "/opt/baton/baton"})
	if err := cmd.Execute(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, unitName))
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for _, want := range []string{"\nKillMode=process\n", "\nNoNewPrivileges=yes\n", "\nRestart=always\n",
		`ExecStart=/opt/baton/baton agent --data "/srv/the agent" --location "rack \"7\" 100%% $$HOME"`} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	if _, err := (agentUnit{data: "a\nExecStart=/bin/sh", binary: "/b"}).text(); err == nil {
		t.Error("a line break reaches the unit")
	}
	if _, err := (agentUnit{data: "/a", binary: "/b", user: "no-such-user-here"}).text(); err == nil {
		t.Error("an unknown user is taken")
	}
}

// TestJoiningReadsTheTokenFromStandardInput, and only from there.
func TestJoiningReadsTheTokenFromStandardInput(t *testing.T) {
	for _, in := range []string{"", "not a token\n"} {
		cmd := agentJoinCommand()
		cmd.SetIn(strings.NewReader(in))
		cmd.SetArgs([]string{"--data", filepath.Join(t.TempDir(), "agent")})
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		if err := cmd.Execute(); err == nil || !strings.Contains(err.Error(), "token") {
			t.Errorf("%q: %v", in, err)
		}
	}
}

// TestInstallingMayStartTheAgent: with --start systemd is told to, in order, and
// what it answers is told on.
func TestInstallingMayStartTheAgent(t *testing.T) {
	dir := t.TempDir()
	systemctl := filepath.Join(dir, "systemctl")
	script := "#!/bin/sh\necho \"$@\" >>" + dir + "/calls\n[ ! -e " + dir + "/broken ] || { echo no bus; exit 1; }\n"
	if err := os.WriteFile(systemctl, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	install := func() (string, error) {
		cmd := agentInstallCommand()
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetErr(&out)
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		cmd.SetArgs([]string{"--unit-dir", dir, "--data", "/srv/agent", "--binary", "/opt/baton", "--name", "db-7", "--engine-dir", "/opt/redis/bin", "--supervisor", "systemd", "--systemctl", systemctl, "--start"})
		err := cmd.Execute()
		return out.String(), err
	}
	out, err := install()
	if err != nil || !strings.Contains(out, "started") {
		t.Fatalf("%s, %v", out, err)
	}
	calls, _ := os.ReadFile(filepath.Join(dir, "calls"))
	if string(calls) != "daemon-reload\nenable baton-agent.service\nrestart baton-agent.service\n" {
		t.Errorf("systemd was told %q", calls)
	}
	unit, _ := os.ReadFile(filepath.Join(dir, unitName))
	for _, want := range []string{"/opt/baton agent --data /srv/agent --name db-7 --engine-dir /opt/redis/bin --supervisor systemd\n", "CAP_NET_ADMIN"} {
		if !strings.Contains(string(unit), want) {
			t.Errorf("%q is missing in\n%s", want, unit)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "broken"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := install(); err == nil || !strings.Contains(err.Error(), "no bus") {
		t.Errorf("what systemd answers is lost: %v", err)
	}
}
