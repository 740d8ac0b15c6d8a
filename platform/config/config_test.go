package config

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// load is LoadNode with --insecure implied, so that cases need not name certificates.
func load(args, environ []string, yaml string) (*Settings, error) {
	if yaml != "" {
		args = append([]string{"--config=node.yaml"}, args...)
	}
	return LoadNode(append(args, "--insecure"), environ, func(name string) ([]byte, error) {
		if name != "node.yaml" || yaml == "" {
			return nil, fs.ErrNotExist
		}
		return []byte(yaml), nil
	})
}

func TestPrecedence(t *testing.T) {
	cases := []struct {
		name           string
		args, env      []string
		yaml           string
		want, source   string
		wantNotice     string
		wantNoticeless bool
	}{
		{name: "default", want: "0", source: "default"},
		{name: "yaml over default", yaml: "NodePriority: 3\n", want: "3", source: "file node.yaml"},
		{name: "kebab key in yaml", yaml: "node-priority: 3\n", want: "3", source: "file node.yaml"},
		{name: "environment over yaml", yaml: "NodePriority: 3\n", env: []string{"EVENTSTORE_NODE_PRIORITY=4"}, want: "4", source: "environment EVENTSTORE_NODE_PRIORITY"},
		{name: "kurrentdb over eventstore", env: []string{"KURRENTDB_NODE_PRIORITY=5", "EVENTSTORE_NODE_PRIORITY=4"}, want: "5", source: "environment KURRENTDB_NODE_PRIORITY"},
		{name: "baton over kurrentdb", env: []string{"BATON_NODE_PRIORITY=6", "KURRENTDB_NODE_PRIORITY=5"}, want: "6", source: "environment BATON_NODE_PRIORITY"},
		{name: "command line over all", yaml: "NodePriority: 3\n", env: []string{"BATON_NODE_PRIORITY=6"}, args: []string{"--node-priority=7"}, want: "7", source: "command line"},
		{name: "separate value, negative", args: []string{"--node-priority", "-7"}, want: "-7", source: "command line"},
		{name: "pascal case on the command line", args: []string{"--NodePriority=7"}, want: "7", source: "command line"},
		{name: "misspelt variable", env: []string{"EVENTSTORE_NODE_PRORITY=9"}, want: "9", source: "environment EVENTSTORE_NODE_PRORITY",
			wantNotice: "EVENTSTORE_NODE_PRORITY is accepted as another spelling of node-priority"},
		{name: "right spelling beats misspelt, either order", env: []string{"EVENTSTORE_NODE_PRIORITY=8", "EVENTSTORE_NODE_PRORITY=9"}, want: "8", source: "environment EVENTSTORE_NODE_PRIORITY"},
		{name: "others' variables are left alone", env: []string{"BATON_TOKEN=x", "BATON_TEST_LOG=1", "EVENTSTORE_SERVICE_HOST=10.0.0.1", "EVENTSTORE_PORT_2113_TCP_ADDR=x", "PATH=/bin"}, want: "0", source: "default", wantNoticeless: true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s, err := load(c.args, c.env, c.yaml)
			if err != nil {
				t.Fatal(err)
			}
			got := s.Get("node-priority")
			if got.Text != c.want || got.Source != c.source {
				t.Errorf("node-priority = %s (%s), want %s (%s)", got.Text, got.Source, c.want, c.source)
			}
			if c.wantNotice != "" && !strings.Contains(strings.Join(s.Notices, "\n"), c.wantNotice) {
				t.Errorf("notices %q lack %q", s.Notices, c.wantNotice)
			}
			if c.wantNoticeless && len(s.Notices) > 0 {
				t.Errorf("unexpected notices %q", s.Notices)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	cases := []struct {
		name      string
		args, env []string
		yaml      string
		want      string
	}{
		{name: "unknown with suggestion", args: []string{"--node-prioriti=1"}, want: "did you mean node-priority?"},
		{name: "unknown variable", env: []string{"EVENTSTORE_CLUSTR_SIZE=3"}, want: "did you mean cluster-size?"},
		{name: "unknown in file", yaml: "Bananas: 3\n", want: "unknown option Bananas in line 1 (file node.yaml): see --help"},
		{name: "not a number", args: []string{"--node-port=abc"}, want: `"abc" is not a whole number`},
		{name: "out of range", args: []string{"--node-port=70000"}, want: "from 0 to 65535"},
		{name: "not a boolean", args: []string{"--mem-db=perhaps"}, want: "neither true nor false"},
		{name: "positional", args: []string{"hello"}, want: "unexpected argument"},
		{name: "seed without port", args: []string{"--gossip-seed=a,b:1"}, want: `seed "a" is not host:port`},
		{name: "seed with bad port", args: []string{"--gossip-seed=a:b"}, want: "is not a number from 1"},
		{name: "even size", args: []string{"--cluster-size=4"}, want: "is even"},
		{name: "password on the command line", args: []string{"--default-admin-password=x"}, want: "BATON_DEFAULT_ADMIN_PASSWORD"},
		{name: "broken yaml", yaml: "a: [", want: "is not valid YAML"},
		{name: "list for one value", yaml: "NodePort: [1, 2]\n", want: "takes one value, not a list"},
		{name: "same ports", args: []string{"--node-port=5000", "--replication-port=5000"}, want: "two different ports"},
		{name: "certificate and insecure", args: []string{"--certificate-file=x"}, want: "exclude each other"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := load(c.args, c.env, c.yaml)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want one with %q", err, c.want)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
		})
	}
	t.Run("unreadable file", func(t *testing.T) {
		_, err := LoadNode([]string{"--config=/nowhere"}, nil, func(string) ([]byte, error) { return nil, fs.ErrNotExist })
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "/nowhere") {
			t.Fatalf("error %v", err)
		}
	})
	t.Run("key without certificate", func(t *testing.T) {
		_, err := LoadNode([]string{"--certificate-private-key-file=x"}, nil, nil)
		if err == nil || !strings.Contains(err.Error(), "belong together") {
			t.Fatalf("error %v", err)
		}
	})
	t.Run("last argument without value", func(t *testing.T) {
		_, err := LoadNode([]string{"--insecure", "--db"}, nil, nil)
		if err == nil || !strings.Contains(err.Error(), "--db needs a value") {
			t.Fatalf("error %v", err)
		}
	})
}

func TestUnknownOptionsAllowed(t *testing.T) {
	s, err := load([]string{"--allow-unknown-options", "--bananas", "3", "--node-priority=2"}, []string{"EVENTSTORE_FRUIT=1"}, "Color: blue\n")
	if err != nil {
		t.Fatal(err)
	}
	if s.Int("node-priority") != 2 || len(s.Notices) != 3 {
		t.Errorf("node-priority %d, notices %q", s.Int("node-priority"), s.Notices)
	}
}

func TestWithoutEffectIsNoticed(t *testing.T) {
	s, err := load([]string{"--gossip-interval-ms=100"}, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Notices) != 1 || !strings.Contains(s.Notices[0], "has no effect") {
		t.Errorf("notices %q", s.Notices)
	}
}

func TestSecretsAreMasked(t *testing.T) {
	s, err := load(nil, []string{"BATON_DEFAULT_ADMIN_PASSWORD=hunter2"}, "")
	if err != nil {
		t.Fatal(err)
	}
	if s.String("default-admin-password") != "hunter2" {
		t.Error("password not read")
	}
	if text := s.WhatIf(); strings.Contains(text, "hunter2") || !strings.Contains(text, "********") {
		t.Errorf("what-if shows a secret:\n%s", text)
	}
}

// Every option has the three forms: each gives the same value from each source, alone.
func TestEveryOptionInThreeForms(t *testing.T) {
	for _, o := range NodeOptions {
		if o.EnvOnly || o.Name == "config" || o.Name == "certificate-password" {
			continue
		}
		value := map[Kind]string{Text: "sample", Integer: "3", Boolean: "true", List: "a:1,b:2"}[o.Kind]
		if o.Check != nil && o.Check(value) != nil {
			value = o.Default
		}
		one := []Option{o, {Name: "file"}}
		read := func(string) ([]byte, error) { return []byte(fmt.Sprintf("%s: %q\n", YAMLName(o.Name), value)), nil }
		for form, in := range map[string]Input{
			"command line": {Args: []string{"--" + o.Name + "=" + value}},
			"environment":  {Environ: []string{EnvironmentName("KURRENTDB_", o.Name) + "=" + value}, Prefixes: NodePrefixes},
			"file":         {Args: []string{"--file=x"}, ReadFile: read, ConfigName: "file"},
		} {
			s, err := Load(one, in)
			if err != nil {
				t.Errorf("%s from %s: %v", o.Name, form, err)
				continue
			}
			if got := s.String(o.Name); got != value {
				t.Errorf("%s from %s = %q, want %q", o.Name, form, got, value)
			}
		}
	}
}

// Property: whatever subset of sources names an option, the highest in precedence wins, and the source reported is that one.
func TestHighestSourceWins(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var args, env []string
		yaml, want, source := "", "0", "default"
		if rapid.Bool().Draw(t, "yaml") {
			want, source = fmt.Sprint(rapid.IntRange(-9, 9).Draw(t, "y")), "file node.yaml"
			yaml = "NodePriority: " + want + "\n"
		}
		for _, prefix := range NodePrefixes {
			if rapid.Bool().Draw(t, prefix) {
				want = fmt.Sprint(rapid.IntRange(-9, 9).Draw(t, "e"))
				env = append(env, prefix+"NODE_PRIORITY="+want)
				source = "environment " + prefix + "NODE_PRIORITY"
			}
		}
		env = rapid.Permutation(env).Draw(t, "order")
		if rapid.Bool().Draw(t, "flag") {
			want, source = fmt.Sprint(rapid.IntRange(-9, 9).Draw(t, "c")), "command line"
			args = append(args, "--node-priority", want)
		}
		s, err := load(args, env, yaml)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Get("node-priority"); got.Text != want || got.Source != source {
			t.Fatalf("got %s (%s), want %s (%s)", got.Text, got.Source, want, source)
		}
	})
}

func FuzzLoad(f *testing.F) {
	f.Add("--db=x --node-priority 3", "NodePriority: 2\n", "EVENTSTORE_NODE_PRORITY=1")
	f.Fuzz(func(t *testing.T, args, yaml, env string) {
		s, err := Load(NodeOptions, Input{
			Args: strings.Fields(args), Environ: []string{env}, Prefixes: NodePrefixes, ConfigName: "config",
			UnknownName: "allow-unknown-options", ReadFile: func(string) ([]byte, error) { return []byte(yaml), nil },
		})
		if (s == nil) == (err == nil) {
			t.Fatal("exactly one of settings and error is wanted")
		}
	})
}
