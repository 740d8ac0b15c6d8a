package inventory

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"baton/control/audit"
	"baton/control/journal"
)

// TestPolicyRefusals: each value that could not be kept is refused with the
// name of its field; the default and full ones pass.
func TestPolicyRefusals(t *testing.T) {
	full := DefaultPolicy()
	full.Durability, full.SyncReplicas, full.Failover = DurabilitySync, 2, FailoverNoLoss
	full.AllowCIDRs, full.BackupSchedule, full.DrillSchedule, full.BackupTarget = []string{"10.0.0.0/8", "fd00::/8"}, "0 3 * * 1-5,7", "@every 168h", "nightly"
	for _, p := range []Policy{DefaultPolicy(), full} {
		if err := p.Check(2); err != nil {
			t.Errorf("%+v: %v", p, err)
		}
	}
	for field, changes := range map[string][]func(*Policy){
		"durability":        {func(p *Policy) { p.Durability = "" }, func(p *Policy) { p.Durability = "sуnc" /* Cyrillic */ }},
		"syncReplicas":      {func(p *Policy) { p.SyncReplicas = 0 }, func(p *Policy) { p.SyncReplicas = 3 }, func(p *Policy) { p.SyncReplicas = 9 }, func(p *Policy) { p.Durability = DurabilityAsync }},
		"failover":          {func(p *Policy) { p.Failover = "on" }, func(p *Policy) { p.Durability, p.SyncReplicas = DurabilityAsync, 0 }},
		"mode":              {func(p *Policy) { p.Mode = "loose" }},
		"maxLossBytes":      {func(p *Policy) { p.MaxLossBytes = -1 }},
		"maxLossAgeSeconds": {func(p *Policy) { p.MaxLossAgeSeconds = 3601 }},
		"leaseTtlMs":        {func(p *Policy) { p.LeaseTTLMs = 2999 }, func(p *Policy) { p.LeaseTTLMs = 60001 }, func(p *Policy) { p.LeaseTTLMs = 4000 }},
		"coolDownSeconds":   {func(p *Policy) { p.CoolDownSeconds = -1 }},
		"allowCidrs":        {func(p *Policy) { p.AllowCIDRs = []string{"10.0.0.1"} }, func(p *Policy) { p.AllowCIDRs = []string{"10.0.0.1/8"} }, func(p *Policy) { p.AllowCIDRs = make([]string, 65) }},
		"backupSchedule": {func(p *Policy) { p.BackupSchedule = "daily" }, func(p *Policy) { p.BackupSchedule = "@every 1s" }, func(p *Policy) { p.BackupSchedule = "60 * * * *" },
			func(p *Policy) { p.BackupSchedule = "* * *" }, func(p *Policy) { p.BackupSchedule = "5-1 * * * *" }, func(p *Policy) { p.BackupSchedule = "*/0 * * * *" }, func(p *Policy) { p.BackupSchedule = "$() * * * *" }},
		"drillSchedule": {func(p *Policy) { p.DrillSchedule = "x" }},
		"backupKeep":    {func(p *Policy) { p.BackupKeep = 10001 }},
		"backupTarget":  {func(p *Policy) { p.BackupTarget = "../etc" }},
	} {
		for i, change := range changes {
			p := full
			change(&p)
			var refused *SettingError
			if err := p.Check(2); !errors.As(err, &refused) || refused.Field != field {
				t.Errorf("%s %d: %v", field, i, err)
			}
		}
	}
}

// TestTagsLapse: what has ended falls back, and only that.
func TestTagsLapse(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	soon, later := now.Add(time.Minute), now.Add(time.Hour)
	tags := Tags{Priority: 7, Never: true, Maintenance: &soon, Expires: &later}
	if err := tags.Check(now); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		at   time.Time
		what string
		want Tags
	}{
		{now, "", tags},
		{soon, "maintenance", Tags{Priority: 7, Never: true, Expires: &later}},
		{later, "maintenance and tags", DefaultTags()},
	} {
		if got, what := tags.Lapsed(c.at); what != c.what || got != c.want {
			t.Errorf("%s: %q %+v", c.at, what, got)
		}
	}
	for _, bad := range []Tags{{Priority: -1}, {Priority: 1001}, {Expires: &now}, {Maintenance: ptr(now.AddDate(2, 0, 0))}} {
		if bad.Check(now) == nil {
			t.Errorf("%+v passes", bad)
		}
	}
}

func ptr[T any](v T) *T { return &v }

// TestSettings: settings are recorded, audited with before and after, survive
// a registration and a restart, and are refused to the second of two people.
func TestSettings(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	j := journal.NewMemory(time.Now)
	follow := func() *Inventory {
		v := New(j, slog.New(slog.DiscardHandler))
		go func() { _ = v.Run(ctx) }()
		<-v.Ready()
		return v
	}
	v := follow()
	spec := Spec{ID: "c", Name: "c", Engine: "redis", Primary: "a", Members: []Member{{Name: "a", Priority: 50}, {Name: "b", Priority: 100}}}
	if err := v.Register(ctx, spec); err != nil {
		t.Fatal(err)
	}
	who := audit.Who{Name: "ann", Role: "admin"}
	c, _ := v.Cluster("c")
	if c.Policy.Failover != FailoverOff || c.Policy.LeaseTTLMs != 5000 || c.Members[0].Tags.Priority != 50 {
		t.Errorf("defaults %+v", c.Spec)
	}
	p := c.Policy
	p.Durability, p.SyncReplicas, p.Failover = DurabilitySync, 1, FailoverNoLoss
	for name, err := range map[string]error{
		"policy":  v.PutPolicyAt(ctx, "c", p, who, c.SettingsRevision),
		"again":   v.PutPolicy(ctx, "c", p, who),
		"tags":    v.PutTags(ctx, "c", "b", Tags{Priority: 200, NoFailover: true}, who),
		"secrets": v.PutSettings(ctx, "c", Settings{Secrets: map[string]string{"login": "sealed"}, Users: map[string]*EngineUser{"app": {Name: "app", Hash: "h"}}, Parameters: map[string]*string{"maxclients": ptr("9")}}, who, "made user app", -1),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	spec.Members = append(spec.Members, Member{Name: "d", Priority: 100})
	if err := v.Register(ctx, spec); err != nil {
		t.Fatal(err)
	}
	for i, v := range []*Inventory{v, follow()} {
		c, _ = v.Cluster("c")
		b, _ := c.Member("b")
		if c.Policy.Failover != FailoverNoLoss || !b.Tags.NoFailover || b.Priority != 200 || !b.Tagged || len(c.Members) != 3 || c.Secrets["login"] != "sealed" ||
			len(c.Users) != 1 || c.Parameters["maxclients"] != "9" {
			t.Errorf("life %d: %+v", i, c)
		}
		var records []audit.Record
		for limit := time.Now().Add(time.Minute); len(records) < 3 && time.Now().Before(limit); { // the inventory follows
			v.mu.Lock()
			moved := v.moved
			v.mu.Unlock()
			if records, _ = v.Audit("c", 0, 10); len(records) < 3 {
				select {
				case <-moved:
				case <-time.After(time.Second):
				}
			}
		}
		if len(records) != 3 {
			t.Errorf("life %d: %d audit records", i, len(records))
		}
		text := ""
		for _, r := range records {
			text += r.What + "\n"
		}
		for _, want := range []string{"failover off -> no-loss", "tagged b: priority 200, nofailover (before: priority 100)", "made user app"} {
			if !strings.Contains(text, want) {
				t.Errorf("life %d: %q is not in the audit:\n%s", i, want, text)
			}
		}
		if strings.Contains(text, "sealed") {
			t.Errorf("the audit tells a secret: %s", text)
		}
	}
	var refused *SettingError
	for name, ok := range map[string]bool{
		"another saw it first": errors.Is(v.PutPolicyAt(ctx, "c", DefaultPolicy(), who, 0), ErrMoved),
		"no cluster":           errors.Is(v.PutPolicy(ctx, "d", p, who), ErrNoCluster),
		"no node":              errors.Is(v.PutTags(ctx, "c", "x", DefaultTags(), who), ErrNoMember),
		"bad tags":             errors.As(v.PutTags(ctx, "c", "b", Tags{Priority: 5000}, who), &refused),
		"bad policy":           errors.As(v.PutPolicy(ctx, "c", Policy{}, who), &refused),
	} {
		if !ok {
			t.Errorf("%s is not refused", name)
		}
	}
}

// TestMadeAgain: a cluster removed and made again counts its generations on.
func TestMadeAgain(t *testing.T) {
	v := &Inventory{clusters: map[string]*Cluster{"c": {Spec: Spec{ID: "c"}, Generation: 4}}, generations: map[string]uint64{}}
	n := &Notice{}
	if err := v.take(journal.Recorded{Stream: Stream("c"), Event: RemovedEvent()}, n); err != nil {
		t.Fatal(err)
	}
	ev, err := Spec{ID: "c", Primary: "a"}.Event()
	if err == nil {
		err = v.take(journal.Recorded{Stream: Stream("c"), Event: ev}, n)
	}
	if c := v.clusters["c"]; err != nil || c.Generation != 4 || c.ShouldBe != "a" {
		t.Errorf("%v %+v", err, c)
	}
}
