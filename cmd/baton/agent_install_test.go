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
