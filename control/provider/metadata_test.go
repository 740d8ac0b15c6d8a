package provider

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestTheMetadataServiceTellsThePlace: each provider's own protocol; what
// needs a token or a header is given it; a page of something else is no place.
func TestTheMetadataServiceTellsThePlace(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /latest/api/token", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-aws-ec2-metadata-token-ttl-seconds") != "" {
			w.Write([]byte("tok"))
		}
	})
	mux.HandleFunc("GET /latest/meta-data/placement/availability-zone", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-aws-ec2-metadata-token") != "tok" {
			http.Error(w, "no token", http.StatusUnauthorized)
			return
		}
		w.Write([]byte("eu-west-1a\n"))
	})
	mux.HandleFunc("GET /hetzner/v1/metadata/availability-zone", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("fsn1-dc14")) })
	mux.HandleFunc("GET /computeMetadata/v1/instance/zone", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Metadata-Flavor") == "Google" {
			w.Write([]byte("projects/1/zones/europe-west3-a"))
		}
	})
	s := httptest.NewServer(mux)
	defer s.Close()
	m := metadata{strings.TrimPrefix(s.URL, "http://")}
	ctx := context.Background()
	for provider, want := range map[string]string{"AWS": "eu-west-1a", "Hetzner": "fsn1-dc14", "Google Cloud": "europe-west3-a"} {
		// Retried: the question's own bound is short, this machine may be slow.
		var got string
		var err error
		for range 50 {
			if got, err = m.locate(ctx, provider); err == nil {
				break
			}
		}
		if err != nil || got != want {
			t.Errorf("%s: %q, %v", provider, got, err)
		}
	}
	if _, err := m.locate(ctx, "own machine"); err == nil {
		t.Error("a machine of no provider asks somebody")
	}
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>sign in</html>")) }))
	defer page.Close()
	if got, err := (metadata{strings.TrimPrefix(page.URL, "http://")}).locate(ctx, "Hetzner"); err == nil {
		t.Errorf("a page is taken for a place: %q", got)
	}
}

// TestASilentMetadataServiceHoldsNobodyUp: the answer comes without it, the
// question gives up by itself, and what a person gave wins.
func TestASilentMetadataServiceHoldsNobodyUp(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	l := newLocal(root(t, map[string]string{"sys/class/dmi/id/sys_vendor": "Hetzner\n"}), Named{})
	done := make(chan struct{})
	go func() { l.discover(metadata{silent.Addr().String()}); close(done) }()
	if f := l.Read(); f.Location != unknownPlace || f.Provider != "Hetzner" {
		t.Errorf("%+v", f)
	}
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("the question does not give up")
	}
	where := "fsn1-dc14"
	l.told.Store(&where)
	if l.Read().Location != where {
		t.Error("what the service told is not shown")
	}
}
