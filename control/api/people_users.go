package api

import (
	"context"
	"errors"
	"net/http"
	"sort"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"baton/control/audit"
	"baton/control/inventory"
	"baton/control/people"
	"baton/platform/auth"
)

// Person is a user as others see it.
type Person struct {
	Name      string     `json:"name"`
	Role      string     `json:"role" enum:"viewer,auditor,operator,approver,admin"`
	Disabled  bool       `json:"disabled"`
	Invited   bool       `json:"invited" doc:"a set-password link is open"`
	Pending   bool       `json:"pending" doc:"no password was set yet"`
	CreatedAt time.Time  `json:"createdAt"`
	LastSeen  *time.Time `json:"lastSeen" doc:"the last recorded action; null when there is none"`
	You       bool       `json:"you"`
}

// PersonList is the answer of GET /users, sorted by name.
type PersonList struct {
	Users []Person `json:"users"`
}

// Invitation is a one-use link with which a user sets the password.
type Invitation struct {
	User      Person    `json:"user"`
	SetupLink string    `json:"setupLink" doc:"works once; give it to that person only"`
	ExpiresAt time.Time `json:"expiresAt"`
}

// NewPerson makes a user.
type NewPerson struct {
	Name string `json:"name" minLength:"1" maxLength:"63"`
	Role string `json:"role" enum:"viewer,auditor,operator,approver,admin"`
}

// PersonChange changes a user; what is left out stays.
type PersonChange struct {
	Role     *string `json:"role,omitempty" enum:"viewer,auditor,operator,approver,admin"`
	Disabled *bool   `json:"disabled,omitempty"`
}

// PasswordChange changes one's own password.
type PasswordChange struct {
	Old string `json:"old" minLength:"1" maxLength:"1024"`
	New string `json:"new" minLength:"1" maxLength:"1024"`
}

// LinkUse sets a password with a one-use link.
type LinkUse struct {
	Token    string `json:"token" minLength:"1" maxLength:"256"`
	Password string `json:"password" minLength:"1" maxLength:"1024"`
}

// Token is an API token, without its secret.
type Token struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Owner     string     `json:"owner" doc:"the user it acts for; empty for the command line's"`
	Role      string     `json:"role"`
	CreatedAt time.Time  `json:"createdAt"`
	ExpiresAt time.Time  `json:"expiresAt"`
	Expired   bool       `json:"expired"`
	LastSeen  *time.Time `json:"lastSeen" doc:"last use since this control node started"`
}

// TokenList is the answer of GET /tokens: one's own, for an admin all.
type TokenList struct {
	Tokens []Token `json:"tokens"`
}

// NewToken asks for an API token of one's own.
type NewToken struct {
	Name string `json:"name" minLength:"1" maxLength:"63"`
	Role string `json:"role" enum:"viewer,auditor,operator,approver,admin" doc:"at most what you may yourself"`
	Days int    `json:"days,omitempty" minimum:"1" maximum:"366" default:"90"`
}

// TokenCreated carries the secret, once.
type TokenCreated struct {
	Token  Token  `json:"token"`
	Secret string `json:"secret" doc:"shown once; kept only as a hash"`
}

type (
	nameInput struct {
		Name string `path:"name" maxLength:"63"`
	}
	newPersonInput struct{ Body NewPerson }
	personInput    struct {
		Name string `path:"name" maxLength:"63"`
		Body PersonChange
	}
	passwordInput struct{ Body PasswordChange }
	linkInput     struct{ Body LinkUse }
	newTokenInput struct{ Body NewToken }
	tokenInput    struct {
		ID string `path:"id" maxLength:"63"`
	}
)

func (s *Server) peopleRoutes() {
	add(s, "users", "GET", "/users", "Who may sign in", s.getUsers)
	add(s, "user-create", "POST", "/users", "Make a user and a one-use link that sets the password", s.postUser)
	add(s, "user-change", "PUT", "/users/{name}", "Change a user's role, disable or enable", s.putUser)
	add(s, "user-link", "POST", "/users/{name}/password", "Make a new one-use link that sets the password", s.postUserLink)
	add(s, "user-delete", "DELETE", "/users/{name}", "Delete a user", s.deleteUser)
	add(s, "set-password", "POST", "/set-password", "Set the password with a one-use link, and sign in", s.postSetPassword)
	add(s, "own-password", "POST", "/me/password", "Change your own password; all other sessions end", s.postOwnPassword)
	add(s, "tokens", "GET", "/tokens", "API tokens", s.getTokens)
	add(s, "token-create", "POST", "/tokens", "Make an API token of your own", s.postToken)
	add(s, "token-delete", "DELETE", "/tokens/{id}", "End an API token", s.deleteToken)
}

func (s *Server) personView(u *people.User, you string) Person {
	p := Person{Name: u.Name, Role: u.Role, Disabled: u.Disabled, Invited: u.Link != "" && s.Now().Before(u.LinkUntil), Pending: u.Password == "", CreatedAt: u.Created, You: u.Name == you}
	if s.Trail != nil {
		if at := s.Trail.LastSeen(u.Name); !at.Before(u.Created) {
			p.LastSeen = ptr(at)
		}
	}
	return p
}

func (s *Server) getUsers(ctx context.Context, _ *none) (*body[PersonList], error) {
	if s.People == nil {
		return nil, missing("users")
	}
	out := PersonList{Users: []Person{}}
	for _, u := range s.People.Users() {
		out.Users = append(out.Users, s.personView(&u, who(ctx).Name))
	}
	return &body[PersonList]{out}, nil
}

// peopleProblem translates a refusal of package people and records it.
func (s *Server) peopleProblem(ctx context.Context, what string, err error) error {
	p := &Problem{Title: "Not done", Status: 409, Code: CodeRefused, Detail: err.Error()}
	switch {
	case errors.Is(err, people.ErrUnknown):
		p.Title, p.Status, p.Code, p.Fix = "No such user or token", 404, CodeNotFound, "baton users and baton tokens list them"
	case errors.Is(err, people.ErrExists):
		p.Title, p.Fix = "The name is taken", "choose another name"
	case errors.Is(err, inventory.ErrName):
		p.Title, p.Status, p.Code, p.Fix = "The name is not valid", 422, CodeBadRequest, "choose a name of lower-case letters, digits and dashes"
	case errors.Is(err, people.ErrLastAdmin):
		p.Title, p.Code, p.Fix = "The last administrator stays", CodeLastAdmin, "make somebody else an administrator first"
	case errors.Is(err, people.ErrLink):
		p.Title, p.Status, p.Code, p.Fix = "The link is not valid", 403, CodeSetupToken, "ask an administrator for a new link"
	case errors.Is(err, people.ErrExpiry):
		p.Title, p.Status, p.Code, p.Fix = "The lifetime is not valid", 422, CodeBadRequest, "choose 1 to 366 days"
	case errors.Is(err, people.ErrFull):
		p.Title, p.Fix = "There are too many", "delete some first"
	default:
		return s.internal(ctx, "change who may sign in", err)
	}
	return s.refuseAs(ctx, "people", what, p)
}

// didPeople records a change of people.
func (s *Server) didPeople(ctx context.Context, what string) {
	s.record(ctx, audit.Record{Cluster: audit.System, What: what, Outcome: audit.Done, Kind: "people"})
}

// link is where a one-use secret is used. It stands behind "#", so that it is
// never in a request line or a log.
func (s *Server) link(secret, name string) string {
	base := ""
	if s.URL != nil {
		base = s.URL()
	}
	return base + "/set-password#token=" + secret + "&user=" + name
}

func (s *Server) invitation(ctx context.Context, name, secret string) Invitation {
	u, _ := s.People.User(name)
	return Invitation{User: s.personView(&u, who(ctx).Name), SetupLink: s.link(secret, name), ExpiresAt: u.LinkUntil}
}

func (s *Server) postUser(ctx context.Context, in *newPersonInput) (*status[Invitation], error) {
	if s.People == nil {
		return nil, missing("users")
	}
	name := printable(in.Body.Name)
	if reserved[in.Body.Name] {
		return nil, s.refuseAs(ctx, "people", "tried to make user "+name, &Problem{Title: "The name is not valid", Status: 422, Code: CodeBadRequest,
			Detail: "the control plane itself acts under this name", Fix: "choose another name"})
	}
	secret, err := s.People.Create(ctx, in.Body.Name, in.Body.Role, who(ctx).Name)
	if err != nil {
		return nil, s.peopleProblem(ctx, "tried to make user "+name, err)
	}
	s.didPeople(ctx, "made user "+name+", "+in.Body.Role)
	return &status[Invitation]{http.StatusCreated, s.invitation(ctx, in.Body.Name, secret)}, nil
}

// reserved are names that stand in the audit for something else than a person.
var reserved = map[string]bool{"cli": true, "baton": true, "system": true, "auto": true}

func (s *Server) putUser(ctx context.Context, in *personInput) (*body[Person], error) {
	if s.People == nil {
		return nil, missing("users")
	}
	name, role, what := printable(in.Name), "", "changed user "+printable(in.Name)
	if in.Body.Role != nil {
		role = *in.Body.Role
		what += " to " + role
	}
	if d := in.Body.Disabled; d != nil && *d {
		what += ", disabled"
	} else if d != nil {
		what += ", enabled"
	}
	if err := s.People.Change(ctx, in.Name, who(ctx).Name, role, in.Body.Disabled); err != nil {
		return nil, s.peopleProblem(ctx, "tried to change user "+name, err)
	}
	if err := s.sessions.EndAll(in.Name); err != nil { // what a session may do is fixed when it begins
		return nil, s.internal(ctx, "end the user's sessions", err)
	}
	s.didPeople(ctx, what)
	u, _ := s.People.User(in.Name)
	return &body[Person]{s.personView(&u, who(ctx).Name)}, nil
}

func (s *Server) postUserLink(ctx context.Context, in *nameInput) (*body[Invitation], error) {
	if s.People == nil {
		return nil, missing("users")
	}
	secret, err := s.People.NewLink(ctx, in.Name, who(ctx).Name)
	if err != nil {
		return nil, s.peopleProblem(ctx, "tried to make a set-password link for "+printable(in.Name), err)
	}
	s.didPeople(ctx, "made a set-password link for "+printable(in.Name))
	return &body[Invitation]{s.invitation(ctx, in.Name, secret)}, nil
}

func (s *Server) deleteUser(ctx context.Context, in *nameInput) (*body[PersonList], error) {
	if s.People == nil {
		return nil, missing("users")
	}
	if err := s.People.Remove(ctx, in.Name, who(ctx).Name); err != nil {
		return nil, s.peopleProblem(ctx, "tried to delete user "+printable(in.Name), err)
	}
	if err := s.sessions.EndAll(in.Name); err != nil {
		return nil, s.internal(ctx, "end the user's sessions", err)
	}
	s.didPeople(ctx, "deleted user "+printable(in.Name))
	return s.getUsers(ctx, nil)
}

// newHash checks and hashes a password.
func newHash(ctx context.Context, password, name string) (string, error) {
	if why := auth.CheckPassword(password, name); why != "" {
		return "", &Problem{Title: "The password is too weak", Status: 422, Code: CodeWeakPassword, Detail: why, Fix: "use a few words that do not belong together"}
	}
	hash, err := auth.HashPassword(ctx, password)
	if err != nil {
		return "", busy(err)
	}
	return hash, nil
}

func (s *Server) postSetPassword(ctx context.Context, in *linkInput) (*sessionOutput, error) {
	if s.People == nil {
		return nil, missing("users")
	}
	origin := "address " + who(ctx).IP
	if problem := s.limited(origin, s.origins); problem != nil {
		return nil, problem
	}
	u, err := s.People.ByLink(in.Body.Token)
	if err != nil {
		s.origins.Fail(origin)
		return nil, &Problem{Title: "The link is not valid", Status: 403, Code: CodeSetupToken, Detail: err.Error(), Fix: "ask an administrator for a new link"}
	}
	hash, err := newHash(ctx, in.Body.Password, u.Name)
	if err != nil {
		return nil, err
	}
	if err := s.People.UseLink(ctx, u.Name, in.Body.Token, hash); err != nil {
		return nil, s.peopleProblem(ctx, "tried to set a password", err)
	}
	if err := s.sessions.EndAll(u.Name); err != nil {
		return nil, s.internal(ctx, "end the user's sessions", err)
	}
	s.accounts.Forget("account " + u.Name)
	s.asUser(ctx, u.Name, Role(u.Role), audit.Record{What: "set the password with a one-use link", Outcome: audit.Done, Kind: "people"})
	return s.begin(ctx, u.Name, u.Role)
}

func (s *Server) postOwnPassword(ctx context.Context, in *passwordInput) (*sessionOutput, error) {
	p := who(ctx)
	if s.People == nil {
		return nil, missing("users")
	}
	if p.session == "" {
		return nil, &Problem{Title: "Not allowed", Status: 403, Code: CodeForbidden, Detail: "a token has no password", Fix: "sign in and change it there"}
	}
	account := "account " + p.Name
	if problem := s.limited(account, s.accounts); problem != nil {
		return nil, problem
	}
	u, _ := s.People.User(p.Name)
	ok, err := auth.VerifyPassword(ctx, in.Body.Old, u.Password)
	if err != nil {
		return nil, busy(err)
	}
	if !ok {
		s.accounts.Fail(account)
		return nil, s.refuseAs(ctx, "people", "tried to change the password", &Problem{Title: "The present password is wrong", Status: 403, Code: CodeWrongLogin, Detail: "what was entered is not your present password", Fix: "try again"})
	}
	hash, err := newHash(ctx, in.Body.New, p.Name)
	if err != nil {
		return nil, err
	}
	if err := s.People.SetPassword(ctx, p.Name, p.Name, hash); err != nil {
		return nil, s.peopleProblem(ctx, "tried to change the password", err)
	}
	if err := s.sessions.EndAll(p.Name); err != nil {
		return nil, s.internal(ctx, "end the other sessions", err)
	}
	s.didPeople(ctx, "changed the own password; all other sessions ended")
	return s.begin(ctx, u.Name, u.Role)
}

func (s *Server) tokenView(t *people.Token) Token {
	v := Token{ID: t.ID, Name: t.Name, Owner: t.Owner, Role: t.Role, CreatedAt: t.Created, ExpiresAt: t.Expires, Expired: !s.Now().Before(t.Expires)}
	if at, ok := s.tokenUse.Load(t.ID); ok {
		v.LastSeen = ptr(at.(time.Time))
	}
	return v
}

func (s *Server) getTokens(ctx context.Context, _ *none) (*body[TokenList], error) {
	if s.People == nil {
		return nil, missing("tokens")
	}
	p := who(ctx)
	out := TokenList{Tokens: []Token{}}
	for _, t := range s.People.Tokens() {
		if p.role == RoleAdmin || t.Owner == p.Name {
			out.Tokens = append(out.Tokens, s.tokenView(&t))
		}
	}
	sort.SliceStable(out.Tokens, func(i, j int) bool { return !out.Tokens[i].Expired && out.Tokens[j].Expired })
	return &body[TokenList]{out}, nil
}

// postToken makes a token for whoever asks. A token cannot make tokens, or it
// would outlive its own end; the command line's may, because whoever reads its
// file owns the control plane.
func (s *Server) postToken(ctx context.Context, in *newTokenInput) (*status[TokenCreated], error) {
	if s.People == nil {
		return nil, missing("tokens")
	}
	p, name := who(ctx), printable(in.Body.Name)
	what := "tried to make the API token " + name
	owner := p.Name
	switch {
	case p.token != "":
		return nil, s.refuseAs(ctx, "people", what, &Problem{Title: "Not allowed", Status: 403, Code: CodeForbidden, Detail: "an API token cannot make another", Fix: "sign in, then make it"})
	case p.session == "":
		owner = ""
	}
	if !p.role.may(Role(in.Body.Role)) {
		return nil, s.refuseAs(ctx, "people", what, &Problem{Title: "Not allowed", Status: 403, Code: CodeForbidden, Detail: "a token may do no more than its owner, and you are " + string(p.role), Fix: "choose a role that yours includes"})
	}
	days := in.Body.Days
	if days == 0 {
		days = 90
	}
	t, secret, err := s.People.CreateToken(ctx, name, owner, in.Body.Role, p.Name, s.Now().Add(time.Duration(days)*24*time.Hour))
	if err != nil {
		return nil, s.peopleProblem(ctx, what, err)
	}
	s.didPeople(ctx, "made the API token "+name+", "+in.Body.Role+", until "+t.Expires.UTC().Format("2006-01-02"))
	return &status[TokenCreated]{http.StatusCreated, TokenCreated{s.tokenView(&t), secret}}, nil
}

func (s *Server) deleteToken(ctx context.Context, in *tokenInput) (*body[TokenList], error) {
	if s.People == nil {
		return nil, missing("tokens")
	}
	p := who(ctx)
	t, ok := s.People.Token(in.ID)
	if ok && p.role != RoleAdmin && t.Owner != p.Name {
		ok = false // nobody learns which tokens others have
	}
	what := "tried to end the API token " + printable(in.ID)
	if !ok {
		return nil, s.peopleProblem(ctx, what, people.ErrUnknown)
	}
	if err := s.People.RevokeToken(ctx, in.ID, p.Name); err != nil {
		return nil, s.peopleProblem(ctx, what, err)
	}
	s.didPeople(ctx, "ended the API token "+t.Name)
	return s.getTokens(ctx, nil)
}

// byToken finds who presents an API token made by a person.
func (s *Server) byToken(secret string, p *principal) bool {
	if s.People == nil {
		return false
	}
	t, owner, ok := s.People.Present(secret)
	if !ok {
		return false
	}
	p.role = Role(t.Role)
	if owner != "" && !Role(owner).may(p.role) {
		p.role = Role(owner) // the owner may less than when it was made
	}
	p.Who.Name, p.Who.Role, p.Source, p.token = t.Owner, string(p.role), "api", t.ID
	if t.Owner == "" {
		p.Who.Name = "token " + t.Name
	}
	s.tokenUse.Store(t.ID, s.Now())
	return true
}

var _ huma.StatusError = (*Problem)(nil)
