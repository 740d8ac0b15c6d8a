package rpc_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"baton/eventstore/rpc"
	"baton/eventstore/users"
	"baton/gen/eventstore/streams"
	userspb "baton/gen/eventstore/users"
	"baton/platform/tracing"
)

// kept is everything that was written to it.
type kept struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (k *kept) Write(b []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.data.Write(b)
}

func (k *kept) bytes() []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.data.Bytes())
}

// Goal: no password of a secure node is to be found in its logs at the most talkative level, its files, its traces, its figures, or what it answers, whatever
// is done with it: right, wrong, too long, in the wrong place.
// Method: passwords that stand out are used everywhere, then everything that came out is searched for them in the forms they travel in.
func TestPasswordsOfANodeAreNowhereToBeSeen(t *testing.T) {
	t.Parallel()
	const admin, ops, first, second, wrong = "Adm1n-Passw0rd-7f3a", "0ps-Passw0rd-91bc", "F1rst-Passw0rd-22de", "Sec0nd-Passw0rd-5e10", "Wr0ng-Passw0rd-c4c4"
	secrets := []string{admin, ops, first, second, wrong}
	logs, said, traces := &kept{}, &kept{}, &kept{}
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(traces, r.Body) }))
	defer collector.Close()
	var tracer *tracing.Tracer
	s := newHouse(t, houseOptions{projections: true,
		logger: slog.New(slog.NewJSONHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug - 8, AddSource: true})),
		tracer: func(node string) (made *tracing.Tracer) {
			var err error
			if made, err = tracing.Start(context.Background(), tracing.Options{Endpoint: collector.URL, Ratio: 1, Service: "baton", Instance: node}); err != nil {
				t.Fatal(err)
			}
			tracer = made
			return made
		},
		secure: &rpc.AccessOptions{AnonymousGossip: true, PasswordCost: cheap, First: users.First{AdminPassword: admin, OpsPassword: ops}}}).leader()
	ctx := patience(t)
	note := func(what string, err error, trailer metadata.MD) {
		fmt.Fprintln(said, what, err, trailer)
		for _, d := range status.Convert(err).Details() {
			fmt.Fprintln(said, d)
		}
	}
	u := s.users()
	for _, caller := range []context.Context{ctx, as(ctx, "admin", admin), as(ctx, "ops", ops), as(ctx, "admin", wrong), as(ctx, "nobody", admin), as(ctx, "carol", first),
		metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+wrong), metadata.AppendToOutgoingContext(ctx, "authorization", wrong)} {
		var tr metadata.MD
		_, err := u.Create(caller, &userspb.CreateReq{Options: &userspb.CreateReq_Options{LoginName: "carol", Password: first, FullName: "C"}}, grpc.Trailer(&tr))
		note("create", err, tr)
		_, err = u.Create(caller, &userspb.CreateReq{Options: &userspb.CreateReq_Options{LoginName: "$carol", Password: first}}, grpc.Trailer(&tr))
		note("create with a bad name", err, tr)
		_, err = u.Create(caller, &userspb.CreateReq{Options: &userspb.CreateReq_Options{LoginName: "dave", Password: strings.Repeat(second, 1000)}}, grpc.Trailer(&tr))
		note("create with too long a password", err, tr)
		_, err = u.ChangePassword(caller, &userspb.ChangePasswordReq{Options: &userspb.ChangePasswordReq_Options{LoginName: "carol", CurrentPassword: wrong, NewPassword: second}}, grpc.Trailer(&tr))
		note("change", err, tr)
		_, err = u.ResetPassword(caller, &userspb.ResetPasswordReq{Options: &userspb.ResetPasswordReq_Options{LoginName: "nobody", NewPassword: second}}, grpc.Trailer(&tr))
		note("reset of nobody", err, tr)
		_, err = u.Update(caller, &userspb.UpdateReq{Options: &userspb.UpdateReq_Options{LoginName: "carol", Password: second, FullName: "C"}}, grpc.Trailer(&tr))
		note("update", err, tr)
		_, err = s.write(caller, "s", nil, event("t", "1"))
		note("write", err, nil)
		list, err := s.read(caller, ask(func(o *streams.ReadReq_Options) { o.StreamOption = allFromStart() }))
		note(fmt.Sprint("read ", list), err, nil)
	}
	if _, err := u.ChangePassword(as(ctx, "carol", first), &userspb.ChangePasswordReq{Options: &userspb.ChangePasswordReq_Options{LoginName: "carol", CurrentPassword: first, NewPassword: second}}); err != nil {
		t.Errorf("carol changes the password: %v", err)
	}
	over := func(login, password, method, path, body string) {
		req, err := http.NewRequestWithContext(ctx, method, "http://"+s.addr+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth(login, password)
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body2, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(said, method, path, resp.StatusCode, resp.Header, string(body2))
	}
	for _, c := range []struct{ login, password string }{{"admin", admin}, {"ops", ops}, {"admin", wrong}, {"carol", second}} {
		over(c.login, c.password, "POST", "/users", `{"loginName":"eve","password":"`+first+`"}`)
		over(c.login, c.password, "POST", "/users", `{"loginName":7,"password":"`+first+`"}`)
		over(c.login, c.password, "POST", "/users", `{"loginName":"eve","password":["`+first+`"]}`)
		over(c.login, c.password, "POST", "/users", `{"loginName":"eve","password":"`+first)
		over(c.login, c.password, "POST", "/users/eve/command/change-password", `{"currentPassword":"`+wrong+`","newPassword":"`+second+`"}`)
		over(c.login, c.password, "POST", "/users/eve/command/reset-password", `{"newPassword":"`+second+`","more":1}`)
		for _, path := range []string{"/users", "/users/carol", "/info/options", "/metrics", "/stats", "/gossip", "/cluster", "/admin/login", "/streams/s"} {
			over(c.login, c.password, "GET", path, "")
		}
	}
	if err := tracer.Flush(ctx); err != nil {
		t.Error(err)
	}
	places := map[string][]byte{"the log": logs.bytes(), "what was answered": said.bytes(), "the traces": traces.bytes()}
	err := filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // files come and go
		}
		if b, err := os.ReadFile(path); err == nil {
			places["the file "+path] = b
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	for place, b := range places {
		if len(b) == 0 && !strings.HasPrefix(place, "the file") {
			t.Errorf("nothing is in %s", place)
		}
		for _, secret := range secrets {
			for form, text := range formsOf(secret) {
				if at := bytes.Index(b, []byte(text)); at >= 0 {
					t.Errorf("%s shows the secret %s%s: ...%q...", place, secret, form, b[max(at-200, 0):min(at+len(text)+50, len(b))])
				}
			}
		}
	}
	if !bytes.Contains(places["the log"], []byte("a user was changed")) {
		t.Error("the log says nothing about users: was it heard?")
	}
}

// formsOf is a secret in the forms in which it might be written down: as it is, in hexadecimal digits, and in base64 wherever it begins.
func formsOf(secret string) map[string]string {
	forms := map[string]string{"": secret, " in hexadecimal digits": hex.EncodeToString([]byte(secret))}
	for before := range 3 {
		text := base64.StdEncoding.EncodeToString([]byte("abc"[:before] + secret))
		// The characters at either end hold bits of what stands beside the secret.
		forms[fmt.Sprintf(" in base64, %d bytes in", before)] = strings.TrimRight(text, "=")[[]int{0, 2, 3}[before] : len(strings.TrimRight(text, "="))-1]
	}
	return forms
}
