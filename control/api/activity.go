package api

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"baton/control/audit"
)

// ActivityPage is a page of what was done on all clusters, newest first.
type ActivityPage struct {
	Rows []AuditRow `json:"rows"`
	Next string     `json:"next" doc:"pass as before= to read on; empty at the end"`
}

// BadRecord is the first audit record that does not fit its chain.
type BadRecord struct {
	Cluster string `json:"cluster"`
	Index   int    `json:"index" doc:"place in the cluster's chain, from 1"`
	ID      string `json:"id" doc:"empty when the record cannot be read"`
	Why     string `json:"why"`
}

// AuditVerification is the result of reading every chain from the journal.
type AuditVerification struct {
	Records  int        `json:"records"`
	Chains   int        `json:"chains"`
	OK       bool       `json:"ok"`
	FirstBad *BadRecord `json:"firstBad"`
	Sentence string     `json:"sentence"`
}

// TransformSchema documents which references may be null.
func (AuditVerification) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	return nullable(s, "firstBad")
}

type activityInput struct {
	Before  string    `query:"before" maxLength:"20" doc:"the next of the page before"`
	Limit   int       `query:"limit" minimum:"1" maximum:"500" default:"50"`
	Cluster string    `query:"cluster" maxLength:"63"`
	Who     string    `query:"who" maxLength:"63"`
	Outcome string    `query:"outcome" maxLength:"20"`
	Kind    string    `query:"kind" maxLength:"40"`
	From    time.Time `query:"from"`
	To      time.Time `query:"to"`
}

func (s *Server) activityRoutes() {
	add(s, "activity", "GET", "/activity", "Who did what on all clusters, newest first", s.getActivity)
	add(s, "audit-verify", "GET", "/audit/verify", "Check every hash chain from the journal", s.getAuditVerify)
	add(s, "incident", "GET", "/clusters/{id}/incidents/{operation}", "Everything around one operation, in order of time", s.getIncident)
	s.exportRoute()
}

// missing answers for a part that this control plane runs without.
func missing(what string) *Problem {
	return &Problem{Title: "Not available", Status: 503, Code: CodeUnavailable, Detail: "this control plane runs without " + what, Fix: "start it with baton up or baton control"}
}

func (s *Server) getActivity(ctx context.Context, in *activityInput) (*body[ActivityPage], error) {
	if s.Trail == nil {
		return nil, missing("activity")
	}
	s.seeRecorded(ctx, cmp.Or(in.Cluster, audit.System))
	var before uint64
	if in.Before != "" {
		n, err := strconv.ParseUint(in.Before, 10, 64)
		if err != nil || n == 0 {
			return nil, &Problem{Title: "The request is not valid", Status: 400, Code: CodeBadRequest, Detail: "before is not the next of a page", Fix: "leave before out to begin at the newest"}
		}
		before = n
	}
	page := ActivityPage{Rows: []AuditRow{}}
	if before == 0 && (in.Outcome == "" || in.Outcome == "running") && in.To.IsZero() {
		for _, o := range s.Inventory.Unfinished() {
			row := runningRow(&o)
			if (in.Cluster == "" || row.Cluster == in.Cluster) && (in.Who == "" || row.Who == in.Who) && (in.Kind == "" || o.Kind == in.Kind) {
				page.Rows = append(page.Rows, row)
			}
		}
	}
	entries, next := s.Trail.Activity(audit.Filter{Cluster: in.Cluster, Who: in.Who, Outcome: in.Outcome, Kind: in.Kind, From: in.From, To: in.To}, before, in.Limit)
	for i := range entries {
		page.Rows = append(page.Rows, auditRow(&entries[i].Record))
	}
	if next > 0 {
		page.Next = strconv.FormatUint(next, 10)
	}
	return &body[ActivityPage]{page}, nil
}

func (s *Server) getAuditVerify(ctx context.Context, _ *none) (*body[AuditVerification], error) {
	if s.Trail == nil || s.Journal == nil {
		return nil, missing("an audit")
	}
	v, err := audit.VerifyAll(ctx, s.Journal, s.Trail.Clusters())
	if err != nil {
		return nil, s.internal(ctx, "read the audit", err)
	}
	out := AuditVerification{Records: v.Records, Chains: v.Chains, OK: v.Bad == nil,
		Sentence: fmt.Sprintf("All %d records in %d chains are intact", v.Records, v.Chains)}
	if b := v.Bad; b != nil {
		out.FirstBad = &BadRecord{b.Cluster, b.Index, b.ID, b.Why}
		out.Sentence = fmt.Sprintf("The chain of %s breaks at record %d (%s): %s", b.Cluster, b.Index, orNone(b.ID), b.Why)
	}
	return &body[AuditVerification]{out}, nil
}

func orNone(id string) string {
	if id == "" {
		return "no id"
	}
	return id
}

// exportRoute documents the export; its handler is not huma's, because the
// answer is a stream.
func (s *Server) exportRoute() {
	str := &huma.Schema{Type: huma.TypeString}
	stamp := &huma.Schema{Type: huma.TypeString, Format: "date-time"}
	s.huma.OpenAPI().AddOperation(&huma.Operation{
		OperationID: "audit-export", Method: "GET", Path: Prefix + "/audit/export",
		Summary: "The audit as a file: CSV, or JSON with one record a line",
		Parameters: []*huma.Param{
			{Name: "format", In: "query", Schema: &huma.Schema{Type: huma.TypeString, Enum: []any{"csv", "json"}}, Description: "csv (the default) or json"},
			{Name: "cluster", In: "query", Schema: str, Description: "one cluster, or \"system\"; all when left out"},
			{Name: "from", In: "query", Schema: stamp, Description: "records not older"},
			{Name: "to", In: "query", Schema: stamp, Description: "records older"},
		},
		Responses: map[string]*huma.Response{"200": {Description: "the records, by cluster, oldest first",
			Content: map[string]*huma.MediaType{"text/csv": {Schema: str}, "application/x-ndjson": {Schema: str}}}},
	})
	s.mux.HandleFunc("GET "+Prefix+"/audit/export", s.getAuditExport)
}

// getAuditExport streams the records as they stand in the journal. A failure
// in the middle ends the connection without the end of the answer, so that
// nobody takes half a file for a whole one.
func (s *Server) getAuditExport(w http.ResponseWriter, r *http.Request) {
	if s.Trail == nil || s.Journal == nil {
		write(w, missing("an audit"))
		return
	}
	q := r.URL.Query()
	f := audit.Filter{}
	bad := func(detail string) {
		write(w, &Problem{Title: "The request is not valid", Status: 400, Code: CodeBadRequest, Detail: detail, Fix: "see " + Prefix + "/docs"})
	}
	for name, into := range map[string]*time.Time{"from": &f.From, "to": &f.To} {
		if v := q.Get(name); v != "" {
			t, err := time.Parse(time.RFC3339, v)
			if err != nil {
				bad(name + " is not a time like 2026-01-31T12:00:00Z")
				return
			}
			*into = t
		}
	}
	clusters := s.Trail.Clusters()
	if c := q.Get("cluster"); c != "" {
		if _, ok := s.Inventory.Cluster(c); !ok && c != audit.System && !contains(clusters, c) {
			write(w, notFoundCluster(c))
			return
		}
		clusters = []string{c}
	}
	name := "baton-audit-" + s.Now().UTC().Format("20060102-150405")
	switch q.Get("format") {
	case "", "csv":
		w.Header().Set("Content-Type", "text/csv; charset=utf-8")
		name += ".csv"
	case "json":
		w.Header().Set("Content-Type", "application/x-ndjson")
		name += ".jsonl"
	default:
		bad("format is csv or json")
		return
	}
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	p := who(r.Context())
	s.record(r.Context(), audit.Record{Cluster: audit.System, What: "exported the audit as " + name, Outcome: audit.Done, Kind: "audit"})
	if err := s.export(r.Context(), w, clusters, f, q.Get("format") == "json"); err != nil {
		s.Log.Warn("an export of the audit broke off", "who", p.Name, "err", err)
		panic(http.ErrAbortHandler)
	}
}

func (s *Server) export(ctx context.Context, w http.ResponseWriter, clusters []string, f audit.Filter, asJSON bool) error {
	out := bufio.NewWriterSize(w, 32<<10)
	control := http.NewResponseController(w)
	var table *audit.CSV
	var err error
	if !asJSON {
		if table, err = audit.NewCSV(out); err != nil {
			return err
		}
	}
	for _, c := range clusters {
		index := 0
		err := audit.Each(ctx, s.Journal, c, func(r audit.Record, raw []byte) error {
			index++
			if !f.Match(&r) {
				return nil
			}
			_ = control.SetWriteDeadline(time.Now().Add(writeTimeout)) // not every connection can
			if table != nil {
				return table.Write(&r, index)
			}
			if !json.Valid(raw) {
				raw, _ = json.Marshal(map[string]string{"cluster": c, "unreadable": string(raw)})
			}
			_, err := out.Write(append(raw[:len(raw):len(raw)], '\n'))
			return err
		})
		if err != nil {
			return err
		}
	}
	if table != nil {
		if err := table.Flush(); err != nil {
			return err
		}
	}
	return out.Flush()
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}

// chain is how many records a cluster's chain has and the index of the first
// that does not fit, -1 when all do: as they stood in the journal when they
// were read.
func (s *Server) chain(cluster string) (records, bad int) {
	if s.Trail == nil {
		return s.Inventory.VerifyAudit(cluster)
	}
	c := s.Trail.Chain(cluster)
	if c.Bad != nil {
		return c.Records, c.Bad.Index - 1
	}
	return c.Records, -1
}
