package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// FuzzPromotionRequest: whatever body is sent, the answer is a problem (there
// is no such cluster), never a panic and never a success, and valid JSON is
// never said to be nested deeper than it is.
func FuzzPromotionRequest(f *testing.F) {
	for _, b := range []string{`{"node":"b","typedName":"b","reportHash":"x","generation":"0"}`, `{}`, `[[[`, `"`, `{"node":"\u0000"}`, `{"generation":1e99}`, "\xff", `{"a":"[[[[\"["}`} {
		f.Add([]byte(b))
	}
	site := newSite(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		r := httptest.NewRequest("POST", Prefix+"/clusters/nope/promotions", strings.NewReader(string(body)))
		r.Header.Set("Authorization", "Bearer operator-token")
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		site.srv.ServeHTTP(w, r)
		var p Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code < 400 || p.Title == "" || w.Code == http.StatusInternalServerError {
			t.Fatalf("%q: %d %s", body, w.Code, w.Body)
		}
	})
}

// TestDepth: brackets inside strings do not count.
func TestDepth(t *testing.T) {
	for in, want := range map[string]int{`1`: 0, `{}`: 1, `[[{"a":[]}]]`: 4, `{"a":"[[[["}`: 1, `{"a":"\"[[["}`: 1, `]]]]`: 0, `"\\"[`: 1} {
		if got := depth([]byte(in)); got != want {
			t.Errorf("%s: %d, want %d", in, got, want)
		}
	}
}
