package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"baton/control/alert/watch"
	"baton/control/audit"
	"baton/control/notify"
)

// Alert is something somebody must know.
type Alert struct {
	ID                string     `json:"id"`
	Cluster           string     `json:"cluster" doc:"empty for the control plane"`
	Node              string     `json:"node"`
	Kind              string     `json:"kind" enum:"lag,link-down,lease-at-risk,node-down,no-primary,disk-forecast,backup-age,even-nodes,no-promotable-node,agent-silent,control-plane-degraded,operation-needs-human"`
	Severity          string     `json:"severity" enum:"warning,critical"`
	State             string     `json:"state" enum:"firing,acknowledged,resolved"`
	Since             time.Time  `json:"since"`
	LastSeen          time.Time  `json:"lastSeen"`
	Sentence          string     `json:"sentence"`
	Fix               string     `json:"fix"`
	AcknowledgedBy    *string    `json:"acknowledgedBy"`
	AcknowledgedUntil *time.Time `json:"acknowledgedUntil" doc:"null: until it resolves"`
	Note              string     `json:"note"`
	ResolvedAt        *time.Time `json:"resolvedAt"`
}

// AlertList is the answer of GET /alerts: open ones first, the worst on top,
// then those that resolved lately.
type AlertList struct {
	Alerts []Alert `json:"alerts"`
}

// AcknowledgeRequest says that somebody has seen an alert.
type AcknowledgeRequest struct {
	Minutes int    `json:"minutes,omitempty" minimum:"0" maximum:"43200" doc:"0: until it resolves"`
	Note    string `json:"note,omitempty" maxLength:"500"`
}

// EmailSettings say where and how mail is sent. The password is never given
// back; leaving it out keeps the one that is stored.
type EmailSettings struct {
	Host        string   `json:"host" maxLength:"253"`
	Port        int      `json:"port" minimum:"1" maximum:"65535"`
	From        string   `json:"from" maxLength:"254"`
	To          []string `json:"to" maxItems:"32"`
	User        string   `json:"user,omitempty" maxLength:"254"`
	Password    *string  `json:"password,omitempty" maxLength:"1024"`
	HasPassword bool     `json:"hasPassword,omitempty" readOnly:"true"`
	TLS         string   `json:"tls,omitempty" enum:"starttls,implicit,none" doc:"none only towards this machine"`
}

// WebhookSettings are one address that is posted to. The secret is never given
// back; leaving it out keeps the one that is stored for the same address.
type WebhookSettings struct {
	URL       string  `json:"url" maxLength:"2000"`
	Secret    *string `json:"secret,omitempty" maxLength:"256"`
	HasSecret bool    `json:"hasSecret,omitempty" readOnly:"true"`
}

// Delivery is one message to one channel.
type Delivery struct {
	At      time.Time `json:"at"`
	Channel string    `json:"channel"`
	Subject string    `json:"subject"`
	Tries   int       `json:"tries"`
	OK      bool      `json:"ok"`
	Error   string    `json:"error"`
}

// NotificationSettings are all channels.
type NotificationSettings struct {
	Email        *EmailSettings    `json:"email"`
	Webhooks     []WebhookSettings `json:"webhooks" maxItems:"16"`
	AllowPrivate bool              `json:"allowPrivate,omitempty" doc:"let a webhook redirect to a private address"`
	// Problem and Deliveries are answered only.
	Problem    string     `json:"problem,omitempty" readOnly:"true" doc:"what is wrong with the stored settings"`
	Deliveries []Delivery `json:"deliveries,omitempty" readOnly:"true" doc:"the last ones, newest first"`
}

// TransformSchema documents which references may be null.
func (NotificationSettings) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	return nullable(s, "email")
}

// TestResult tells how a test message went, by channel.
type TestResult struct {
	Deliveries []Delivery `json:"deliveries"`
}

type (
	acknowledgeInput struct {
		ID   string `path:"id" maxLength:"63"`
		Body AcknowledgeRequest
	}
	notificationsInput struct{ Body NotificationSettings }
)

func (s *Server) alertRoutes() {
	add(s, "alerts", "GET", "/alerts", "What somebody must know", s.getAlerts)
	add(s, "alert-acknowledge", "POST", "/alerts/{id}/acknowledge", "Say that you have seen an alert", s.postAcknowledge)
	add(s, "notifications", "GET", "/notifications", "Where people are told, and how the last messages went", s.getNotifications)
	add(s, "notifications-put", "PUT", "/notifications", "Change where people are told", s.putNotifications)
	add(s, "notifications-test", "POST", "/notifications/test", "Send a test message to every channel", s.postNotificationsTest)
}

func alertView(v *watch.View) Alert {
	a := Alert{ID: v.ID, Cluster: v.Cluster, Node: v.Node, Kind: string(v.Kind), Severity: string(v.Severity), State: v.State(), Since: v.Since, LastSeen: v.LastSeen,
		Sentence: v.Sentence, Fix: v.Fix, Note: v.Note}
	if v.AcknowledgedBy != "" {
		a.AcknowledgedBy = ptr(v.AcknowledgedBy)
	}
	if !v.AcknowledgedUntil.IsZero() {
		a.AcknowledgedUntil = ptr(v.AcknowledgedUntil)
	}
	if !v.ResolvedAt.IsZero() {
		a.ResolvedAt = ptr(v.ResolvedAt)
	}
	return a
}

func (s *Server) getAlerts(context.Context, *none) (*body[AlertList], error) {
	if s.Alerts == nil {
		return nil, missing("alerts")
	}
	out := AlertList{Alerts: []Alert{}}
	for _, v := range s.Alerts.Alerts() {
		out.Alerts = append(out.Alerts, alertView(&v))
	}
	return &body[AlertList]{out}, nil
}

func (s *Server) postAcknowledge(ctx context.Context, in *acknowledgeInput) (*body[Alert], error) {
	if s.Alerts == nil {
		return nil, missing("alerts")
	}
	var until time.Time
	if in.Body.Minutes > 0 {
		until = s.Now().Add(time.Duration(in.Body.Minutes) * time.Minute)
	}
	a, err := s.Alerts.Acknowledge(ctx, in.ID, who(ctx).Name, printable(in.Body.Note), until)
	if errors.Is(err, watch.ErrUnknown) {
		return nil, &Problem{Title: "No such alert", Status: 404, Code: CodeNotFound, Detail: err.Error(), Fix: "baton alerts lists the open ones"}
	}
	if err != nil {
		return nil, s.internal(ctx, "acknowledge the alert", err)
	}
	cluster := a.Cluster
	if cluster == "" {
		cluster = audit.System
	}
	s.record(ctx, audit.Record{Cluster: cluster, Node: a.Node, What: "acknowledged the alert " + string(a.Kind), Outcome: audit.Done, Detail: a.Note, Kind: "alert"})
	return &body[Alert]{alertView(&watch.View{Alert: a, LastSeen: s.Now()})}, nil
}

func deliveries(in []notify.Result) []Delivery {
	out := []Delivery{}
	for _, r := range in {
		out = append(out, Delivery{At: r.At, Channel: r.Channel, Subject: r.Subject, Tries: r.Tries, OK: r.Err == "", Error: r.Err})
	}
	return out
}

func (s *Server) getNotifications(context.Context, *none) (*body[NotificationSettings], error) {
	if s.Notifier == nil {
		return nil, missing("notifications")
	}
	return &body[NotificationSettings]{s.notificationsView()}, nil
}

func (s *Server) notificationsView() NotificationSettings {
	set, problem := s.Notifier.Settings()
	out := NotificationSettings{Webhooks: []WebhookSettings{}, AllowPrivate: set.AllowPrivate, Problem: problem, Deliveries: deliveries(s.Notifier.Results())}
	if e := set.Email; e != nil {
		out.Email = &EmailSettings{Host: e.Host, Port: e.Port, From: e.From, To: e.To, User: e.User, HasPassword: e.Sealed != "", TLS: e.TLS}
	}
	for _, w := range set.Webhooks {
		out.Webhooks = append(out.Webhooks, WebhookSettings{URL: w.URL, HasSecret: w.Sealed != ""})
	}
	return out
}

func (s *Server) putNotifications(ctx context.Context, in *notificationsInput) (*body[NotificationSettings], error) {
	if s.Notifier == nil {
		return nil, missing("notifications")
	}
	old, _ := s.Notifier.Settings()
	set := notify.Settings{AllowPrivate: in.Body.AllowPrivate, By: who(ctx).Name}
	if e := in.Body.Email; e != nil {
		set.Email = &notify.Email{Host: e.Host, Port: e.Port, From: e.From, To: e.To, User: e.User, TLS: e.TLS}
		switch {
		case e.Password != nil:
			set.Email.Password = *e.Password
		case old.Email != nil && old.Email.Host == e.Host && old.Email.User == e.User: // never hand it to another server
			set.Email.Password = old.Email.Password
		}
	}
	for _, w := range in.Body.Webhooks {
		hook := notify.Webhook{URL: w.URL}
		if w.Secret != nil {
			hook.Secret = *w.Secret
		}
		for _, o := range old.Webhooks {
			if w.Secret == nil && o.URL == w.URL {
				hook.Secret = o.Secret
			}
		}
		set.Webhooks = append(set.Webhooks, hook)
	}
	err := s.Notifier.Put(ctx, set)
	var invalid *notify.InvalidError
	what := "tried to change where people are told"
	switch {
	case errors.As(err, &invalid):
		return nil, s.refuseAs(ctx, "notifications", what, &Problem{Title: "The settings are not valid", Status: 422, Code: CodeBadRequest, Detail: invalid.Why, Fix: "correct it and send it again"})
	case errors.Is(err, notify.ErrNoSeal):
		return nil, s.refuseAs(ctx, "notifications", what, &Problem{Title: "The secret cannot be stored", Status: 409, Code: CodeUnavailable, Detail: err.Error(), Fix: "give the control plane a master key, or leave the secret out"})
	case err != nil:
		return nil, s.internal(ctx, "record the settings", err)
	}
	mails := 0
	if set.Email != nil {
		mails = len(set.Email.To)
	}
	s.record(ctx, audit.Record{Cluster: audit.System, What: "changed where people are told", Outcome: audit.Done, Kind: "notifications",
		Detail: fmt.Sprintf("%d mail addresses, %d webhooks", mails, len(set.Webhooks))})
	return &body[NotificationSettings]{s.notificationsView()}, nil
}

func (s *Server) postNotificationsTest(ctx context.Context, _ *none) (*body[TestResult], error) {
	if s.Notifier == nil {
		return nil, missing("notifications")
	}
	if s.Notifier.Channels() == 0 {
		return nil, &Problem{Title: "There is nobody to tell", Status: http.StatusConflict, Code: CodeRefused, Detail: "neither mail nor a webhook is set", Fix: "set one first"}
	}
	now := s.Now()
	results := s.Notifier.Test(ctx, notify.Message{ID: fmt.Sprintf("test-%d", now.UnixNano()), At: now, Items: []notify.Item{{State: "test", ID: "test", Kind: "test", Severity: "info",
		Sentence: "This is a test message of Baton, asked for by " + who(ctx).Name, At: now}}})
	failed := 0
	for _, r := range results {
		if r.Err != "" {
			failed++
		}
	}
	s.record(ctx, audit.Record{Cluster: audit.System, What: "sent a test message", Outcome: audit.Done, Kind: "notifications", Detail: fmt.Sprintf("%d of %d channels took it", len(results)-failed, len(results))})
	return &body[TestResult]{TestResult{deliveries(results)}}, nil
}

// refuseAs records a refused attempt on the whole system and returns its reason.
func (s *Server) refuseAs(ctx context.Context, kind, what string, p *Problem) error {
	s.record(ctx, audit.Record{Cluster: audit.System, What: what, Outcome: audit.Refused, Detail: p.Title + ": " + p.Detail, Kind: kind})
	return p
}
