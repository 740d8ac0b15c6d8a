package api

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"baton/control/agent"
	"baton/control/audit"
	"baton/control/engine"
	"baton/control/executor"
	"baton/control/health"
	"baton/control/inventory"
)

// Codes of what an event store cannot be asked as things are.
const (
	// CodeStoreLogin: the event store asks for a login that Baton does not have.
	CodeStoreLogin = "store-login"
	// CodeNotOffered: the event store was started without what was asked for.
	CodeNotOffered = "not-offered"
)

// StoreLogin is as whom Baton signs in to an event store. The password is never
// shown.
type StoreLogin struct {
	Kept     bool     `json:"kept" doc:"Baton has a login"`
	User     string   `json:"user"`
	Refused  []string `json:"refused" doc:"nodes that ask for a login, or for another one, at this moment"`
	Missed   []string `json:"missed" doc:"after a change: nodes whose agents were not told yet"`
	Sentence string   `json:"sentence"`
}

// StoreLoginRequest gives Baton a login.
type StoreLoginRequest struct {
	User     string `json:"user" minLength:"1" maxLength:"256"`
	Password string `json:"password" minLength:"1" maxLength:"1024"`
	CA       string `json:"ca,omitempty" maxLength:"65536" doc:"certificate authority of the nodes, PEM; missing: what the agents have stays"`
}

func (s *Server) storeLoginRoutes() {
	add(s, "store-login", "GET", "/clusters/{id}/store-login", "As whom Baton signs in to an event store", s.getStoreLogin)
	add(s, "set-store-login", "PUT", "/clusters/{id}/store-login", "Give Baton a login for an event store; it is tried, and kept sealed", s.putStoreLogin)
	add(s, "drop-store-login", "DELETE", "/clusters/{id}/store-login", "Take Baton's login for an event store away", s.deleteStoreLogin)
}

// eventStore returns the cluster, which must be an event store.
func (s *Server) eventStore(cluster string) (inventory.Cluster, error) {
	c, ok := s.Inventory.Cluster(cluster)
	if !ok {
		return c, notFoundCluster(cluster)
	}
	if c.Engine != engine.EventStore {
		return c, &Problem{Title: "This cluster is no event store", Status: 409, Code: CodeBadRequest, Detail: "its engine is " + c.Engine, Fix: "look at an event store"}
	}
	return c, nil
}

// askingForLogin are the nodes that answer, but not without a login.
func askingForLogin(snap *health.Snapshot) []string {
	out := []string{}
	for i := range snap.Nodes {
		if n := &snap.Nodes[i]; n.Seen != nil && n.Seen.State == engine.StateNoLogin {
			out = append(out, n.Name)
		}
	}
	return out
}

// noLogin is the refusal when an event store asks for a login.
func (s *Server) noLogin(cluster, node string) *Problem {
	p := &Problem{Title: "The event store asks for a login", Status: 409, Code: CodeStoreLogin, Detail: node + " answers nobody without one, and Baton has none",
		Fix: "an admin gives Baton one on the cluster's page Users, or with baton store-login " + cluster + " --user NAME"}
	if user, kept := s.Executor.StoreLoginOf(cluster); kept {
		p.Title, p.Detail = "The event store refuses Baton's login", fmt.Sprintf("%s does not take the password that is kept for user %q", node, user)
	}
	return p
}

func (s *Server) storeLogin(cluster string) StoreLogin {
	snap, _ := s.Monitor.Snapshot(cluster)
	v := StoreLogin{Refused: askingForLogin(&snap), Missed: []string{}}
	v.User, v.Kept = s.Executor.StoreLoginOf(cluster)
	switch {
	case v.Kept && len(v.Refused) == 0:
		v.Sentence = "Baton signs in as " + v.User
	case v.Kept:
		v.Sentence = "Baton signs in as " + v.User + ", which " + strings.Join(v.Refused, ", ") + " did not take at the last look"
	case len(v.Refused) > 0:
		v.Sentence = strings.Join(v.Refused, ", ") + " ask for a login, and Baton has none"
	default:
		v.User, v.Sentence = "", "Baton signs in without a login"
	}
	return v
}

func (s *Server) getStoreLogin(_ context.Context, in *clusterInput) (*body[StoreLogin], error) {
	if _, err := s.eventStore(in.ID); err != nil {
		return nil, err
	}
	return &body[StoreLogin]{s.storeLogin(in.ID)}, nil
}

func (s *Server) putStoreLogin(ctx context.Context, in *clusterBody[StoreLoginRequest]) (*body[StoreLogin], error) {
	what := "tried to give Baton a login for the event store: user " + printable(in.Body.User)
	if _, err := s.eventStore(in.ID); err != nil {
		return nil, s.refuse(ctx, in.ID, "", what, err)
	}
	switch {
	case strings.ContainsAny(in.Body.User+in.Body.Password, "\x00\r\n") || strings.Contains(in.Body.User, ":"):
		return nil, s.refuse(ctx, in.ID, "", what, &Problem{Title: "The login cannot be used", Status: 422, Code: CodeBadRequest, Detail: "a line break, NUL, or a colon in the name cannot be sent to a server", Fix: "choose another account"})
	case in.Body.CA != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(in.Body.CA)):
		return nil, s.refuse(ctx, in.ID, "", what, &Problem{Title: "There is no certificate in the authority's text", Status: 422, Code: CodeBadRequest, Detail: "it is not PEM, or holds no certificate", Fix: "paste the file ca.crt of the event store whole"})
	}
	missed, err := s.Executor.SetStoreLogin(ctx, in.ID, executor.StoreLogin{User: in.Body.User, Password: in.Body.Password, CA: in.Body.CA}, who(ctx).Who)
	if err != nil {
		return nil, s.refuse(ctx, in.ID, "", what, s.loginProblem(in.Body.User, err))
	}
	*who(ctx).recorded = true
	v := s.storeLogin(in.ID)
	v.Sentence, v.Refused, v.Missed = "Baton signs in as "+v.User+" from now on", []string{}, append(v.Missed, missed...) // what was seen before does not count
	return &body[StoreLogin]{v}, nil
}

// loginProblem says why a login was not kept.
func (s *Server) loginProblem(user string, err error) error {
	var ask *executor.AskError
	switch {
	case errors.As(err, &ask) && ask.Code == engine.CodeAuth:
		return &Problem{Title: "The event store refuses this login", Status: 422, Code: CodeWrongLogin, Detail: fmt.Sprintf("%s does not take the password for user %q; nothing was kept", ask.Node, user), Fix: "check name and password; the account must be enabled"}
	case errors.As(err, &ask):
		return &Problem{Title: "The login could not be tried", Status: 502, Code: CodeUnreachable, Detail: ask.Error() + "; nothing was kept", Fix: "check that the node runs, and the authority of its certificate", Retry: true}
	case errors.Is(err, agent.ErrNotConnected), errors.Is(err, agent.ErrOutcomeUnknown):
		return &Problem{Title: "The login could not be tried", Status: 503, Code: CodeUnavailable, Detail: "no agent beside the nodes answers; nothing was kept", Fix: "start the agents", Retry: true}
	}
	return lifeProblem(err)
}

func (s *Server) deleteStoreLogin(ctx context.Context, in *clusterInput) (*body[StoreLogin], error) {
	what := "tried to take Baton's login for the event store away"
	if _, err := s.eventStore(in.ID); err != nil {
		return nil, s.refuse(ctx, in.ID, "", what, err)
	}
	if _, kept := s.Executor.StoreLoginOf(in.ID); !kept {
		return nil, s.refuse(ctx, in.ID, "", what, &Problem{Title: "There is no login", Status: 409, Code: CodeRefused, Detail: "Baton keeps none for this cluster", Fix: "nothing is to be done"})
	}
	missed, err := s.Executor.DropStoreLogin(ctx, in.ID, who(ctx).Who)
	if err != nil {
		return nil, s.refuse(ctx, in.ID, "", what, lifeProblem(err))
	}
	*who(ctx).recorded = true
	v := s.storeLogin(in.ID)
	v.Sentence, v.Missed = "Baton has no login for this event store any more", append(v.Missed, missed...)
	return &body[StoreLogin]{v}, nil
}

// changedStore records what was done to an event store.
func (s *Server) changedStore(ctx context.Context, cluster, kind, what, reason string) {
	s.record(ctx, audit.Record{Cluster: cluster, Kind: kind, What: what, Outcome: audit.Done, Detail: reason})
}
