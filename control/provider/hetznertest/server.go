// Package hetznertest is a server of ours that keeps to the part of Hetzner
// Cloud's API contract this project uses, as its public reference describes it:
// paths, fields, error codes. It is not Hetzner's, and passing here says
// nothing about prices, quotas or what a machine does when it boots.
package hetznertest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Token is the only one the server takes.
const Token = "token-of-the-contract-server"

// Server is a running contract server. Its fields may be set between requests
// under Lock.
type Server struct {
	sync.Mutex
	URL string // with the API's version
	// Made are the creation requests, in order.
	Made []Created
	// LoseAnswer makes the next creation happen and its answer get lost.
	LoseAnswer bool
	// Fail makes every creation fail with an error code of the API.
	Fail string

	servers map[int64]*server
	next    int64
}

// Created is what a creation asked for.
type Created struct {
	Name     string            `json:"name"`
	Type     string            `json:"server_type"`
	Image    string            `json:"image"`
	Location string            `json:"location"`
	UserData string            `json:"user_data"`
	Labels   map[string]string `json:"labels"`
}

type server struct {
	id     int64
	looked int // it runs from the second look on
	Created
}

// Start runs a server for a test.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{servers: map[int64]*server{}, next: 4711}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/locations", s.locations)
	mux.HandleFunc("GET /v1/server_types", s.types)
	mux.HandleFunc("GET /v1/servers", s.list)
	mux.HandleFunc("POST /v1/servers", s.create)
	mux.HandleFunc("GET /v1/servers/{id}", s.one)
	mux.HandleFunc("DELETE /v1/servers/{id}", s.remove)
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+Token {
			fail(w, http.StatusUnauthorized, "unauthorized", "unable to authenticate")
			return
		}
		s.Lock()
		defer s.Unlock()
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(h.Close)
	s.URL = h.URL + "/v1"
	return s
}

// Count is how many machines there are.
func (s *Server) Count() int {
	s.Lock()
	defer s.Unlock()
	return len(s.servers)
}

// Relabel takes a machine's labels away, as a person might.
func (s *Server) Relabel() {
	s.Lock()
	defer s.Unlock()
	for _, m := range s.servers {
		m.Labels = map[string]string{}
	}
}

func fail(w http.ResponseWriter, status int, code, message string) {
	answer(w, status, map[string]any{"error": map[string]any{"code": code, "message": message, "details": nil}})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// page is the list part every list answers with.
func page(n int) map[string]any {
	return map[string]any{"pagination": map[string]any{"page": 1, "per_page": 50, "previous_page": nil, "next_page": nil, "last_page": 1, "total_entries": n}}
}

func location(name string) map[string]any {
	city := map[string][3]string{"fsn1": {"Falkenstein", "DE", "eu-central"}, "ash": {"Ashburn, VA", "US", "us-east"}}[name]
	return map[string]any{"id": len(name), "name": name, "description": city[0] + " DC Park 1", "city": city[0], "country": city[1], "latitude": 50.47, "longitude": 12.37, "network_zone": city[2]}
}

func (s *Server) locations(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]any{"locations": []any{location("fsn1"), location("ash")}, "meta": page(2)})
}

func sizeOf(name string) map[string]any {
	price := func(where, gross string) map[string]any {
		p := map[string]any{"net": gross, "gross": gross}
		return map[string]any{"location": where, "price_hourly": p, "price_monthly": p, "included_traffic": 1 << 40, "price_per_tb_traffic": p}
	}
	v := map[string]any{"id": 22, "name": name, "description": strings.ToUpper(name), "cores": 2, "memory": 4.0, "disk": 40, "storage_type": "local", "cpu_type": "shared", "architecture": "x86",
		"prices": []any{price("fsn1", "4.5101"), price("ash", "5.5100")}}
	if name == "cax11" {
		v["id"], v["architecture"], v["prices"] = 45, "arm", []any{price("fsn1", "3.9151")}
	}
	return v
}

func (s *Server) types(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]any{"server_types": []any{sizeOf("cx22"), sizeOf("cax11")}, "meta": page(2)})
}

func (m *server) view() map[string]any {
	status := "initializing"
	if m.looked > 1 {
		status = "running"
	}
	return map[string]any{"id": m.id, "name": m.Name, "status": status, "created": "2026-01-02T03:04:05+00:00", "labels": m.Labels, "server_type": sizeOf(m.Type), "location": location(m.Location),
		"public_net": map[string]any{"ipv4": map[string]any{"id": 1, "ip": fmt.Sprintf("203.0.113.%d", m.id%250), "blocked": false, "dns_ptr": ""}, "ipv6": map[string]any{"id": 2, "ip": "2001:db8::/64", "blocked": false, "dns_ptr": []any{}},
			"floating_ips": []any{}, "firewalls": []any{}},
		"private_net": []any{}, "included_traffic": 0, "outgoing_traffic": nil, "ingoing_traffic": nil, "backup_window": nil, "rescue_enabled": false, "iso": nil, "locked": false,
		"image": nil, "protection": map[string]any{"delete": false, "rebuild": false}, "volumes": []any{}, "load_balancers": []any{}, "primary_disk_size": 40, "placement_group": nil}
}

func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	key, value, _ := strings.Cut(r.URL.Query().Get("label_selector"), "==")
	found := []any{}
	for _, m := range s.servers {
		if m.Labels[key] == value {
			found = append(found, m.view())
		}
	}
	answer(w, http.StatusOK, map[string]any{"servers": found, "meta": page(len(found))})
}

var hostName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)

func (s *Server) create(w http.ResponseWriter, r *http.Request) {
	var c Created
	if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
		fail(w, http.StatusBadRequest, "json_error", err.Error())
		return
	}
	for _, m := range s.servers {
		if m.Name == c.Name {
			fail(w, http.StatusConflict, "uniqueness_error", "server name is already used")
			return
		}
	}
	switch {
	case s.Fail != "":
		fail(w, http.StatusForbidden, s.Fail, "as the test wants it: "+s.Fail)
		return
	case !hostName.MatchString(c.Name) || c.Type != "cx22" && c.Type != "cax11" || c.Location != "fsn1" && c.Location != "ash" || c.Image == "" || len(c.UserData) > 32<<10:
		fail(w, http.StatusUnprocessableEntity, "invalid_input", "invalid input in fields")
		return
	}
	s.Made = append(s.Made, c)
	m := &server{id: s.next, Created: c}
	s.servers[m.id] = m
	s.next++
	if s.LoseAnswer {
		s.LoseAnswer = false
		panic(http.ErrAbortHandler)
	}
	answer(w, http.StatusCreated, map[string]any{"server": m.view(), "action": action("create_server", m.id), "next_actions": []any{}, "root_password": "not-to-be-kept"})
}

func action(command string, id int64) map[string]any {
	return map[string]any{"id": id + 100, "command": command, "status": "running", "progress": 0, "started": "2026-01-02T03:04:05+00:00", "finished": nil,
		"resources": []any{map[string]any{"id": id, "type": "server"}}, "error": nil}
}

func (s *Server) find(w http.ResponseWriter, r *http.Request) *server {
	id, _ := strconv.ParseInt(r.PathValue("id"), 10, 64)
	m := s.servers[id]
	if m == nil {
		fail(w, http.StatusNotFound, "not_found", "server with ID '"+r.PathValue("id")+"' not found")
		return nil
	}
	m.looked++
	return m
}

func (s *Server) one(w http.ResponseWriter, r *http.Request) {
	if m := s.find(w, r); m != nil {
		answer(w, http.StatusOK, map[string]any{"server": m.view()})
	}
}

func (s *Server) remove(w http.ResponseWriter, r *http.Request) {
	if m := s.find(w, r); m != nil {
		delete(s.servers, m.id)
		answer(w, http.StatusOK, map[string]any{"action": action("delete_server", m.id)})
	}
}
