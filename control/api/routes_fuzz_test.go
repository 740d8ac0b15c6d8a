package api

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"baton/control/access"
	"baton/control/alert"
	"baton/control/audit"
	"baton/control/backup"
	"baton/control/inventory"
	"baton/control/journal"
	"baton/control/keeper"
	"baton/control/leader"
	"baton/control/operation"
	"baton/control/people"
	"baton/control/provider/machines"
	"baton/control/proxy/feed"
	"baton/platform/auth"
)

// farRoutes connect to addresses that are in the request, stay open, or are about control nodes, of which a site has none.
var farRoutes = []string{"control-join-token", "control-remove", "host-ssh", "notifications-put", "notifications-test", "put-provider-account", "put-backup-target", "provider-options",
	"events", "terminal", "audit-export"}

// nearRoutes are the documented routes that answer at once, in the order of their names.
func nearRoutes(s *Server) (list []*huma.Operation) {
	for _, item := range s.huma.OpenAPI().Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Delete, item.Patch} {
			if op != nil && !slices.Contains(farRoutes, op.OperationID) {
				list = append(list, op)
			}
		}
	}
	slices.SortFunc(list, func(a, b *huma.Operation) int { return strings.Compare(a.OperationID, b.OperationID) })
	return list
}

// odd is a value of the schema's form that makes no sense: texts are text, numbers are number.
func odd(schema *huma.Schema, r huma.Registry, text string, number, levels int) any {
	if schema == nil || levels == 0 {
		return nil
	}
	if schema.Ref != "" {
		schema = r.SchemaFromRef(schema.Ref)
	}
	switch schema.Type {
	case huma.TypeObject:
		out := map[string]any{}
		for name, p := range schema.Properties {
			if !p.ReadOnly {
				out[name] = odd(p, r, text, number, levels-1)
			}
		}
		delete(out, "$schema")
		return out
	case huma.TypeArray:
		return []any{odd(schema.Items, r, text, number, levels-1)}
	case huma.TypeBoolean:
		return number > 0
	case huma.TypeInteger, huma.TypeNumber:
		return number
	}
	return text
}

// Goal: whatever an administrator sends to whatever route, the answer is one the route documents or a problem that says what is wrong, never a failure of
// the server.
func FuzzRoutes(f *testing.F) {
	site := newSite(f)
	site.srv.Tokens = append(site.srv.Tokens, APIToken{Name: "root", Role: RoleAdmin, Hash: auth.HashSecret("root-token"), Source: "api"})
	hosts := &fakeControl{}
	site.srv.Control, site.srv.Machines, site.srv.Links = hosts, hosts, hosts
	routes := nearRoutes(site.srv)
	registry := site.srv.huma.OpenAPI().Components.Schemas
	for i, op := range routes {
		f.Add(uint16(i), "c", []byte("{}"), "")
		if op.RequestBody == nil {
			f.Add(uint16(i), "\u00e4/..", []byte{}, "limit=-1&before=x&from=9999999999999&cluster=%00&node=a&name=%FF")
			continue
		}
		f.Add(uint16(i), "nope", []byte("null"), "")
		for _, number := range []int{-1 << 53, 1} {
			b, err := json.Marshal(odd(op.RequestBody.Content["application/json"].Schema, registry, "\x01", number, 6))
			if err != nil {
				f.Fatal(err)
			}
			f.Add(uint16(i), "c", b, "")
			f.Add(uint16(i), "b", bytes.ReplaceAll(b, []byte(`"\u0001"`), []byte(`"c"`)), "")
		}
	}
	f.Fuzz(func(t *testing.T, which uint16, name string, body []byte, query string) {
		op := routes[int(which)%len(routes)]
		path := op.Path
		for strings.Contains(path, "{") {
			from, to := strings.IndexByte(path, '{'), strings.IndexByte(path, '}')
			path = path[:from] + strings.ReplaceAll(url.PathEscape(name), ".", "%2E") + path[to+1:]
		}
		values, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		r := httptest.NewRequestWithContext(ctx, op.Method, path+"?"+values.Encode(), bytes.NewReader(body))
		r.Header.Set("Authorization", "Bearer root-token")
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		defer func() {
			if fault := recover(); fault != nil {
				t.Fatalf("%s %s %q: %v\n%s", op.Method, path, body, fault, debug.Stack())
			}
		}()
		site.srv.ServeHTTP(w, r)
		if ctx.Err() != nil {
			t.Fatalf("%s %s does not answer", op.Method, path)
		}
		if w.Code < 400 {
			return
		}
		var p Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Title == "" || p.Code == "" || w.Code == http.StatusInternalServerError {
			t.Fatalf("%s %s %q: %d %s", op.Method, path, body, w.Code, w.Body)
		}
	})
}

// Goal: whatever stands in the journal, whoever reads it goes on: those who keep a picture of it take it in or pass it over, and every page can still be
// asked for.
func FuzzJournal(f *testing.F) {
	site := newSite(f)
	site.srv.Tokens = append(site.srv.Tokens, APIToken{Name: "root", Role: RoleAdmin, Hash: auth.HashSecret("root-token"), Source: "api"})
	j, quiet := site.parts.journal, site.srv.Log
	members, roster := keeper.NewMemory(), leader.NewRoster()
	accounts, lets := machines.New(machines.Options{Journal: j, Now: time.Now, Log: quiet}), access.New(j, time.Now)
	catalog, ends := backup.New(backup.Options{Journal: j, Wait: site.inv.Wait, Log: quiet, Now: time.Now}), feed.New(feed.Options{Log: quiet})
	kinds := []string{inventory.ClusterRegistered, inventory.SettingsChanged, inventory.ClusterRemoved, inventory.UserChanged, people.TokenChanged, audit.EventType, audit.HeadsType,
		"operation-requested", "step-started", "step-finished", "generation-committed", "rolling-back", "step-undone", "operation-finished",
		"alert-fired", "alert-changed", "alert-acknowledged", "alert-acknowledgement-ended", "alert-resolved", "alert-told",
		"backup-begun", "backup-taken", "backup-failed", "backup-remains-removed", "backup-verified", "backup-removed", "restore-drilled", "backup-schedule-ran",
		"backup-target-put", "backup-target-removed", "endpoint-changed", "token-issued", "token-used", "session-began", "session-used", "session-ended",
		"sessions-ended", "lease-enrolled", "lease-roster", "lease-lapsed", "failover-paused", "failover-acknowledged", "primary-rejoined", "lost-writes-removed",
		"notifications-changed", "schedule-changed", "node-observed"}
	streams := []string{inventory.Stream("c"), inventory.Stream("x"), inventory.UsersStream, people.TokensStream, audit.Stream("c"), audit.HeadsStream, alert.Stream, feed.Stream,
		leader.Stream, access.TokenStream, "failover-c", "backups-c", "backup-targets", "notifications", "schedules", "machines", "terminals", "observations"}
	for i := range kinds {
		f.Add(uint8(i), uint8(i%len(streams)), []byte("{}"))
		f.Add(uint8(i), uint8((7*i+1)%len(streams)), []byte("null"))
		f.Add(uint8(i), uint8(0), []byte(`{"id":"x","name":"x","operation":"op-1","node":"a","key":"k","kind":"x","plan":{"cluster":"c","steps":[{}]},"members":[{}],"at":"0001-01-01T00:00:00Z","backup":null,"stall":null,"items":[null]}`))
	}
	for _, e := range []operation.Event{operation.Requested{Operation: "op-1"}, operation.Finished{Operation: "op-1", State: "done"}} {
		kind, data, err := operation.Encode(e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(slices.Index(kinds, kind)), uint8(1), data)
	}
	pages := []string{"/clusters", "/clusters/c", "/clusters/x", "/operations/op-1", "/clusters/c/audit", "/activity", "/alerts", "/users", "/tokens", "/approvals", "/notifications",
		"/clusters/c/schedules", "/clusters/c/settings", "/clusters/c/history?metric=lag"}
	f.Fuzz(func(t *testing.T, kind, stream uint8, data []byte) {
		e := journal.Event{Type: kinds[int(kind)%len(kinds)], Data: data}
		name := streams[int(stream)%len(streams)]
		rev, err := j.Append(t.Context(), name, journal.Any, e)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		if err := site.inv.Wait(ctx, name, rev); err != nil {
			t.Fatalf("the inventory does not go on: %v", err)
		}
		r := journal.Recorded{Event: e, Stream: name, Revision: rev, At: time.Now()}
		members.Take(r)
		_ = roster.Take(r)
		accounts.Take(r)
		_ = lets.Take(r)
		catalog.Take(r)
		ends.Take(r)
		for _, page := range pages {
			q := httptest.NewRequestWithContext(ctx, "GET", Prefix+page, nil)
			q.Header.Set("Authorization", "Bearer root-token")
			w := httptest.NewRecorder()
			site.srv.ServeHTTP(w, q)
			if w.Code == http.StatusInternalServerError || ctx.Err() != nil {
				t.Fatalf("after %s %s %q, %s: %d %s", name, e.Type, data, page, w.Code, w.Body)
			}
		}
	})
}
