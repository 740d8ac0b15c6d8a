package api

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"baton/control/agent"
	"baton/control/engine"
	"baton/control/terminal"
	"baton/control/terminal/cast"
)

// TestTerminalsAreForWhoMay: roles, typed names, tickets that work once and for
// one person, other origins.
func TestTerminalsAreForWhoMay(t *testing.T) {
	w := newTerminalSite(t, 1)
	read := TicketRequest{Cluster: "c", Node: "r1", Kind: "engine"}
	for _, c := range []struct {
		token, code string
		status      int
		change      func(*TicketRequest)
	}{
		{"viewer-token", CodeForbidden, 403, func(*TicketRequest) {}},
		{"auditor-token", CodeForbidden, 403, func(*TicketRequest) {}},
		{"operator-token", CodeForbidden, 403, func(r *TicketRequest) { r.Kind = "os" }},
		{"operator-token", CodeForbidden, 403, func(r *TicketRequest) { r.Kind = "admin" }},
		{"operator-token", CodeTypedName, 422, func(r *TicketRequest) { r.Write = true }},
		{"operator-token", CodeTypedName, 422, func(r *TicketRequest) { r.Write, r.TypedName = true, "r2" }},
		{"admin-token", CodeTypedName, 422, func(r *TicketRequest) { r.Kind = "os" }},
		{"operator-token", CodeUnknownNode, 404, func(r *TicketRequest) { r.Node = "r9" }},
		{"operator-token", CodeUnknownCluster, 404, func(r *TicketRequest) { r.Cluster = "nix" }},
		{"operator-token", CodeBadRequest, 422, func(r *TicketRequest) { r.Kind = "root" }},
	} {
		r := read
		c.change(&r)
		w.refused(c.status, c.code, "POST", "/terminal/tickets", r, as(c.token))
	}
	w.demandAudit("refused cli tried to open an OS shell on r1", "refused cli tried to open a terminal on r1: The typed name does not match")

	operator := http.Header{"Authorization": {"Bearer operator-token"}}
	for name, c := range map[string]struct {
		ticket func() string
		header http.Header
		want   int
	}{
		"no ticket":        {func() string { return "" }, operator, 403},
		"a guessed ticket": {func() string { return "abc" }, operator, 403},
		"another person's": {func() string { return w.ticket("operator-token", read) }, http.Header{"Authorization": {"Bearer admin-token"}}, 403},
		"nobody":           {func() string { return w.ticket("operator-token", read) }, nil, 401},
		"a viewer":         {func() string { return w.ticket("operator-token", read) }, http.Header{"Authorization": {"Bearer viewer-token"}}, 403},
		"another origin":   {func() string { return w.ticket("operator-token", read) }, http.Header{"Authorization": operator["Authorization"], "Origin": {"https://evil.example"}}, 403},
		"another port":     {func() string { return w.ticket("operator-token", read) }, http.Header{"Authorization": operator["Authorization"], "Origin": {"http://127.0.0.1:1"}}, 403},
		"a cross-site one": {func() string { return w.ticket("operator-token", read) }, http.Header{"Authorization": operator["Authorization"], "Sec-Fetch-Site": {"cross-site"}}, 403},
		"an old ticket": {func() string {
			s := w.ticket("operator-token", read)
			w.later.Add(int64(terminal.TicketLife))
			return s
		}, operator, 403},
	} {
		if conn, code := w.dial(c.ticket(), c.header); conn != nil || code != c.want {
			t.Errorf("%s: %d, want %d", name, code, c.want)
		}
	}
	// A browser's session, from the dashboard's own origin; the ticket works once.
	id, _, err := w.people.Begin("bo", string(RoleOperator))
	if err != nil {
		t.Fatal(err)
	}
	cookie := http.Header{"Cookie": {cookieName(false) + "=" + id}}
	secret := get[Ticket](w.site, "POST", "/terminal/tickets", read, func(r *http.Request) {
		r.Header.Set("Cookie", cookie.Get("Cookie"))
		r.Header.Set("Origin", w.url)
	}).Ticket
	if conn, code := w.dial(secret, cookie); conn != nil || code != 403 {
		t.Errorf("a browser without an origin: %d", code)
	}
	cookie.Set("Origin", w.url)
	conn, code := w.dial(secret, cookie)
	if conn == nil {
		t.Fatalf("a browser's own ticket: %d", code)
	}
	if again, code := w.dial(secret, cookie); again != nil || code != 403 {
		t.Errorf("a ticket worked twice: %d", code)
	}
	s := &screen{w: w, conn: conn}
	go s.read()
	s.sees("read-only> ")
	// Signing out ends it.
	if err := w.people.End(id); err != nil {
		t.Fatal(err)
	}
	if why := s.ends(); why != "the person is not signed in any more" {
		t.Errorf("it ended: %q", why)
	}
}

// TestTheEnginesShell on a real Redis: it reads; writing is asked for; what
// would break roles is refused; passwords are in neither recording nor audit.
func TestTheEnginesShell(t *testing.T) {
	w := newTerminalSite(t, 1)
	s := w.open("operator-token", TicketRequest{Cluster: "c", Node: "r1", Kind: "engine", Reason: "a look"}, false)
	s.sees("r1 of cluster c, primary.")
	s.sees("r1 (primary) read-only> ")
	run := func(line string, want ...string) {
		t.Helper()
		s.typed(line + "\r")
		for _, text := range want {
			s.sees(text)
		}
		s.sees("> ")
	}
	run("DBSIZE", "(integer) 0")
	run("SET k geheim", "Not carried out: it may change data")
	run("eval 'return 1' 0", "Not carried out")
	run("FLUSHALL", "Not carried out: it changes the server")
	run("REPLICAOF NO ONE", "Refused: it changes which node is the primary", "baton promote")
	run("client unpause", "Refused:")
	run("MONITOR", "Refused: it never ends")
	run("CONFIG GET requirepass", "1) \"requirepass\"", "2) (hidden)")
	run("AUTH default s3cret-typed", "AUTH ******* ************", "WRONGPASS")
	run(":write r2", "type :write r1")
	run(":write r1", "are carried out now", "r1 (primary) WRITE")
	run("SET k geheim", "OK")
	run("MULTI", "OK")
	run("MSET a 1 b 2", "QUEUED")
	run("EXEC", "1) OK")
	run("GET k", "\"geheim\"")
	run("CONFIG SET save ''", "needs an admin's terminal")
	run(":read-only", "reads only now", "read-only")
	run("SET k 2", "Not carried out")
	if v, err := w.servers[0].Client().Get(context.Background(), "k").Result(); err != nil || v != "geheim" {
		t.Errorf("k: %q %v", v, err)
	}
	// A command that waits is ended by Ctrl-C, and the shell goes on.
	s.typed(":write r1\r")
	s.sees("WRITE> ")
	s.typed("BLPOP nothing 0\r")
	w.eventually("it waits", func() bool {
		return strings.Contains(w.servers[0].Client().Do(context.Background(), "CLIENT", "LIST").String(), "cmd=blpop")
	})
	s.typed("\x03")
	s.sees("^C. The connection")
	run("PING", "PONG")
	open := get[TerminalSessions](w.site, "GET", "/terminal/sessions?cluster=c", nil, as("viewer-token"))
	if len(open.Sessions) != 1 || open.Sessions[0].EndedAt != nil || open.Sessions[0].Who != "cli" || open.Sessions[0].MayRead || open.Sessions[0].MayEnd || open.Sessions[0].Changes != 3 {
		t.Errorf("sessions: %+v", open)
	}
	s.typed(":quit\r")
	if why := s.ends(); why != "left" {
		t.Errorf("it ended: %q", why)
	}
	id := open.Sessions[0].ID
	w.eventually("its end is on record", func() bool { v, _ := w.manager.Session(id); return !v.Live() })
	w.demandAudit("done cli opened the engine's shell, reading on r1: a look", "refused cli tried to run REPLICAOF (and 2 values) on r1", "refused cli tried to run SET k (and 1 value) on r1",
		"done cli took the permission to write on r1, primary", "done cli ran SET k (and 1 value) on r1, primary", "done cli ran MSET a b (and 2 values) on r1, primary", "left; ")

	// The recording is what was shown, and holds no password.
	res, b := w.try("GET", "/terminal/recordings/"+id, nil, as("operator-token"))
	if res.StatusCode != 200 {
		t.Fatalf("recording: %d %s", res.StatusCode, b)
	}
	replayed := replayOf(t, string(b))
	if replayed != s.all() {
		t.Errorf("the recording differs from what was shown:\n%q\n%q", replayed, s.all())
	}
	everything := replayed + strings.Join(w.audited(), "\n")
	for _, secret := range []string{"s3cret-typed", w.servers[0].Instance.Auth.Password} {
		if strings.Contains(everything, secret) {
			t.Errorf("%q is in the recording or the audit", secret)
		}
	}
	if info, err := os.Stat(filepath.Join(w.dir, id+".cast")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the recording's file: %v %v", info, err)
	}
	if b, err := os.ReadFile(filepath.Join(w.dir, id+".cast")); err != nil || strings.Contains(string(b), "REPLICAOF NO ONE") || !strings.HasPrefix(string(b), cast.SealedPrefix) {
		t.Errorf("the recording's file shows what the terminal did: %v\n%.200s", err, b)
	}
	w.refused(403, CodeForbidden, "GET", "/terminal/recordings/"+id, nil, as("viewer-token"))
	w.refused(404, CodeNotFound, "GET", "/terminal/recordings/tm-nothing1", nil, as("auditor-token"))
	if res, _ := w.try("GET", "/terminal/recordings/"+id, nil, as("auditor-token")); res.StatusCode != 200 {
		t.Errorf("an auditor: %d", res.StatusCode)
	}
	w.demandAudit("done eve read the recording of a terminal of cli on r1")
}

func replayOf(t *testing.T, file string) string {
	t.Helper()
	var out strings.Builder
	if _, err := cast.Read(strings.NewReader(file), func(e cast.Event) error {
		if e.Kind == cast.Output {
			out.WriteString(e.Text)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestAnAdminsShellWarns: what is dangerous needs the node's name.
func TestAnAdminsShellWarns(t *testing.T) {
	w := newTerminalSite(t, 1)
	s := w.open("admin-token", TicketRequest{Cluster: "c", Node: "r1", Kind: "admin", TypedName: "r1"}, false)
	s.sees("ADMIN> ")
	s.typed("SET k 1\r")
	s.sees("OK")
	s.typed("FLUSHALL\r")
	s.sees("FLUSHALL removes every key")
	s.sees("Type r1 to go on: ")
	s.typed("no\r")
	s.sees("Not carried out.")
	client := w.servers[0].Client()
	if n := client.DBSize(context.Background()).Val(); n != 1 {
		t.Errorf("%d keys after a flush nobody confirmed", n)
	}
	s.typed("FLUSHALL\r")
	s.sees("Type r1 to go on: ")
	s.typed("r1\r")
	s.sees("OK")
	if n := client.DBSize(context.Background()).Val(); n != 0 {
		t.Errorf("%d keys after a confirmed flush", n)
	}
	s.typed("CONFIG SET replica-read-only no\r")
	s.sees("Refused:")
	s.typed("ACL SETUSER baton off\r")
	s.sees("Refused:")
	id := w.manager.Sessions("c", 1)[0].ID
	w.refused(403, CodeForbidden, "POST", "/terminal/sessions/"+id+"/end", EndTerminal{}, as("operator-token"))
	get[TerminalSession](w.site, "POST", "/terminal/sessions/"+id+"/end", EndTerminal{Reason: "lunch"}, as("admin-token"))
	if why := s.ends(); why != "ended by ann: lunch" {
		t.Errorf("it ended: %q", why)
	}
	w.eventually("its end is on record", func() bool { v, _ := w.manager.Session(id); return !v.Live() })
	w.refused(409, CodeTooLate, "POST", "/terminal/sessions/"+id+"/end", EndTerminal{}, as("admin-token"))
	w.demandAudit("done ann ran FLUSHALL on r1, primary", "done ann ended a terminal of ann on r1: lunch", "left the engine's shell as admin on r1: ended by ann: lunch")
}

// TestTerminalsFollowRoles: when the node's role changes the banner and the
// prompt do, and the permission to write is suspended.
func TestTerminalsFollowRoles(t *testing.T) {
	w := newTerminalSite(t, 2)
	s := w.open("operator-token", TicketRequest{Cluster: "c", Node: "r1", Kind: "engine", Write: true, TypedName: "r1"}, false)
	s.sees("r1 (primary) WRITE> ")
	s.typed("SET before 1\r")
	s.sees("OK")
	s.typed("SET half-typed")
	s.sees("SET half-typed")
	ctx := context.Background()
	r1, r2 := w.servers[0].Client(), w.servers[1].Client()
	if err := r2.Do(ctx, "REPLICAOF", "NO", "ONE").Err(); err != nil {
		t.Fatal(err)
	}
	if err := r1.Do(ctx, "REPLICAOF", w.servers[1].Instance.Host, fmt.Sprint(w.servers[1].Instance.Port)).Err(); err != nil {
		t.Fatal(err)
	}
	s.sees("r1 was primary and is replica now. The permission to write is suspended")
	s.sees("r1 (replica) read-only> SET half-typed")
	s.typed(" 1\r")
	s.sees("Not carried out")
	if n := r2.Exists(ctx, "half-typed").Val(); n != 0 {
		t.Error("a write was carried out after the role changed")
	}
	w.eventually("the banner follows", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		n := s.notices[len(s.notices)-1]
		return n.Type == terminal.NoticeMode && n.Role == "replica" && n.Level == string(engine.CommandRead)
	})
	s.tell(map[string]any{"type": "write", "typedName": "r1"})
	s.sees("This node is a replica: it will refuse to change data.")
	s.sees("r1 (replica) WRITE> ")
	s.typed("SET x 1\r")
	s.sees("READONLY")
	w.demandAudit("done cli ran SET x (and 1 value) on r1, replica")
	s.typed("\x04")
	if why := s.ends(); why != "left" {
		t.Errorf("it ended: %q", why)
	}
}

// TestShellsOfHosts: a real pseudo-terminal, its size, its end, and that nothing
// is left running.
func TestShellsOfHosts(t *testing.T) {
	t.Setenv("BATON_MASTER_KEY_TEST", "leaks")
	t.Setenv("HOME", t.TempDir()) // no start-up files of whoever runs this
	w := newTerminalSite(t, 0)
	s := w.open("admin-token", TicketRequest{Cluster: "c", Node: "r1", Kind: "os", Columns: 91, Rows: 33}, false)
	s.sees("beside r1 of cluster c")
	s.typed("stty size; echo \"node=$BATON_NODE leak=$BATON_MASTER_KEY_TEST.\"; tty >/dev/null && echo is-a-tty\r")
	s.sees("33 91")
	s.sees("node=r1 leak=.")
	s.sees("is-a-tty")
	s.tell(map[string]any{"type": "size", "columns": 120, "rows": 40})
	w.eventually("the new size is seen", func() bool {
		s.typed("stty size\r")
		return strings.Contains(s.all(), "40 120")
	})
	s.typed("nohup sleep 20 >/dev/null 2>&1 &\r") // what is left on purpose does not keep the terminal
	s.typed("exit 7\r")
	if why := s.ends(); why != "the shell ended with code 7" {
		t.Errorf("it ended: %q", why)
	}
	s = w.open("admin-token", TicketRequest{Cluster: "c", Node: "r1", Kind: "os"}, false)
	s.typed("trap '' HUP TERM; echo pid=$$; sleep 86400; sleep 86400\r")
	s.sees("pid=$$") // echoed
	pid := 0
	w.eventually("it says its process", func() bool {
		m := regexp.MustCompile(`pid=([0-9]+)`).FindStringSubmatch(s.all())
		if m == nil {
			return false
		}
		_, err := fmt.Sscan(m[1], &pid)
		return err == nil
	})
	open := w.manager.Sessions("c", 1)[0]
	get[TerminalSession](w.site, "POST", "/terminal/sessions/"+open.ID+"/end", EndTerminal{}, as("admin-token"))
	if why := s.ends(); why != "ended by ann" {
		t.Errorf("it ended: %q", why)
	}
	w.eventually("its process is gone", func() bool { return syscall.Kill(pid, 0) == syscall.ESRCH })
	w.demandAudit("done ann left an OS shell on r1: ended by ann; ")

	get[TerminalSettings](w.site, "PUT", "/terminal/settings", TerminalSettings{IdleMinutes: 15, OSAllowed: false, KeepDays: 30}, as("admin-token"))
	w.refused(409, CodeRefused, "POST", "/terminal/tickets", TicketRequest{Cluster: "c", Node: "r1", Kind: "os"}, as("admin-token"))
	w.refused(422, CodeBadRequest, "PUT", "/terminal/settings", TerminalSettings{IdleMinutes: 0, KeepDays: 30}, as("admin-token"))
	w.refused(403, CodeForbidden, "PUT", "/terminal/settings", TerminalSettings{IdleMinutes: 5, KeepDays: 30}, as("operator-token"))
}

// TestASlowPersonHoldsUpNobody: output stops at its bound while it is not
// confirmed; orders are answered meanwhile; it goes on when it is confirmed.
func TestASlowPersonHoldsUpNobody(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	w := newTerminalSite(t, 0)
	s := w.open("admin-token", TicketRequest{Cluster: "c", Node: "r1", Kind: "os"}, true)
	s.sees("recorded")
	s.typed("yes 0123456789abcdef\r")
	size := func() int { return len(s.all()) }
	w.eventually("output fills its window", func() bool { return size() == agent.TerminalWindow })
	for range 20 {
		w.order(engine.Action{Name: agent.ActionPing})
	}
	if n := size(); n != agent.TerminalWindow {
		t.Errorf("%d bytes came, more than the window of %d", n, agent.TerminalWindow)
	}
	s.tell(map[string]any{"type": "shown", "bytes": 50_000})
	w.eventually("it goes on by as much as was confirmed", func() bool { return size() == agent.TerminalWindow+50_000 })
	s.tell(map[string]any{"type": "shown", "bytes": 1 << 40}) // a lie counts for no more than was sent
	w.eventually("it goes on by one window", func() bool { return size() == 2*agent.TerminalWindow+50_000 })
	s.typed("\x03")
	open := w.manager.Sessions("c", 1)[0]
	get[TerminalSession](w.site, "POST", "/terminal/sessions/"+open.ID+"/end", EndTerminal{}, as("admin-token"))
	if why := s.ends(); why != "ended by ann" {
		t.Errorf("it ended: %q", why)
	}
	for range agent.MaxTerminals + 1 { // each gives its place back
		s := w.open("admin-token", TicketRequest{Cluster: "c", Node: "r1", Kind: "os"}, false)
		s.typed("exit\r")
		s.ends()
	}
}

// TestAVanishedPersonsTerminalEnds: nobody answers pings; and a link that ends
// ends its terminals.
func TestAVanishedPersonsTerminalEnds(t *testing.T) {
	w := newTerminalSite(t, 0, func(s *Server) { s.terminalPing = 100 * time.Millisecond })
	header := http.Header{"Authorization": {"Bearer admin-token"}}
	conn, code := w.dial(w.ticket("admin-token", TicketRequest{Cluster: "c", Node: "r1", Kind: "os"}), header)
	if conn == nil {
		t.Fatal(code)
	}
	// Nothing is read from conn: no ping is answered.
	w.eventually("it is noticed", func() bool {
		all := w.manager.Sessions("c", 1)
		return len(all) == 1 && all[0].Why == "the person's connection ended"
	})
	if err := w.people.RemoveHost(w.agent); err != nil {
		t.Fatal(err)
	}
}

// TestIdleTerminalsEnd after a warning.
func TestIdleTerminalsEnd(t *testing.T) {
	w := newTerminalSite(t, 1)
	s := w.open("operator-token", TicketRequest{Cluster: "c", Node: "r1", Kind: "engine"}, false)
	s.sees("> ")
	w.later.Add(int64(14*time.Minute + 30*time.Second))
	w.eventually("a warning", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, n := range s.notices {
			if n.Type == terminal.NoticeWarning {
				return true
			}
		}
		return false
	})
	s.typed("PING\r")
	s.sees("PONG")
	w.later.Add(int64(15 * time.Minute))
	if why := s.ends(); why != "no key was pressed for 15 minutes" {
		t.Errorf("it ended: %q", why)
	}
}

// TestTheLinksEndEndsTerminals, and what was open is closed by the next control
// node that acts.
func TestTheLinksEndEndsTerminals(t *testing.T) {
	w := newTerminalSite(t, 0)
	s := w.open("admin-token", TicketRequest{Cluster: "c", Node: "r1", Kind: "os"}, false)
	s.sees("recorded")
	w.hub.Cut(w.agent)
	if why := s.ends(); why != "the agent's link ended" {
		t.Errorf("it ended: %q", why)
	}
	began := terminal.Session{ID: "tm-abandoned", Cluster: "c", Node: "r1", Kind: "os", Who: "old", Control: "n0", Begin: time.Now()}
	data := fmt.Sprintf(`{"id":%q,"cluster":"c","node":"r1","kind":"os","who":"old","control":"n0","begin":%q}`, began.ID, began.Begin.Format(time.RFC3339Nano))
	if _, err := w.journal.Append(context.Background(), terminal.Stream, -2, journalEvent(terminal.Began, data)); err != nil {
		t.Fatal(err)
	}
	w.eventually("it is known", func() bool { _, ok := w.manager.Session(began.ID); return ok })
	if err := w.manager.Sweep(context.Background()); err != nil {
		t.Fatal(err)
	}
	w.eventually("it is closed", func() bool { v, _ := w.manager.Session(began.ID); return !v.Live() })
	w.demandAudit("done old left an OS shell on r1: the control node that carried it stopped")
	if _, err := w.manager.Recording("../n1"); err == nil {
		t.Error("a path outside is opened")
	}
}
