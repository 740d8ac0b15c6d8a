package api

import (
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// MaxBodyBytes bounds a request's body; the largest legal one is a promotion
// with its reason.
const MaxBodyBytes = 1 << 20

// Server is the API and the dashboard's files.
type Server struct {
	mux  *http.ServeMux
	huma huma.API
}

func newServer() *Server {
	installErrors()
	s := &Server{mux: http.NewServeMux()}
	cfg := huma.DefaultConfig("Baton control API", "1")
	cfg.Info.Description = "Roles and promotion for replicated data. 64-bit integers are decimal strings; errors are problem documents."
	cfg.OpenAPIPath, cfg.DocsPath, cfg.SchemasPath = "", "", "" // served by ourselves, without third-party pages
	cfg.CreateHooks = nil                                       // no $schema property in answers
	s.huma = humago.New(s.mux, cfg)
	s.routes()
	return s
}

// Document returns the OpenAPI 3.1 document, indented, with a stable order.
func Document() ([]byte, error) {
	return document(newServer().huma.OpenAPI())
}

func document(doc *huma.OpenAPI) ([]byte, error) {
	raw, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	var v any // decoded and encoded again: maps in key order
	if err := json.Unmarshal(raw, &v); err != nil {
		return nil, err
	}
	return json.MarshalIndent(v, "", "  ")
}
