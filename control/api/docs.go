package api

import (
	"bytes"
	"html/template"
	"net/http"
	"sort"

	"github.com/danielgtaylor/huma/v2"
)

// documentRoutes serve the document and a page of it for people. The page has
// no script and loads nothing: it works offline and under the strictest policy.
func (s *Server) documentRoutes() {
	s.mux.HandleFunc("GET "+Prefix+"/openapi.json", func(w http.ResponseWriter, r *http.Request) {
		doc, err := document(s.huma.OpenAPI())
		if err != nil {
			write(w, s.internal(r.Context(), "write the document", err))
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(doc) // the client went away
	})
	s.mux.HandleFunc("GET "+Prefix+"/docs", func(w http.ResponseWriter, r *http.Request) {
		var b bytes.Buffer
		if err := docsPage.Execute(&b, s.docsRows()); err != nil {
			write(w, s.internal(r.Context(), "write the page", err))
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(b.Bytes()) // the client went away
	})
}

type docsRow struct {
	Method, Path, Summary, Description, Body, Answer string
	Needs                                            Role
}

func (s *Server) docsRows() []docsRow {
	var rows []docsRow
	for path, item := range s.huma.OpenAPI().Paths {
		for method, op := range map[string]*huma.Operation{"GET": item.Get, "POST": item.Post} {
			if op == nil {
				continue
			}
			row := docsRow{Method: method, Path: path, Summary: op.Summary, Description: op.Description, Needs: permissions[method+" "+path]}
			if op.RequestBody != nil {
				row.Body = schemaName(op.RequestBody.Content)
			}
			for code, resp := range op.Responses {
				if code[0] == '2' {
					row.Answer = code + " " + schemaName(resp.Content)
				}
			}
			rows = append(rows, row)
		}
	}
	sort.Slice(rows, func(i, j int) bool {
		if rows[i].Path != rows[j].Path {
			return rows[i].Path < rows[j].Path
		}
		return rows[i].Method < rows[j].Method
	})
	return rows
}

func schemaName(content map[string]*huma.MediaType) string {
	for kind, m := range content {
		if m.Schema != nil && m.Schema.Ref != "" {
			return m.Schema.Ref[len("#/components/schemas/"):]
		}
		return kind
	}
	return ""
}

var docsPage = template.Must(template.New("docs").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Baton control API</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color-scheme:light dark}
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.5rem;border-bottom:1px solid #8886}
code{font-family:ui-monospace,monospace}
</style></head><body>
<h1>Baton control API</h1>
<p>The whole description is the OpenAPI document: <a href="openapi.json">openapi.json</a>.
64-bit integers are decimal strings. Errors are problem documents with a code, a fix and whether retrying helps.
Sign in with the session cookie, or send <code>Authorization: Bearer TOKEN</code>.</p>
<table><tr><th>Route</th><th>What</th><th>Needs</th><th>Body</th><th>Answer</th></tr>
{{range .}}<tr><td><code>{{.Method}} {{.Path}}</code></td><td>{{.Summary}}{{with .Description}}<br><small>{{.}}</small>{{end}}</td>
<td>{{if .Needs}}{{.Needs}}{{else}}nobody signed in{{end}}</td><td>{{.Body}}</td><td>{{.Answer}}</td></tr>
{{end}}</table></body></html>
`))
