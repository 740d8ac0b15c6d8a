package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"baton/control/engine"
	"baton/control/executor"
	"baton/platform/auth"
)

// StoreUserList are the accounts of an event store.
type StoreUserList struct {
	Secure bool        `json:"secure" doc:"false: the event store keeps no accounts and lets everybody do everything"`
	Users  []StoreUser `json:"users" doc:"by name"`
	Own    string      `json:"own" doc:"the account Baton signs in with; empty: none"`
}

// StoreUser is an account of an event store, which its clients sign in with.
type StoreUser struct {
	Login    string     `json:"login"`
	FullName string     `json:"fullName"`
	Groups   []string   `json:"groups"`
	Disabled bool       `json:"disabled"`
	Created  *time.Time `json:"created" doc:"null where Baton may not read it"`
	Updated  time.Time  `json:"updated"`
}

// StoreUserRequest makes an account.
type StoreUserRequest struct {
	Login    string   `json:"login" minLength:"1" maxLength:"256"`
	FullName string   `json:"fullName,omitempty" maxLength:"256"`
	Groups   []string `json:"groups,omitempty" maxItems:"32"`
	Password string   `json:"password,omitempty" maxLength:"1024" doc:"missing: one is made, and is in the answer only"`
	Reason   string   `json:"reason,omitempty" maxLength:"1000"`
}

// StoreUserChange changes an account; what is missing stays.
type StoreUserChange struct {
	FullName *string   `json:"fullName,omitempty" maxLength:"256"`
	Groups   *[]string `json:"groups,omitempty" maxItems:"32"`
	Disabled *bool     `json:"disabled,omitempty"`
	Reason   string    `json:"reason,omitempty" maxLength:"1000"`
}

// StoreUserPassword sets an account's password.
type StoreUserPassword struct {
	Password string `json:"password,omitempty" maxLength:"1024" doc:"missing: one is made, and is in the answer only"`
	Reason   string `json:"reason,omitempty" maxLength:"1000"`
}

// StoreUserDeletion deletes an account.
type StoreUserDeletion struct {
	TypedName string `json:"typedName" maxLength:"256"`
	Reason    string `json:"reason,omitempty" maxLength:"1000"`
}

// StoreUserSecret is what was done, with the password where Baton made one.
type StoreUserSecret struct {
	Login    string `json:"login"`
	Password string `json:"password" doc:"shown once; empty when it was given"`
	Sentence string `json:"sentence"`
}

type storeUserInput[T any] struct {
	ID    string `path:"id" maxLength:"63"`
	Login string `path:"login" maxLength:"256"`
	Body  T
}

// storeAdmins is the event store's group whose members may do everything.
const storeAdmins = "$admins"

func (s *Server) storeUserRoutes() {
	add(s, "store-users", "GET", "/clusters/{id}/store-users", "Accounts of an event store", s.getStoreUsers)
	add(s, "create-store-user", "POST", "/clusters/{id}/store-users", "Make an account of an event store", s.postStoreUser)
	add(s, "change-store-user", "PUT", "/clusters/{id}/store-users/{login}", "Change an account's name, groups, or whether it may sign in", s.putStoreUser)
	add(s, "reset-store-user", "POST", "/clusters/{id}/store-users/{login}/password", "Give an account another password", s.postStoreUserPassword)
	add(s, "delete-store-user", "POST", "/clusters/{id}/store-users/{login}/delete", "Delete an account of an event store", s.postStoreUserDelete)
}

func (s *Server) getStoreUsers(ctx context.Context, in *clusterInput) (*body[StoreUserList], error) {
	out, err := s.storeUsers(ctx, in.ID)
	return &body[StoreUserList]{out}, err
}

func (s *Server) storeUsers(ctx context.Context, cluster string) (StoreUserList, error) {
	out := StoreUserList{Secure: true, Users: []StoreUser{}}
	out.Own, _ = s.Executor.StoreLoginOf(cluster)
	var list []engine.AccountInfo
	err := s.readStore(ctx, cluster, "users", &list, engine.Action{Name: engine.ListAccounts})
	var p *Problem
	switch {
	case errors.As(err, &p) && p.Code == CodeNotOffered:
		out.Secure = false
		return out, nil
	case err != nil:
		return out, err
	}
	for _, u := range list {
		out.Users = append(out.Users, StoreUser(u))
	}
	return out, nil
}

// storeUser is one account.
func (s *Server) storeUser(ctx context.Context, cluster, login string) (StoreUser, error) {
	list, err := s.storeUsers(ctx, cluster)
	if err != nil {
		return StoreUser{}, err
	}
	for _, u := range list.Users {
		if u.Login == login {
			return u, nil
		}
	}
	if !list.Secure {
		return StoreUser{}, &Problem{Title: "The event store keeps no accounts", Status: 409, Code: CodeNotOffered, Detail: "it runs without security", Fix: "start its nodes without --insecure"}
	}
	return StoreUser{}, &Problem{Title: "No such account", Status: 404, Code: CodeNotFound, Detail: "the event store has no account " + printable(login), Fix: "baton store-users " + cluster + " lists them"}
}

// groupsText names groups in sentences.
func groupsText(groups []string) string {
	if len(groups) == 0 {
		return "no group"
	}
	return printable(strings.Join(groups, ", "))
}

func badLogin(login string) *Problem {
	if login != strings.TrimSpace(login) || strings.ContainsAny(login, ":\x00\r\n") {
		return &Problem{Title: "The name cannot be used", Status: 422, Code: CodeBadRequest, Detail: "a name with a colon, a line break, or spaces around it cannot sign in", Fix: "choose another name"}
	}
	return nil
}

// password is the one that was given, or a new one with what is shown of it.
func passwordOr(given string) (password, shown string) {
	if given != "" {
		return given, ""
	}
	p := auth.NewSecret()
	return p, p
}

func (s *Server) postStoreUser(ctx context.Context, in *clusterBody[StoreUserRequest]) (*status[StoreUserSecret], error) {
	what := "tried to make account " + printable(in.Body.Login) + " of the event store"
	if p := badLogin(in.Body.Login); p != nil {
		return nil, s.refuse(ctx, in.ID, "", what, p)
	}
	b, err := json.Marshal(engine.AccountInfo{Login: in.Body.Login, FullName: in.Body.FullName, Groups: in.Body.Groups})
	if err != nil {
		return nil, err
	}
	password, shown := passwordOr(in.Body.Password)
	if _, err := s.askStream(ctx, in.ID, engine.CreateAccount, map[string]string{"account": string(b), "password": password}); err != nil {
		return nil, s.refuse(ctx, in.ID, "", what, err)
	}
	s.changedStore(ctx, in.ID, "store-user", "made account "+printable(in.Body.Login)+" of the event store, in "+groupsText(in.Body.Groups), in.Body.Reason)
	return &status[StoreUserSecret]{http.StatusCreated, StoreUserSecret{in.Body.Login, shown, "Account " + in.Body.Login + " may sign in"}}, nil
}

func (s *Server) putStoreUser(ctx context.Context, in *storeUserInput[StoreUserChange]) (*body[StoreUser], error) {
	what := "tried to change account " + printable(in.Login) + " of the event store"
	u, err := s.storeUser(ctx, in.ID, in.Login)
	switch {
	case err == nil && in.Body.Disabled != nil && *in.Body.Disabled:
		err = s.notOwn(in.ID, in.Login, "disabled")
	case err == nil && in.Body.Groups != nil && !slices.Contains(*in.Body.Groups, storeAdmins):
		err = s.notOwn(in.ID, in.Login, "no member of "+storeAdmins)
	}
	var said []string
	if err == nil && (in.Body.FullName != nil || in.Body.Groups != nil) {
		lay(&u.FullName, in.Body.FullName)
		lay(&u.Groups, in.Body.Groups)
		u.Groups = slices.Clone(u.Groups)
		said = append(said, "in "+groupsText(u.Groups))
		var b []byte
		if b, err = json.Marshal(engine.AccountInfo{Login: in.Login, FullName: u.FullName, Groups: u.Groups}); err == nil {
			_, err = s.askStream(ctx, in.ID, engine.UpdateAccount, map[string]string{"account": string(b)})
		}
	}
	if err == nil && in.Body.Disabled != nil && *in.Body.Disabled != u.Disabled {
		enabled, word := "true", "enabled"
		if *in.Body.Disabled {
			enabled, word = "false", "disabled"
		}
		said = append(said, word)
		_, err = s.askStream(ctx, in.ID, engine.EnableAccount, map[string]string{"login": in.Login, "enabled": enabled})
		u.Disabled = *in.Body.Disabled
	}
	if err != nil {
		return nil, s.refuse(ctx, in.ID, "", what, err)
	}
	if len(said) == 0 {
		said = []string{"nothing"}
	}
	s.changedStore(ctx, in.ID, "store-user", "changed account "+printable(in.Login)+" of the event store: "+strings.Join(said, "; "), in.Body.Reason)
	if u.Groups == nil {
		u.Groups = []string{}
	}
	return &body[StoreUser]{u}, nil
}

// notOwn refuses what would shut Baton itself out.
func (s *Server) notOwn(cluster, login, what string) error {
	if user, kept := s.Executor.StoreLoginOf(cluster); kept && user == login {
		return &Problem{Title: "Baton signs in with this account", Status: 409, Code: CodeRefused, Detail: "were it " + what + ", nobody would watch the cluster any more", Fix: "give Baton another login first: baton store-login " + cluster + " --user NAME"}
	}
	return nil
}

func (s *Server) postStoreUserPassword(ctx context.Context, in *storeUserInput[StoreUserPassword]) (*body[StoreUserSecret], error) {
	what := "tried to give account " + printable(in.Login) + " of the event store another password"
	password, shown := passwordOr(in.Body.Password)
	if _, err := s.askStream(ctx, in.ID, engine.ResetAccount, map[string]string{"login": in.Login, "password": password}); err != nil {
		return nil, s.refuse(ctx, in.ID, "", what, err)
	}
	sentence := "Account " + in.Login + " has another password; the one before is void at once"
	if user, kept := s.Executor.StoreLoginOf(in.ID); kept && user == in.Login {
		sentence += "; Baton signs in with the new one"
		if err := s.followPassword(ctx, in.ID, executor.StoreLogin{User: in.Login, Password: password}); err != nil {
			s.Log.Error("the new password of Baton's own account is not kept", "cluster", in.ID, "err", err)
			sentence = "Account " + in.Login + " has another password, and Baton could not keep it: give Baton its login again, with this password"
			shown = password
		}
	}
	s.changedStore(ctx, in.ID, "store-user", "gave account "+printable(in.Login)+" of the event store another password", in.Body.Reason)
	return &body[StoreUserSecret]{StoreUserSecret{in.Login, shown, sentence}}, nil
}

// Waits for nodes that follow to have the new password too.
const (
	passwordWait  = 5 * time.Second
	passwordAgain = 100 * time.Millisecond
)

// followPassword has Baton sign in with the password its own account has now.
func (s *Server) followPassword(ctx context.Context, cluster string, l executor.StoreLogin) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), passwordWait)
	defer cancel()
	tick := time.NewTicker(passwordAgain)
	defer tick.Stop()
	for {
		_, err := s.Executor.SetStoreLogin(ctx, cluster, l, who(ctx).Who)
		var ask *executor.AskError
		if err == nil || !errors.As(err, &ask) || ask.Code != engine.CodeAuth {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}

func (s *Server) postStoreUserDelete(ctx context.Context, in *storeUserInput[StoreUserDeletion]) (*body[Done], error) {
	what := "tried to delete account " + printable(in.Login) + " of the event store"
	if in.Body.TypedName != in.Login {
		return nil, s.refuse(ctx, in.ID, "", what, wrongName("the account's name"))
	}
	err := s.notOwn(in.ID, in.Login, "deleted")
	if err == nil {
		_, err = s.askStream(ctx, in.ID, engine.DeleteAccount, map[string]string{"login": in.Login})
	}
	if err != nil {
		return nil, s.refuse(ctx, in.ID, "", what, err)
	}
	s.changedStore(ctx, in.ID, "store-user", "deleted account "+printable(in.Login)+" of the event store", in.Body.Reason)
	return &body[Done]{Done{"Account " + in.Login + " is deleted; its clients are let in no more"}}, nil
}
