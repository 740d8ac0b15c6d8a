package inventory

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Words of Policy.
const (
	DurabilityAsync = "async" // the primary acknowledges alone
	DurabilitySync  = "sync"  // the primary takes writes only with SyncReplicas in step

	FailoverOff         = "off"
	FailoverNoLoss      = "no-loss"      // only where no acknowledged write can be missing
	FailoverBoundedLoss = "bounded-loss" // where at most MaxLossBytes and MaxLossAgeSeconds may be

	ModeStrict   = "strict"   // a primary that cannot renew its lease stops
	ModeFailsafe = "failsafe" // it goes on while every promotable member promises
	ModeAuto     = "auto"     // failsafe with two or more promotable replicas, else strict
)

// Policy is what people decided about a cluster. The zero value stands for
// DefaultPolicy.
type Policy struct {
	Durability   string `json:"durability"`
	SyncReplicas int    `json:"syncReplicas"` // 1..8 with sync, else 0
	Failover     string `json:"failover"`
	// MaxLossBytes 0..1 TiB and MaxLossAgeSeconds 0..3600 bound what a failover
	// with bounded loss may lose.
	MaxLossBytes      int64  `json:"maxLossBytes"`
	MaxLossAgeSeconds int    `json:"maxLossAgeSeconds"`
	LeaseTTLMs        int    `json:"leaseTtlMs"`      // 3000..60000
	CoolDownSeconds   int    `json:"coolDownSeconds"` // 0..86400 after an automatic failover
	Mode              string `json:"mode"`
	// RestartFirst tries the dead engine once more before a failover.
	RestartFirst bool `json:"restartFirst"`
	// Approval asks a second person before a planned promotion.
	Approval bool `json:"approval"`
	// DeletionProtection refuses to delete the cluster until it is taken away.
	DeletionProtection bool `json:"deletionProtection"`
	// AllowCIDRs are networks clients may come from; empty: any.
	AllowCIDRs     []string `json:"allowCidrs,omitempty"`
	BackupSchedule string   `json:"backupSchedule,omitempty"` // "@every 24h" or five cron fields; "" none
	BackupKeep     int      `json:"backupKeep,omitempty"`     // 0..10000, 0: the default of backups
	BackupTarget   string   `json:"backupTarget,omitempty"`
	DrillSchedule  string   `json:"drillSchedule,omitempty"`
	// MaintenanceUntil suspends what Baton does by itself on the whole cluster;
	// zero: not.
	MaintenanceUntil time.Time `json:"maintenanceUntil,omitzero"`
}

// DefaultPolicy holds for clusters nobody decided about: nothing happens to
// them by itself.
func DefaultPolicy() Policy {
	return Policy{Durability: DurabilityAsync, Failover: FailoverOff, MaxLossBytes: 16 << 20, MaxLossAgeSeconds: 10,
		LeaseTTLMs: 5000, CoolDownSeconds: 600, Mode: ModeAuto}
}

// minReplicasLag and a second must be shorter than a lease, so that a primary
// cut off from its replicas has stopped taking writes when its lease ends.
const minReplicasLag = 3 * time.Second

// SettingError refuses a value.
type SettingError struct{ Field, Why, Fix string }

func (e *SettingError) Error() string { return e.Field + ": " + e.Why + "; " + e.Fix }

// Check refuses a policy that could not be kept. replicas is the number of the
// cluster's members beside the primary.
func (p Policy) Check(replicas int) error {
	word := func(field, v string, of ...string) error {
		if slices.Contains(of, v) {
			return nil
		}
		return &SettingError{field, fmt.Sprintf("%q is not known", v), "give one of " + strings.Join(of, ", ")}
	}
	span := func(field string, v, least, most int64) error {
		if v >= least && v <= most {
			return nil
		}
		return &SettingError{field, fmt.Sprintf("%d is out of range", v), fmt.Sprintf("give %d to %d", least, most)}
	}
	for _, err := range []error{
		word("durability", p.Durability, DurabilityAsync, DurabilitySync),
		word("failover", p.Failover, FailoverOff, FailoverNoLoss, FailoverBoundedLoss),
		word("mode", p.Mode, ModeStrict, ModeFailsafe, ModeAuto),
		span("maxLossBytes", p.MaxLossBytes, 0, 1<<40),
		span("maxLossAgeSeconds", int64(p.MaxLossAgeSeconds), 0, 3600),
		span("leaseTtlMs", int64(p.LeaseTTLMs), 3000, 60000),
		span("coolDownSeconds", int64(p.CoolDownSeconds), 0, 86400),
		span("backupKeep", int64(p.BackupKeep), 0, 10000),
		checkSchedule("backupSchedule", p.BackupSchedule),
		checkSchedule("drillSchedule", p.DrillSchedule),
		p.checkSync(replicas),
		p.checkNetworks(),
	} {
		if err != nil {
			return err
		}
	}
	if p.BackupTarget != "" && !ValidName(p.BackupTarget) {
		return &SettingError{"backupTarget", fmt.Sprintf("%q is not a name", p.BackupTarget), "give the name of a backup target"}
	}
	return nil
}

func (p Policy) checkSync(replicas int) error {
	switch {
	case p.Durability == DurabilityAsync && p.SyncReplicas != 0:
		return &SettingError{"syncReplicas", "it has no meaning with durability async", "leave it out, or choose sync"}
	case p.Durability == DurabilityAsync && p.Failover == FailoverNoLoss:
		return &SettingError{"failover", "no-loss can never act with durability async, where the last moments may exist on the primary alone",
			"choose durability sync, or bounded-loss"}
	case p.Durability != DurabilitySync:
		return nil
	case p.SyncReplicas < 1 || p.SyncReplicas > 8:
		return &SettingError{"syncReplicas", fmt.Sprintf("%d is out of range", p.SyncReplicas), "give 1 to 8"}
	case p.SyncReplicas > replicas:
		return &SettingError{"syncReplicas", fmt.Sprintf("%d replicas must be in step and the cluster has %d: no write would be taken", p.SyncReplicas, replicas),
			"add nodes first, or ask for fewer"}
	case time.Duration(p.LeaseTTLMs)*time.Millisecond <= minReplicasLag+time.Second:
		return &SettingError{"leaseTtlMs", "with durability sync a primary cut off from its replicas takes writes for up to 4 s, which must be less than the lease", "give more than 4000"}
	}
	return nil
}

func (p Policy) checkNetworks() error {
	if len(p.AllowCIDRs) > 64 {
		return &SettingError{"allowCidrs", "more than 64 networks", "join them to larger ones"}
	}
	for _, c := range p.AllowCIDRs {
		n, err := netip.ParsePrefix(c)
		if err != nil {
			return &SettingError{"allowCidrs", fmt.Sprintf("%q is not a network", c), "write it as 10.1.0.0/16"}
		}
		if n != n.Masked() {
			return &SettingError{"allowCidrs", fmt.Sprintf("%q has bits beside the network", c), "did you mean " + n.Masked().String() + "?"}
		}
	}
	return nil
}

// checkSchedule accepts "", "@every DURATION" of a minute to a year, and five
// fields of numbers, *, lists, ranges and steps.
func checkSchedule(field, s string) error {
	if s == "" {
		return nil
	}
	bad := &SettingError{field, fmt.Sprintf("%q is not a schedule", s), `write "@every 24h", or five fields as in "0 3 * * *"`}
	if every, ok := strings.CutPrefix(s, "@every "); ok {
		d, err := time.ParseDuration(every)
		if err != nil || d < time.Minute || d > 366*24*time.Hour {
			return bad
		}
		return nil
	}
	fields := strings.Fields(s)
	limits := [5][2]int{{0, 59}, {0, 23}, {1, 31}, {1, 12}, {0, 7}}
	if len(fields) != len(limits) {
		return bad
	}
	for i, f := range fields {
		for part := range strings.SplitSeq(f, ",") {
			body, step, stepped := strings.Cut(part, "/")
			if n, err := strconv.Atoi(step); stepped && (err != nil || n < 1 || n > limits[i][1]) {
				return bad
			}
			if body == "*" {
				continue
			}
			from, to, ranged := strings.Cut(body, "-")
			a, err := strconv.Atoi(from)
			b := a
			if err == nil && ranged {
				b, err = strconv.Atoi(to)
			}
			if err != nil || a < limits[i][0] || b > limits[i][1] || a > b {
				return bad
			}
		}
	}
	return nil
}

// Tags of a member, as people set them. Engines' own files do not hold them.
type Tags struct {
	Priority   int  `json:"priority"`             // 0..1000; higher is preferred, 0 never automatically
	NoFailover bool `json:"noFailover,omitempty"` // never automatically; by hand with a reason
	Never      bool `json:"never,omitempty"`      // not even by hand
	NoSync     bool `json:"noSync,omitempty"`     // does not count for durability sync
	NoBackup   bool `json:"noBackup,omitempty"`
	// Maintenance is until when nothing is promoted to it; nil: not in it.
	Maintenance *time.Time `json:"maintenance,omitempty"`
	// Expires is when the tags other than Maintenance fall back to the default
	// ones; nil: never.
	Expires *time.Time `json:"expires,omitempty"`
}

// DefaultPriority of a member.
const DefaultPriority = 100

// DefaultTags are those of a member nobody tagged.
func DefaultTags() Tags { return Tags{Priority: DefaultPriority} }

// Check refuses tags out of range. now is the present time: an end in the past
// is refused.
func (t Tags) Check(now time.Time) error {
	if t.Priority < 0 || t.Priority > 1000 {
		return &SettingError{"priority", fmt.Sprintf("%d is out of range", t.Priority), "give 0 (never automatically) to 1000"}
	}
	for field, at := range map[string]*time.Time{"expires": t.Expires, "maintenance": t.Maintenance} {
		if at != nil && !at.After(now) {
			return &SettingError{field, at.UTC().Format(time.RFC3339) + " is in the past", "give a later time, or none"}
		}
		if at != nil && at.After(now.Add(366*24*time.Hour)) {
			return &SettingError{field, at.UTC().Format(time.RFC3339) + " is more than a year away", "give an earlier time"}
		}
	}
	return nil
}

// Lapsed returns the tags without what has ended at now, and what that was in
// words; "" when nothing has.
func (t Tags) Lapsed(now time.Time) (Tags, string) {
	what := ""
	if t.Maintenance != nil && !t.Maintenance.After(now) {
		t.Maintenance, what = nil, "maintenance"
	}
	if t.Expires != nil && !t.Expires.After(now) {
		m := t.Maintenance
		t = DefaultTags()
		t.Maintenance = m
		what = strings.TrimPrefix(what+" and tags", " and ")
	}
	return t, what
}

// String says what differs from the default, for the audit.
func (t Tags) String() string {
	words := []string{"priority " + strconv.Itoa(t.Priority)}
	for word, set := range map[string]bool{"nofailover": t.NoFailover, "never": t.Never, "nosync": t.NoSync, "nobackup": t.NoBackup} {
		if set {
			words = append(words, word)
		}
	}
	slices.Sort(words[1:])
	if t.Maintenance != nil {
		words = append(words, "maintenance until "+t.Maintenance.UTC().Format(time.RFC3339))
	}
	if t.Expires != nil {
		words = append(words, "until "+t.Expires.UTC().Format(time.RFC3339))
	}
	return strings.Join(words, ", ")
}
