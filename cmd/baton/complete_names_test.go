package main

import (
	"bytes"
	"maps"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"baton/control/api"
)

// Goal: every word of a use line that names something of a control plane is proposed, and values of flags that take one of a few.
func TestCompletionOfNames(t *testing.T) {
	all := maps.Clone(answers)
	maps.Copy(all, map[string]any{
		"GET /clusters/cache/backups":        api.ClusterBackups{Backups: []api.Backup{{ID: "b-1", State: "done"}}},
		"GET /terminal/sessions":             api.TerminalSessions{Sessions: []api.TerminalSession{{ID: "tm-1", Who: "ann", Node: "a"}}},
		"GET /clusters/events/streams":       api.StreamList{Streams: []api.StreamRow{{Name: "order-7", Type: "placed"}}},
		"GET /clusters/events/subscriptions": api.SubscriptionList{Subscriptions: []api.Subscription{{Stream: "order-7", Group: "billing", State: "live"}}},
		"GET /clusters/events/projections":   api.ProjectionList{Projections: []api.Projection{{Name: "totals", State: "running"}}},
		"GET /clusters/events/store-users":   api.StoreUserList{Users: []api.StoreUser{{Login: "ada", FullName: "Ada"}}},
		"GET /clusters/cache/users":          api.DatabaseUserList{Users: []api.DatabaseUser{{Name: "bill", ACL: "read"}}},
		"GET /hosts":                         api.HostList{Hosts: []api.Host{{ID: "agent-1", Name: "rack-a"}}},
		"GET /provider-accounts":             api.ProviderAccountList{Accounts: []api.ProviderAccount{{Name: "main", Kind: "hetzner"}}},
		"GET /machines":                      api.MachineList{Machines: []api.MachineView{{ID: "machine-1", Name: "db-1", State: "ready"}}},
		"GET /backup-targets":                api.BackupTargets{Targets: []api.BackupTarget{{Name: "nightly", Location: "s3"}}},
	})
	url, _ := fakeServer(t, all)
	t.Setenv("BATON_SERVER", url)
	t.Setenv("BATON_TOKEN", "secret")
	complete := func(args ...string) string {
		t.Helper()
		root := rootCommand()
		var out bytes.Buffer
		root.SetOut(&out)
		root.SetErr(&bytes.Buffer{})
		root.SetArgs(append([]string{"__complete"}, args...))
		if err := root.Execute(); err != nil {
			t.Errorf("%q: %v", args, err)
		}
		return out.String()
	}
	for line, want := range map[string]string{
		"verify cache":                        "b-1\t",
		"delete-backup cache":                 "b-1\t",
		"restore cache":                       "b-1\t",
		"terminal replay":                     "tm-1\tann on a",
		"streams read events":                 "order-7\tplaced",
		"subscriptions replay events order-7": "billing\tof order-7, live",
		"projections enable events":           "totals\trunning",
		"store-users reset events":            "ada\tAda",
		"store-users add events":              ":4\n",
		"db-users rotate cache":               "bill\tread",
		"db-users add cache":                  ":4\n",
		"hosts remove":                        "agent-1\track-a",
		"adopt new 10.0.0.5:6379":             "agent-1\track-a",
		"hosts provider options":              "main\thetzner",
		"hosts machines delete":               "machine-1\tdb-1, ready",
		"targets remove":                      "nightly\ts3",
		"users role":                          "ann\tadmin",
		"store elections":                     ":4\n",
		"store elections --output":            "text\njson\n:4\n",
		"clusters --output":                   "table\njson\n:4\n",
		"users add nina --role":               "viewer\nauditor\n",
		"settings cache --mode":               "strict\nfailsafe\nauto\n",
		"projections create events x --mode":  "continuous\ntransient\n",
		"notifications --mail-encryption":     "starttls\n",
		"projections create events x":         ":0\n",
		"store verify":                        ":0\n",
	} {
		if out := complete(append(strings.Fields(line), "")...); !strings.Contains(out, want) {
			t.Errorf("%q proposes %q, want %q", line, out, want)
		}
	}
}

// plainWords of use lines need no proposals: names to be given, numbers, addresses, texts, and what the shell proposes.
var plainWords = map[string]bool{
	"NAME": true, "NAME@AGENT[:PORT": true, "NAME@AGENT[:PORT]": true, "HOST:PORT": true, "ADDRESS": true, "MINUTES": true, "NAME=VALUE": true,
	"TYPE": true, "JSON": true, "FILE": true, "options": true,
}

// Goal: a new command whose use line names something is completed, or says here why not. Method: every command's words.
func TestEveryWordOfAUseLineIsCompletedOrPlain(t *testing.T) {
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
		if cmd.Flags().Lookup("server") == nil {
			return
		}
		_, path, _ := strings.Cut(cmd.CommandPath(), " ")
		for _, w := range strings.Fields(cmd.Use)[1:] {
			if strings.HasPrefix(w, "-") {
				break
			}
			w = strings.Trim(w, "[].")
			_, known := namesUnder[path+" "+w]
			if finderOf(cmd, w) == nil && !known && !plainWords[w] {
				t.Errorf("%s: nothing proposes %s", cmd.CommandPath(), w)
			}
		}
	}
	walk(rootCommand())
}
