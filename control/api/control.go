package api

import (
	"context"
	"time"

	"baton/control/audit"
	"baton/control/leader"
	"baton/platform/auth"
)

// ControlNode is one node of the control plane.
type ControlNode struct {
	Name     string `json:"name"`
	Address  string `json:"address" doc:"where agents and other control nodes reach it"`
	URL      string `json:"url" doc:"its page"`
	Version  string `json:"version"`
	Role     string `json:"role" enum:"leader,follower,unknown"`
	Up       bool   `json:"up"`
	Self     bool   `json:"self" doc:"the node that gave this answer"`
	Term     Int64  `json:"term" doc:"of its leadership; 0 for a follower"`
	LagBytes Int64  `json:"lag" doc:"bytes of the journal it has not read yet"`
}

// Quorum is how many control nodes a majority takes.
type Quorum struct {
	Needed int `json:"needed"`
	Alive  int `json:"alive"`
}

// ControlState is GET /control: what this node knows of the control plane.
type ControlState struct {
	Nodes    []ControlNode `json:"nodes"`
	Leader   string        `json:"leader" doc:"empty when none is known"`
	Term     Int64         `json:"term"`
	Quorum   Quorum        `json:"quorum"`
	Majority bool          `json:"majority" doc:"false: this node shows old data and refuses changes"`
	// StaleSeconds is how long ago this node last knew a leader; 0 while it does.
	StaleSeconds int    `json:"staleSeconds"`
	Sentence     string `json:"sentence"`
}

// ControlToken lets one more control node in.
type ControlToken struct {
	Token     string    `json:"token"`
	Command   string    `json:"command"`
	ExpiresAt time.Time `json:"expiresAt"`
}

type controlNodeInput struct {
	Name string `path:"name" maxLength:"63"`
}

// ControlPlane lets control nodes in and forgets them. The program that runs
// the control plane is one.
type ControlPlane interface {
	// AgentToken and ControlToken make a one-use token and when it ends.
	AgentToken() (token string, expires time.Time, err error)
	ControlToken() (token string, expires time.Time, err error)
	// RemoveNode takes a control node that is down out for good.
	RemoveNode(ctx context.Context, name string) error
}

func (s *Server) controlRoutes() {
	add(s, "control", "GET", "/control", "The control plane's own nodes, and who leads", s.getControl)
	add(s, "control-join-token", "POST", "/control/join-token", "A one-use token for one more control node", s.postControlToken)
	add(s, "control-remove", "DELETE", "/control/{name}", "Take a control node that is down out for good", s.deleteControlNode)
}

// recordDone puts something that was done for the whole system into the audit.
func (s *Server) recordDone(ctx context.Context, what string) {
	s.record(ctx, audit.Record{Cluster: audit.System, What: what, Outcome: audit.Done})
}

// controlState is what this node knows.
func (s *Server) controlState() ControlState {
	if s.Leadership == nil {
		return ControlState{Nodes: []ControlNode{}, Majority: true, Sentence: "One control node."}
	}
	st := s.Leadership.Status()
	out := ControlState{Nodes: []ControlNode{}, Leader: st.Leader, Term: Int64(st.Term), Quorum: Quorum{st.Needed, st.Alive}, Majority: st.Majority, Sentence: st.Sentence}
	if !st.Majority {
		out.StaleSeconds = max(1, int(s.Now().Sub(st.Contact).Seconds()))
	}
	for _, n := range st.Nodes {
		v := ControlNode{Name: n.Name, Address: n.Agents, URL: n.URL, Version: n.Version, Role: n.Role, Up: n.Up, Self: n.Self, LagBytes: Int64(n.LagBytes)}
		if n.Role == leader.RoleLeader {
			v.Term = Int64(st.Term)
		}
		out.Nodes = append(out.Nodes, v)
	}
	return out
}

func (s *Server) getControl(context.Context, *none) (*body[ControlState], error) {
	return &body[ControlState]{s.controlState()}, nil
}

func (s *Server) postControlToken(ctx context.Context, _ *none) (*status[ControlToken], error) {
	token, expires, err := s.Control.ControlToken()
	if err != nil {
		return nil, s.internal(ctx, "make a token for a control node", err)
	}
	s.recordDone(ctx, "made a join token for a control node")
	return &status[ControlToken]{201, ControlToken{Token: token, ExpiresAt: expires, Command: "baton control --name NAME --join " + token}}, nil
}

func (s *Server) deleteControlNode(ctx context.Context, in *controlNodeInput) (*body[ControlState], error) {
	name := printable(in.Name)
	for _, n := range s.controlState().Nodes {
		switch {
		case n.Name != in.Name:
			continue
		case n.Up:
			return nil, s.refuse(ctx, "", "", "tried to remove control node "+name, &Problem{Title: "The control node is up", Status: 409, Code: CodeRefused,
				Detail: name + " answers; it would go on with the others' keys", Fix: "stop it there first, then remove it here"})
		}
		if err := s.Control.RemoveNode(ctx, in.Name); err != nil {
			return nil, s.refuse(ctx, "", "", "tried to remove control node "+name, &Problem{Title: "The control node was not removed", Status: 409, Code: CodeRefused,
				Detail: err.Error(), Fix: "look at the control plane's state, then try again", Retry: true})
		}
		s.recordDone(ctx, "removed control node "+name)
		return &body[ControlState]{s.controlState()}, nil
	}
	return nil, s.refuse(ctx, "", "", "tried to remove control node "+name, &Problem{Title: "No such control node", Status: 404, Code: CodeNotFound,
		Detail: "there is no control node " + name, Fix: "baton control status lists them"})
}

// Sessions are people's sign-ins; *access.Store is one.
type Sessions interface {
	// Begin makes a session with a new id, valid on every control node.
	Begin(user, role string) (id string, session auth.Session, err error)
	// Lookup returns and prolongs a session; Alive does not prolong it.
	Lookup(id string) (auth.Session, bool)
	Alive(id string) bool
	// End ends one session, EndAll those of a user.
	End(id string) error
	EndAll(user string) error
}

// Setup is the one-use link for the first user; *access.Store is one.
type Setup interface {
	Issue(purpose string) (secret string, expires time.Time, err error)
	Valid(secret, purpose string) bool
	Redeem(secret, purpose string) error
}
