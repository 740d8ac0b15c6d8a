package api

import (
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// BackupOverview is one cluster in the list of all.
type BackupOverview struct {
	Cluster  string     `json:"cluster"`
	Newest   *time.Time `json:"newest" doc:"when the data of the newest backup is of"`
	Verified *time.Time `json:"verified" doc:"when the data of the newest verified backup is of"`
	Count    int        `json:"count" doc:"backups in their target"`
	Bytes    int64      `json:"bytes"`
	Gone     bool       `json:"gone" doc:"the cluster does not exist any more; its backups can be restored beside"`
}

// BackupOverviews are all clusters that have backups, or could have.
type BackupOverviews struct {
	Clusters []BackupOverview `json:"clusters"`
}

// BackupWindow is from which to which moment there are backups.
type BackupWindow struct {
	Earliest *time.Time `json:"earliest"`
	Latest   *time.Time `json:"latest"`
}

// Backup is one backup.
type Backup struct {
	ID            string     `json:"id"`
	At            time.Time  `json:"at" doc:"when the data is of; for one that is not done, when it was begun"`
	Node          string     `json:"node"`
	Kind          string     `json:"kind" enum:"rdb,eventstore-log"`
	Bytes         int64      `json:"bytes"`
	Keys          *int64     `json:"keys" doc:"null when they were not counted; of an event store its events, which a check counts"`
	Position      string     `json:"position" doc:"up to which an event store's log is in it; empty for other engines"`
	SHA256        string     `json:"sha256" doc:"of the engine's dump, or of the files of an event store's log"`
	Encrypted     bool       `json:"encrypted"`
	State         string     `json:"state" enum:"running,done,failed,verified,expired"`
	Damaged       bool       `json:"damaged" doc:"its last check could not restore it"`
	Why           string     `json:"why" doc:"why it failed or was removed"`
	VerifiedAt    *time.Time `json:"verifiedAt" doc:"of the last check, whatever it found"`
	VerifiedHow   string     `json:"verifiedHow"`
	RestoreMs     *int64     `json:"restoreMs" doc:"reading and loading, measured by the last check"`
	OperationID   string     `json:"operationId"`
	Target        string     `json:"target"`
	Reason        string     `json:"reason"`
	EngineVersion string     `json:"engineVersion"`
	OnPrimary     bool       `json:"onPrimary"`
	CLI           string     `json:"cli" doc:"restore it beside, as a command to copy"`
}

// TransformSchema documents which references may be null.
func (Backup) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	return nullable(s, "keys", "restoreMs")
}

// BackupDrill is a restore on trial of the newest backup.
type BackupDrill struct {
	At       time.Time `json:"at"`
	OK       bool      `json:"ok"`
	Ms       int64     `json:"ms"`
	Sentence string    `json:"sentence"`
	Backup   string    `json:"backup"`
}

// ClusterBackups are the backups of one cluster.
type ClusterBackups struct {
	Window        BackupWindow `json:"window"`
	Schedule      string       `json:"schedule" doc:"@every 24h or five cron fields; empty: none"`
	DrillSchedule string       `json:"drillSchedule"`
	NextAt        *time.Time   `json:"nextAt" doc:"when the schedule is due next"`
	Keep          int          `json:"keep"`
	Target        string       `json:"target"`
	TargetWhere   string       `json:"targetWhere" doc:"where the target is, as a sentence"`
	Sentence      string       `json:"sentence" doc:"the verdict on this cluster's backups"`
	Backups       []Backup     `json:"backups"`
	LastDrill     *BackupDrill `json:"lastDrill"`
}

// TransformSchema documents which references may be null.
func (ClusterBackups) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	return nullable(s, "lastDrill")
}

// BackupRequest takes a backup now.
type BackupRequest struct {
	Node   string `json:"node,omitempty" maxLength:"63" doc:"empty: the best one that does not lead"`
	Target string `json:"target,omitempty" maxLength:"63" doc:"empty: the one of the cluster's settings"`
	Reason string `json:"reason,omitempty" maxLength:"1000"`
}

// RestoreRequest restores a backup beside, into a new cluster, or in place.
type RestoreRequest struct {
	Mode string `json:"mode" enum:"beside,in-place"`
	Name string `json:"name,omitempty" maxLength:"63" doc:"of the new cluster, for beside"`
	// Agent is where the new cluster's node is made, for beside; empty: the host that took the backup.
	Agent string `json:"agent,omitempty" maxLength:"63" doc:"host of the new cluster, for beside; empty: the one that took the backup"`
	// TypedName is the cluster's name again, for in-place.
	TypedName  string `json:"typedName,omitempty" maxLength:"63" doc:"the cluster's name, for in-place"`
	Generation *Int64 `json:"generation,omitempty" doc:"the cluster's generation as seen, for in-place"`
	Reason     string `json:"reason,omitempty" maxLength:"1000"`
}

// RestoreAccepted is a restore that has begun.
type RestoreAccepted struct {
	OperationID string              `json:"operationId"`
	Credentials *RestoreCredentials `json:"credentials" doc:"of the new cluster, for beside; shown once; null for an event store, whose accounts are in the backup"`
}

// TransformSchema documents which references may be null.
func (RestoreAccepted) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	return nullable(s, "credentials")
}

// RestoreCredentials are of the first user of a restored cluster.
type RestoreCredentials struct {
	User     string `json:"user"`
	Password string `json:"password"`
}

// BackupAccepted is an operation that has begun.
type BackupAccepted struct {
	OperationID string `json:"operationId"`
}

// BackupDeletion removes a backup from its target.
type BackupDeletion struct {
	TypedName string `json:"typedName" maxLength:"63" doc:"the backup's id"`
}

// ReasonRequest gives a reason, for the audit.
type ReasonRequest struct {
	Reason string `json:"reason,omitempty" maxLength:"1000"`
}

// BackupTarget is a place for backups.
type BackupTarget struct {
	Name     string     `json:"name"`
	Kind     string     `json:"kind" enum:"directory,s3"`
	Location string     `json:"location"`
	Healthy  *bool      `json:"healthy" doc:"null: not checked yet"`
	Why      string     `json:"why" doc:"what the last check found, as a sentence"`
	Checked  *time.Time `json:"checkedAt"`
	Clusters []string   `json:"clusters" doc:"whose settings name it"`
}

// TransformSchema documents which references may be null.
func (BackupTarget) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	return nullable(s, "healthy")
}

// BackupTargets are all of them, sorted by name.
type BackupTargets struct {
	Targets []BackupTarget `json:"targets"`
}

// BackupTargetRequest makes or changes a target. The secret key is never shown again.
type BackupTargetRequest struct {
	Name      string `json:"name" minLength:"1" maxLength:"63"`
	Kind      string `json:"kind" enum:"directory,s3"`
	Path      string `json:"path,omitempty" maxLength:"1000" doc:"directory on the host of the agent that takes a backup; hosts share it only when it is a mount they share"`
	Endpoint  string `json:"endpoint,omitempty" maxLength:"253"`
	Bucket    string `json:"bucket,omitempty" maxLength:"63"`
	Region    string `json:"region,omitempty" maxLength:"63"`
	Prefix    string `json:"prefix,omitempty" maxLength:"200"`
	AccessKey string `json:"accessKey,omitempty" maxLength:"200"`
	SecretKey string `json:"secretKey,omitempty" maxLength:"200"`
	PlainHTTP bool   `json:"plainHttp,omitempty" doc:"without TLS; only for a store on the agents' own machines"`
	CA        string `json:"ca,omitempty" maxLength:"65536" doc:"PEM of an authority beside the system's"`
}

// Done says that something was done.
type Done struct {
	Sentence string `json:"sentence"`
}
