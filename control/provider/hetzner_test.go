package provider

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"baton/control/provider/hetznertest"
)

// TestHetznerAgainstTheContractServer: every call against a server of ours that
// keeps to the API's public contract; Hetzner's own is never asked.
func TestHetznerAgainstTheContractServer(t *testing.T) {
	s := hetznertest.Start(t)
	h := NewHetzner(hetznertest.Token, s.URL, "test")
	ctx := context.Background()
	places, err := h.Locations(ctx)
	if err != nil || len(places) != 2 || places[1] != (Place{Name: "fsn1", Title: "Falkenstein", Country: "DE"}) {
		t.Fatalf("locations: %+v, %v", places, err)
	}
	sizes, err := h.Sizes(ctx, "fsn1")
	if err != nil || len(sizes) != 2 || sizes[0].Name != "cax11" || sizes[0].Arch != "arm64" || sizes[1].Cores != 2 || sizes[1].MemoryBytes != 4<<30 || !strings.HasPrefix(sizes[1].MonthlyPrice, "4.51") {
		t.Errorf("sizes: %+v, %v", sizes, err)
	}
	if sizes, _ := h.Sizes(ctx, "ash"); len(sizes) != 1 || sizes[0].Name != "cx22" {
		t.Errorf("sizes elsewhere: %+v", sizes)
	}
	want := NewMachine{Key: "m-1", Name: "db-1", Location: "fsn1", Size: "cx22", UserData: "#cloud-config\n{}"}
	s.Lock()
	s.LoseAnswer = true
	s.Unlock()
	m, err := h.Make(ctx, want)
	if err != nil { // the answer was lost: a repeat finds what was made
		m, err = h.Make(ctx, want)
	}
	if err != nil || m.ID == "" || m.Key != "m-1" || m.Address == "" || m.Location != "fsn1" || s.Count() != 1 {
		t.Fatalf("made: %+v, %v, %d machines", m, err, s.Count())
	}
	s.Lock()
	if c := s.Made[0]; c.Image != hetznerImage || c.UserData != want.UserData || c.Labels["managed-by"] != "baton" {
		t.Errorf("asked for %+v", c)
	}
	s.Unlock()
	for range 3 {
		if m, err = h.Look(ctx, m.ID); err != nil {
			t.Fatal(err)
		}
	}
	if !m.Running || m.State != "running" {
		t.Errorf("it runs: %+v", m)
	}
	if err := h.Remove(ctx, m.ID, "m-2"); !errors.Is(err, ErrNotOurs) || s.Count() != 1 {
		t.Errorf("a machine of another key was deleted: %v", err)
	}
	for range 2 { // the second time it is gone already
		if err := h.Remove(ctx, m.ID, "m-1"); err != nil || s.Count() != 0 {
			t.Errorf("delete: %v", err)
		}
	}
	if _, err := h.Look(ctx, m.ID); !errors.Is(err, ErrNoMachine) {
		t.Errorf("look at one that is gone: %v", err)
	}
	if _, err := h.Make(ctx, NewMachine{Key: "m-3", Name: "Nope!", Location: "fsn1", Size: "cx22"}); !errors.Is(err, ErrInput) {
		t.Errorf("a name it does not take: %v", err)
	}
	s.Lock()
	s.Fail = "resource_limit_exceeded"
	s.Unlock()
	if _, err := h.Make(ctx, want); !errors.Is(err, ErrLimit) {
		t.Errorf("over the limit: %v", err)
	}
	_, err = NewHetzner("wrong-secret", s.URL, "test").Locations(ctx)
	if !errors.Is(err, ErrCredentials) || strings.Contains(err.Error(), "wrong-secret") {
		t.Errorf("a wrong token: %v", err)
	}
}

func boot() Boot {
	return Boot{Program: "https://control.example:8400/api/v1/program", Sum: strings.Repeat("ab", 32), Token: "baton1.abc-DEF_123=", Name: "db-1"}
}

// TestCloudInitHoldsValuesAsData: nothing that is given can become a command,
// and the script is one the shell takes.
func TestCloudInitHoldsValuesAsData(t *testing.T) {
	text, err := CloudInit(boot())
	if err != nil || !strings.HasPrefix(text, "#cloud-config\n") {
		t.Fatalf("%v\n%s", err, text)
	}
	var v struct {
		Files []struct{ Path, Permissions, Content string } `json:"write_files"`
		Run   [][]string                                    `json:"runcmd"`
	}
	if err := json.Unmarshal([]byte(strings.TrimPrefix(text, "#cloud-config\n")), &v); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, f := range v.Files {
		files[filepath.Base(f.Path)] = f.Content
		if f.Permissions != "0600" && f.Path != "/opt/baton/first-boot" {
			t.Errorf("%s is %s", f.Path, f.Permissions)
		}
	}
	if files["token"] != boot().Token+"\n" || strings.Contains(files["first-boot"], boot().Token) || len(v.Run) != 1 {
		t.Errorf("files: %v", files)
	}
	script := filepath.Join(t.TempDir(), "first-boot")
	if err := os.WriteFile(script, []byte(files["first-boot"]), 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("/bin/sh", "-n", script).CombinedOutput(); err != nil {
		t.Errorf("the script: %v: %s", err, out)
	}
	for what, change := range map[string]func(*Boot){
		"a file URL":         func(b *Boot) { b.Program = "file:///etc/passwd" },
		"a line break":       func(b *Boot) { b.Program += "\nx" },
		"a short checksum":   func(b *Boot) { b.Sum = "ab" },
		"a token with space": func(b *Boot) { b.Token = "a b" },
		"a name with $( )":   func(b *Boot) { b.Name = "$(id)" },
		"no name":            func(b *Boot) { b.Name = "" },
	} {
		b := boot()
		change(&b)
		if _, err := CloudInit(b); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
}
