package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"baton/control/audit"
	"baton/control/backup"
	"baton/control/backup/container"
	"baton/control/backup/target"
	"baton/control/engine"
	"baton/control/executor"
	"baton/control/inventory"

	"github.com/danielgtaylor/huma/v2"
)

// Codes of problems about backups.
const (
	CodeUnknownBackup = "unknown-backup"
	CodeNoTarget      = "no-backup-target"
	CodeBackupGone    = "backup-not-there"
	CodeBackupUsed    = "backup-in-use"
	CodeTargetUsed    = "backup-target-in-use"
	CodeBadTarget     = "bad-backup-target"
	CodeNoMasterKey   = "no-master-key"
)

type (
	backupRequestInput struct {
		ID   string `path:"id" maxLength:"63"`
		Body BackupRequest
	}
	backupReasonInput struct {
		ID     string `path:"id" maxLength:"63"`
		Backup string `path:"backup" maxLength:"63"`
		Body   ReasonRequest
	}
	drillInput struct {
		ID   string `path:"id" maxLength:"63"`
		Body ReasonRequest
	}
	restoreInput struct {
		ID     string `path:"id" maxLength:"63"`
		Backup string `path:"backup" maxLength:"63"`
		Body   RestoreRequest
	}
	backupDeleteInput struct {
		ID     string `path:"id" maxLength:"63"`
		Backup string `path:"backup" maxLength:"63"`
		Body   BackupDeletion
	}
	targetInput struct {
		Name string `path:"name" maxLength:"63"`
	}
	targetPutInput struct{ Body BackupTargetRequest }
)

// backupRoutes registers the routes about backups.
func (s *Server) backupRoutes() {
	add(s, "backups", "GET", "/backups", "Backups of all clusters", s.getBackups)
	add(s, "cluster-backups", "GET", "/clusters/{id}/backups", "Backups of one cluster, newest first", s.getClusterBackups)
	accepted(s, "take-backup", "/clusters/{id}/backups", "Take a backup now", s.postBackup)
	accepted(s, "verify-backup", "/clusters/{id}/backups/{backup}/verify", "Restore a backup on trial, into a scratch server", s.postVerify)
	accepted(s, "restore", "/clusters/{id}/backups/{backup}/restore", "Restore a backup beside, into a new cluster, or in place", s.postRestore)
	add(s, "delete-backup", "POST", "/clusters/{id}/backups/{backup}/delete", "Remove a backup from its target", s.postDeleteBackup)
	accepted(s, "restore-drill", "/clusters/{id}/drill", "Restore the newest backup on trial", s.postDrill)
	add(s, "backup-targets", "GET", "/backup-targets", "Places for backups", s.getTargets)
	add(s, "put-backup-target", "POST", "/backup-targets", "Make or change a place for backups", s.postTarget)
	add(s, "delete-backup-target", "DELETE", "/backup-targets/{name}", "Forget a place for backups; what is in it stays", s.deleteTarget)
}

// accepted registers a POST that begins an operation and answers 202.
func accepted[I, O any](s *Server, id, path, summary string, h func(context.Context, *I) (*O, error)) {
	huma.Register(s.huma, huma.Operation{OperationID: id, Method: http.MethodPost, Path: Prefix + path, Summary: summary,
		MaxBodyBytes: MaxBodyBytes, BodyReadTimeout: -1, DefaultStatus: http.StatusAccepted}, h)
}

func (s *Server) noBackups() error {
	if s.Backups != nil {
		return nil
	}
	return &Problem{Title: "No backups here", Status: 503, Code: CodeUnavailable, Detail: executor.ErrNoBackups.Error()}
}

func (s *Server) getBackups(context.Context, *none) (*body[BackupOverviews], error) {
	out := BackupOverviews{Clusters: []BackupOverview{}}
	if err := s.noBackups(); err != nil {
		return nil, err
	}
	have := map[string]bool{}
	one := func(id string, gone bool) {
		have[id] = true
		o := BackupOverview{Cluster: id, Gone: gone}
		for _, b := range s.Backups.Backups(id) {
			if b.There() {
				o.Count++
				o.Bytes += b.Manifest.Bytes
			}
		}
		if at, ok := s.Backups.Newest(id); ok {
			o.Newest = &at
		}
		if at, ok := s.Backups.NewestVerified(id); ok {
			o.Verified = &at
		}
		if !gone || o.Count > 0 {
			out.Clusters = append(out.Clusters, o)
		}
	}
	for _, c := range s.Inventory.Clusters() {
		one(c.ID, false)
	}
	for _, id := range s.Backups.Clusters() {
		if !have[id] {
			one(id, true)
		}
	}
	return &body[BackupOverviews]{out}, nil
}

func (s *Server) getClusterBackups(_ context.Context, in *clusterInput) (*body[ClusterBackups], error) {
	if err := s.noBackups(); err != nil {
		return nil, err
	}
	c, ok := s.Inventory.Cluster(in.ID)
	list := s.Backups.Backups(in.ID)
	if !ok && len(list) == 0 {
		return nil, notFoundCluster(in.ID)
	}
	return &body[ClusterBackups]{s.clusterBackups(&c, in.ID, list)}, nil
}

func (s *Server) clusterBackups(c *inventory.Cluster, id string, list []backup.Backup) ClusterBackups {
	out := ClusterBackups{Schedule: c.Policy.BackupSchedule, DrillSchedule: c.Policy.DrillSchedule, Keep: c.Policy.BackupKeep, Target: c.Policy.BackupTarget, Backups: []Backup{}}
	if out.Keep == 0 {
		out.Keep = backup.DefaultKeep
	}
	if t, err := s.Backups.Target(out.Target); err == nil {
		out.TargetWhere = targetWhere(&t)
	}
	if at, ok := s.Backups.NextRun(c, backup.WhatBackup); ok {
		out.NextAt = &at
	}
	for i := range list {
		b := &list[i]
		v := backupView(b, kindOf(c.Engine))
		if b.There() && !b.Damaged() {
			at := v.At
			out.Window.Earliest = &at
			if out.Window.Latest == nil {
				out.Window.Latest = &at
			}
		}
		out.Backups = append(out.Backups, v)
	}
	if d := s.Backups.LastDrill(id); d != nil {
		out.LastDrill = &BackupDrill{At: d.At, OK: d.OK, Ms: d.Ms, Sentence: d.Sentence, Backup: d.Backup}
	}
	out.Sentence = s.backupVerdict(c, id)
	return out
}

// backupVerdict says how safe the cluster's data is, in one sentence.
func (s *Server) backupVerdict(c *inventory.Cluster, id string) string {
	at, ok := s.Backups.NewestVerified(id)
	_, any := s.Backups.Newest(id)
	switch {
	case ok:
		return fmt.Sprintf("The newest verified backup is of %s UTC", at.UTC().Format("2006-01-02 15:04:05"))
	case any:
		return "There are backups and none was verified yet: verify one, or run a restore drill"
	case c.Policy.BackupTarget == "":
		return "There is no backup, and the cluster's settings name no target"
	}
	return "There is no backup yet"
}

func targetWhere(t *backup.Target) string {
	if t.Kind == target.KindDirectory {
		return "directory " + t.Location + " on the host that takes the backup; hosts share it only when it is a mount they share"
	}
	return "S3-compatible store " + t.Location
}

// kindOf is what backups of an engine hold.
func kindOf(eng string) string {
	if eng == engine.EventStore {
		return container.KindStore
	}
	return container.KindRDB
}

// backupView shows a backup. kind is what it holds unless it says so itself.
func backupView(b *backup.Backup, kind string) Backup {
	if b.Manifest != nil && b.Manifest.Kind != "" {
		kind = b.Manifest.Kind
	}
	v := Backup{ID: b.ID, At: b.At, Node: b.Node, Kind: kind, Encrypted: true, State: b.State, Damaged: b.Damaged(), Why: b.Why,
		OperationID: b.Operation, Target: b.Target, Reason: b.Reason}
	if m := b.Manifest; m != nil {
		v.At, v.Bytes, v.SHA256, v.EngineVersion, v.OnPrimary = m.Created, m.Bytes, m.PlainSHA256, m.EngineVersion, m.Primary
		if m.Counted {
			v.Keys = ptr(m.TotalKeys())
		}
		if m.Kind == container.KindStore {
			v.Position = m.Offset
		}
	}
	if c := b.Check; c != nil {
		v.VerifiedAt, v.VerifiedHow = ptr(c.At), c.How
		if c.OK {
			v.RestoreMs = ptr(c.RestoreMs)
			if v.Kind == container.KindStore {
				v.Keys = ptr(c.Keys)
			}
		}
	}
	if b.There() {
		v.CLI = fmt.Sprintf("baton restore %s %s --beside %s-restored", b.Cluster, b.ID, b.Cluster)
	}
	return v
}

func (s *Server) postBackup(ctx context.Context, in *backupRequestInput) (*body[BackupAccepted], error) {
	who := who(ctx)
	id, err := s.Executor.Backup(ctx, executor.RequestBackup{Cluster: in.ID, Node: in.Body.Node, Target: in.Body.Target, Reason: in.Body.Reason, Who: who.Who})
	return s.begun(ctx, in.ID, in.Body.Node, "tried to take a backup", id, err)
}

// begun answers for an operation about a backup that has begun or was refused.
func (s *Server) begun(ctx context.Context, cluster, node, what, id string, err error) (*body[BackupAccepted], error) {
	if err != nil {
		return nil, s.refuse(ctx, cluster, node, what, s.backupProblem(err))
	}
	*who(ctx).recorded = true // the request is in the cluster's stream, its end will be audited
	return &body[BackupAccepted]{BackupAccepted{id}}, nil
}

func (s *Server) postVerify(ctx context.Context, in *backupReasonInput) (*body[BackupAccepted], error) {
	id, err := s.Executor.TryBackup(ctx, executor.RequestTry{Cluster: in.ID, Backup: in.Backup, Reason: in.Body.Reason, Who: who(ctx).Who})
	return s.begun(ctx, in.ID, "", "tried to verify backup "+printable(in.Backup), id, err)
}

func (s *Server) postDrill(ctx context.Context, in *drillInput) (*body[BackupAccepted], error) {
	id, err := s.Executor.TryBackup(ctx, executor.RequestTry{Cluster: in.ID, Reason: in.Body.Reason, Who: who(ctx).Who})
	return s.begun(ctx, in.ID, "", "tried a restore drill", id, err)
}

func (s *Server) postRestore(ctx context.Context, in *restoreInput) (*body[RestoreAccepted], error) {
	who := who(ctx)
	q := executor.RequestRestore{Cluster: in.ID, Backup: in.Backup, Name: in.Body.Name, Agent: in.Body.Agent, TypedName: in.Body.TypedName, Reason: in.Body.Reason, Who: who.Who}
	if in.Body.Generation != nil {
		g := uint64(*in.Body.Generation)
		q.Generation = &g
	}
	what := "tried to restore backup " + printable(in.Backup) + " " + in.Body.Mode
	if in.Body.Mode == "in-place" {
		if !who.role.may(RoleAdmin) {
			return nil, s.refuse(ctx, in.ID, "", what, &Problem{Title: "Not allowed", Status: 403, Code: CodeForbidden,
				Detail: "restoring in place replaces the data of a cluster: it needs the role admin", Fix: "restore beside, or ask an admin"})
		}
		id, err := s.Executor.RestoreInPlace(ctx, q)
		if err != nil {
			return nil, s.refuse(ctx, in.ID, "", what, s.backupProblem(err))
		}
		*who.recorded = true
		return &body[RestoreAccepted]{RestoreAccepted{OperationID: id}}, nil
	}
	id, credentials, err := s.Executor.RestoreBeside(ctx, q)
	if err != nil {
		return nil, s.refuse(ctx, in.ID, "", what, s.backupProblem(err))
	}
	*who.recorded = true
	a := RestoreAccepted{OperationID: id}
	if credentials.User != "" {
		a.Credentials = &RestoreCredentials{credentials.User, credentials.Password}
	}
	return &body[RestoreAccepted]{a}, nil
}

func (s *Server) postDeleteBackup(ctx context.Context, in *backupDeleteInput) (*body[Done], error) {
	who := who(ctx)
	what := "tried to delete backup " + printable(in.Backup)
	if err := s.noBackups(); err != nil {
		return nil, err
	}
	if in.Body.TypedName != in.Backup {
		return nil, s.refuse(ctx, in.ID, "", what, &Problem{Title: "The typed name does not match", Status: 422, Code: CodeTypedName, Detail: "what was typed is not the backup's id", Fix: "type the id exactly"})
	}
	if err := s.Executor.DeleteBackup(ctx, in.ID, in.Backup, who.Who); err != nil {
		return nil, s.refuse(ctx, in.ID, "", what, s.backupProblem(err))
	}
	s.record(ctx, audit.Record{Cluster: in.ID, What: "deleted backup " + in.Backup, Outcome: audit.Done})
	return &body[Done]{Done{"Backup " + in.Backup + " is removed from its target"}}, nil
}

func (s *Server) getTargets(context.Context, *none) (*body[BackupTargets], error) {
	if err := s.noBackups(); err != nil {
		return nil, err
	}
	out := BackupTargets{Targets: []BackupTarget{}}
	for _, t := range s.Backups.Targets() {
		out.Targets = append(out.Targets, s.targetView(&t))
	}
	return &body[BackupTargets]{out}, nil
}

func (s *Server) targetView(t *backup.Target) BackupTarget {
	v := BackupTarget{Name: t.Name, Kind: t.Kind, Location: t.Location, Clusters: []string{}, Why: "not checked yet"}
	if h := s.Executor.TargetHealth(t.Name); !h.At.IsZero() {
		v.Healthy, v.Why, v.Checked = ptr(h.OK), h.Why, ptr(h.At)
	}
	for _, c := range s.Inventory.Clusters() {
		if c.Policy.BackupTarget == t.Name {
			v.Clusters = append(v.Clusters, c.ID)
		}
	}
	return v
}

func (s *Server) postTarget(ctx context.Context, in *targetPutInput) (*body[BackupTarget], error) {
	who, b := who(ctx), in.Body
	what := "tried to set backup target " + printable(b.Name)
	if !inventory.ValidName(b.Name) {
		return nil, s.refuse(ctx, "", "", what, &Problem{Title: "The name is not allowed", Status: 422, Code: CodeBadTarget, Detail: inventory.ErrName.Error(), Fix: "choose another name"})
	}
	cfg := target.Config{Kind: b.Kind, Path: b.Path, Endpoint: b.Endpoint, Bucket: b.Bucket, Region: b.Region, Prefix: b.Prefix, AccessKey: b.AccessKey, SecretKey: b.SecretKey, PlainHTTP: b.PlainHTTP, CA: b.CA}
	if _, err := s.Executor.PutTarget(ctx, b.Name, cfg, who.Who); err != nil {
		return nil, s.refuse(ctx, "", "", what, s.backupProblem(err))
	}
	s.record(ctx, audit.Record{Cluster: audit.System, What: "set backup target " + b.Name, Outcome: audit.Done, Detail: cfg.String()})
	t, err := s.Backups.Target(b.Name)
	if err != nil {
		return nil, s.internal(ctx, "read the target back", err)
	}
	return &body[BackupTarget]{s.targetView(&t)}, nil
}

func (s *Server) deleteTarget(ctx context.Context, in *targetInput) (*body[Done], error) {
	what := "tried to forget backup target " + printable(in.Name)
	if err := s.Executor.RemoveTarget(ctx, in.Name, who(ctx).Who); err != nil {
		return nil, s.refuse(ctx, "", "", what, s.backupProblem(err))
	}
	s.record(ctx, audit.Record{Cluster: audit.System, What: "forgot backup target " + in.Name, Outcome: audit.Done})
	return &body[Done]{Done{"Backup target " + in.Name + " is forgotten; what is in it stays there"}}, nil
}

// backupProblem translates refusals about backups; others it gives back.
func (s *Server) backupProblem(err error) error {
	p := &Problem{Status: 409, Detail: sentence(err)}
	switch {
	case errors.Is(err, executor.ErrNoBackups):
		p.Title, p.Status, p.Code = "No backups here", 503, CodeUnavailable
	case errors.Is(err, backup.ErrNoSecrets), errors.Is(err, executor.ErrNoSecrets):
		p.Title, p.Code, p.Fix = "There is no master key", CodeNoMasterKey, "start the control plane with its master key"
	case errors.Is(err, executor.ErrNoTarget):
		p.Title, p.Code, p.Fix = "No backup target", CodeNoTarget, "name a target, or set one in the cluster's settings"
	case errors.Is(err, backup.ErrNoTarget):
		p.Title, p.Status, p.Code, p.Fix = "No such backup target", 404, CodeNoTarget, "baton targets lists them"
	case errors.Is(err, backup.ErrUnknown):
		p.Title, p.Status, p.Code, p.Fix = "No such backup", 404, CodeUnknownBackup, "baton backups lists them"
	case errors.Is(err, executor.ErrNotThere):
		p.Title, p.Code, p.Fix = "The backup is not there", CodeBackupGone, "choose another backup, or take one"
	case errors.Is(err, executor.ErrBackupUsed):
		p.Title, p.Code, p.Fix, p.Retry = "The backup is in use", CodeBackupUsed, "wait for the operation", true
	case errors.Is(err, executor.ErrLastVerified):
		p.Title, p.Code, p.Fix = "The newest verified backup stays", CodeBackupUsed, "verify a newer backup first"
	case errors.Is(err, backup.ErrTargetUsed):
		p.Title, p.Code, p.Fix = "The backup target is in use", CodeTargetUsed, "change the clusters' settings and delete its backups first"
	case errors.Is(err, target.ErrConfig):
		p.Title, p.Status, p.Code, p.Fix = "The target is not described well", 422, CodeBadTarget, "see docs/operating.md, backups"
	default:
		return err
	}
	return p
}

// sentence is an error's text without what only says where in the code it was.
func sentence(err error) string { return strings.TrimSpace(err.Error()) }
