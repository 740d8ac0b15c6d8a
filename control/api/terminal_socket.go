package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"

	"baton/control/terminal"
)

const (
	// terminalProtocol is the WebSocket subprotocol of terminals.
	terminalProtocol = "baton-terminal.v1"
	// maxTyped bounds one message of a person; the dashboard cuts what is pasted.
	maxTyped = 256 << 10
	// pingEvery is how often a person's connection is asked for a sign of life,
	// pingTime how long it may take.
	pingEvery = 10 * time.Second
	pingTime  = 20 * time.Second
)

// getTerminal is the WebSocket of a terminal. A browser must come from the
// dashboard's own origin; the ticket is used up by the first that shows it.
func (s *Server) getTerminal(w http.ResponseWriter, r *http.Request) {
	if s.Terminals == nil {
		write(w, missing("terminals"))
		return
	}
	p := who(r.Context())
	if problem := sameOrigin(r, p.session != "", s.secureOf(r.Context())); problem != nil {
		write(w, problem)
		return
	}
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		write(w, &Problem{Title: "This is a WebSocket", Status: 426, Code: CodeBadRequest, Detail: "the request does not ask for one", Fix: "use the dashboard, or baton terminal"})
		return
	}
	request, err := s.Terminals.Redeem(r.URL.Query().Get("ticket"), p.Who)
	if err != nil {
		write(w, terminalProblem(err))
		return
	}
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{terminalProtocol}, CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		s.Log.Debug("a terminal's WebSocket was not accepted", "who", p.Name, "err", err)
		return // answered
	}
	defer conn.CloseNow()
	conn.SetReadLimit(maxTyped)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	screen := &socketScreen{conn: conn, ctx: ctx}
	go screen.watch(s.pingTimes())
	_, err = s.Terminals.Serve(ctx, request, screen, s.still(r, &p))
	if err != nil {
		problem := terminalProblem(err)
		s.Log.Warn("a terminal could not be opened", "cluster", request.Cluster, "node", request.Node, "who", p.Name, "err", err)
		why := problem.Title + ": " + problem.Detail
		if problem.Fix != "" {
			why += "; " + problem.Fix
		}
		_ = screen.Tell(ctx, terminal.Notice{Type: terminal.NoticeEnd, Text: why}) // or the person is gone
	}
	_ = conn.Close(websocket.StatusNormalClosure, "")
}

func (s *Server) pingTimes() (every, limit time.Duration) {
	if s.terminalPing > 0 {
		return s.terminalPing, s.terminalPing
	}
	return pingEvery, pingTime
}

// still tells whether the person who opened a terminal may go on: signed in,
// not disabled, with a role that suffices.
func (s *Server) still(r *http.Request, p *principal) func() (why string, ok bool) {
	token := r.Header.Get("Authorization")
	return func() (string, bool) {
		if token == "" {
			if s.sessions.Alive(p.session) {
				return "", true
			}
			return "the person is not signed in any more", false
		}
		ask := &http.Request{Header: http.Header{"Authorization": {token}}}
		now := principal{Who: p.Who}
		if problem := s.identify(ask, &now); problem != nil {
			return "the token is not valid any more", false
		}
		if now.role != p.role {
			return "the person's role changed", false
		}
		return "", true
	}
}

// socketScreen is a person's end of a terminal on a WebSocket.
type socketScreen struct {
	conn *websocket.Conn
	ctx  context.Context // of the request: a read that is cut off closes the connection
}

// watch closes the connection of somebody who gives no sign of life.
func (w *socketScreen) watch(every, limit time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-w.ctx.Done():
			return
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(w.ctx, limit)
		err := w.conn.Ping(ctx)
		cancel()
		if err != nil {
			_ = w.conn.CloseNow()
			return
		}
	}
}

// Show sends output.
func (w *socketScreen) Show(ctx context.Context, p []byte) error {
	return w.conn.Write(ctx, websocket.MessageBinary, p)
}

// Tell sends a notice.
func (w *socketScreen) Tell(ctx context.Context, n terminal.Notice) error {
	b, err := json.Marshal(n)
	if err != nil {
		return err
	}
	return w.conn.Write(ctx, websocket.MessageText, b)
}

// socketMessage is a text message of the person's side.
type socketMessage struct {
	Type      string `json:"type"`
	Columns   int    `json:"columns"`
	Rows      int    `json:"rows"`
	Bytes     int    `json:"bytes"`
	TypedName string `json:"typedName"`
}

// Next waits for what the person does; messages that say nothing are passed over.
func (w *socketScreen) Next(context.Context) (terminal.Typed, error) {
	for {
		kind, p, err := w.conn.Read(w.ctx)
		switch websocket.CloseStatus(err) {
		case websocket.StatusNormalClosure, websocket.StatusNoStatusRcvd: // a browser's close says no more
			return terminal.Typed{}, terminal.ErrLeft
		}
		if err != nil {
			return terminal.Typed{}, err
		}
		if kind == websocket.MessageBinary {
			if len(p) > 0 {
				return terminal.Typed{Input: p}, nil
			}
			continue
		}
		var m socketMessage
		if json.Unmarshal(p, &m) != nil {
			continue
		}
		switch m.Type {
		case "size":
			if m.Columns >= 2 && m.Columns <= 1000 && m.Rows >= 1 && m.Rows <= 1000 {
				return terminal.Typed{Columns: m.Columns, Rows: m.Rows}, nil
			}
		case "shown":
			if m.Bytes > 0 {
				return terminal.Typed{Shown: m.Bytes}, nil
			}
		case "write":
			return terminal.Typed{Wish: &terminal.Wish{Typed: m.TypedName}}, nil
		case "read-only":
			return terminal.Typed{Wish: &terminal.Wish{ReadOnly: true}}, nil
		}
	}
}
