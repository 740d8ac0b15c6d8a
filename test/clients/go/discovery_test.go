package clients

import (
	"testing"

	"github.com/kurrent-io/KurrentDB-Client-Go/kurrentdb"
)

func TestDiscoveryByGossip(t *testing.T) {
	for _, preference := range []string{"leader", "follower", "readOnlyReplica", "random"} {
		t.Run(preference, func(t *testing.T) {
			c := connect(t, five.ConnectionString("nodePreference="+preference))
			name := newStream(t)
			if _, err := c.AppendToStream(testContext(t), name, kurrentdb.AppendToStreamOptions{StreamState: kurrentdb.Any{}}, newEvents(1, "x")...); err != nil {
				t.Fatal(err)
			}
		})
	}
	t.Run("one seed of another role finds the leader", func(t *testing.T) {
		clone := nodeOf(t, "Clone")
		c := connect(t, "esdb+discover://"+clone.Address()+"?tls=false&nodePreference=leader")
		if _, err := c.AppendToStream(testContext(t), newStream(t), kurrentdb.AppendToStreamOptions{StreamState: kurrentdb.Any{}}, newEvents(1, "x")...); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("gossip tells every member", func(t *testing.T) {
		c := connect(t, nodeOf(t, "Follower").DirectString(""))
		members, err := c.Gossip(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		states := map[string]int{}
		for _, m := range members {
			if m.GetIsAlive() {
				states[m.GetState().String()]++
			}
		}
		if states["Leader"] != 1 || states["Follower"] != 2 || states["ReadOnlyReplica"] != 2 {
			t.Fatalf("states %v, want 1 Leader, 2 Follower, 2 ReadOnlyReplica (clones as clients see them)", states)
		}
	})
}

func TestEveryRoleTellsItsVersion(t *testing.T) {
	onEachRole(t, func(t *testing.T, c *kurrentdb.Client) {
		v, err := c.GetServerVersion()
		if err != nil {
			t.Fatal(err)
		}
		if v.Major == 0 {
			t.Fatalf("version %+v", v)
		}
	})
}
