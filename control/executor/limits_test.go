package executor

import (
	"slices"
	"testing"

	"baton/control/agent"
	"baton/control/engine"
	"baton/control/inventory"
	"baton/control/proxy"
)

func limitReports() map[string]agent.Report {
	host := func(address string) engine.HostFacts {
		return engine.HostFacts{Addresses: []string{address, "fe80::1%eth0", "no address"}}
	}
	in := func(cluster, address string) agent.InstanceReport {
		return agent.InstanceReport{Cluster: cluster, Address: address}
	}
	return map[string]agent.Report{
		"h1": {Host: host("10.0.0.1"), Instances: []agent.InstanceReport{in("shop", "10.0.0.1:6379"), in("other", "10.0.0.1:7000")}},
		"h2": {Host: host("10.0.0.2"), Instances: []agent.InstanceReport{in("shop", "10.0.0.2:6380"), in("shop", "10.0.0.2:6379")}},
		"h3": {Host: host("10.0.0.3"), Endpoints: &agent.EndpointsReport{Serving: []proxy.Status{{Cluster: "shop"}}}},
		"h4": {Host: host("10.0.0.4")},
	}
}

func limitedCluster(networks ...string) inventory.Cluster {
	c := inventory.Cluster{Spec: inventory.Spec{ID: "shop", Members: []inventory.Member{{Name: "a", Address: "10.0.0.1:6379"}, {Name: "b", Address: "10.0.0.2:6379"}, {Name: "c", Address: "10.0.0.5:6379"}}}}
	c.Policy.AllowCIDRs = networks
	return c
}

// TestLimitsLetTheClusterItselfIn: its members, the hosts of their agents, and
// those that forward to it; nobody else, and only on hosts with its servers.
func TestLimitsLetTheClusterItselfIn(t *testing.T) {
	c := limitedCluster("192.168.0.0/16", "172.16.0.0/12")
	got := limitsWanted(&c, limitReports())
	if len(got) != 2 || !slices.Equal(got["h2"].Ports, []int{6379, 6380}) || !slices.Equal(got["h1"].Ports, []int{6379}) {
		t.Fatalf("hosts and ports: %+v", got)
	}
	if l := got["h1"]; !slices.Equal(l.Always, []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.5", "fe80::1"}) || !slices.Equal(l.Allow, []string{"172.16.0.0/12", "192.168.0.0/16"}) || l.Check() != nil {
		t.Errorf("who may connect: %+v", l)
	}
	reordered := limitedCluster("172.16.0.0/12", "192.168.0.0/16")
	if again := limitsWanted(&reordered, limitReports()); again["h1"].Version != got["h1"].Version || got["h1"].Version == got["h2"].Version {
		t.Error("the version does not stand for the content")
	}
	open := limitedCluster()
	if got := limitsWanted(&open, limitReports()); len(got) != 0 {
		t.Errorf("without networks: %+v", got)
	}
}

// TestLimitsAreSentUntilTheyAreReported, and taken away with their reason.
func TestLimitsAreSentUntilTheyAreReported(t *testing.T) {
	c := limitedCluster("192.168.0.0/16")
	reports := limitReports()
	want := limitsWanted(&c, reports)
	report := func(id, cluster, version, state string) {
		r := reports[id]
		r.Limits = []agent.LimitState{{Cluster: cluster, Version: version, State: state}}
		reports[id] = r
	}
	due := func(retry bool) map[string][]agent.Limits { return limitsDue([]inventory.Cluster{c}, reports, retry) }
	if got := due(false); len(got["h1"]) != 1 || len(got["h2"]) != 1 || len(got["h3"]) != 0 {
		t.Errorf("at first: %+v", got)
	}
	report("h1", "shop", want["h1"].Version, agent.LimitsInForce)
	report("h2", "shop", want["h2"].Version, agent.LimitsBack)
	if got := due(true); len(got["h1"])+len(got["h2"]) != 0 {
		t.Errorf("sent again: %+v", got)
	}
	report("h1", "shop", want["h1"].Version, agent.LimitsNot)
	if len(due(false)["h1"]) != 0 || len(due(true)["h1"]) != 1 {
		t.Error("what is not possible is tried now and then")
	}
	report("h1", "shop", "older", agent.LimitsInForce)
	report("h4", "gone", "1", agent.LimitsInForce)
	got := due(false)
	if len(got["h1"]) != 1 || got["h1"][0].Version != want["h1"].Version {
		t.Errorf("changed: %+v", got["h1"])
	}
	if l := got["h4"]; len(l) != 1 || l[0].Cluster != "gone" || len(l[0].Allow) != 0 {
		t.Errorf("of a cluster that is gone: %+v", l)
	}
}
