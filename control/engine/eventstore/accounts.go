package eventstore

import (
	"context"
	"encoding/json"
	"sort"

	"baton/control/engine"
	"baton/gen/eventstore/client"
	"baton/gen/eventstore/streams"
	"baton/gen/eventstore/users"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// maxCreatedRead bounds of how many accounts one list finds out when they were
// made: each takes a read.
const maxCreatedRead = 200

func listAccounts(ctx context.Context, n *node, _ engine.Action) (engine.Result, error) {
	list := []engine.AccountInfo{}
	insecure := false
	err := n.atLeader(ctx, "list the users", false, func(ctx context.Context, c *grpc.ClientConn, s *said, _ ...grpc.CallOption) error {
		stream, err := users.NewUsersClient(c).Details(ctx, &users.DetailsReq{Options: &users.DetailsReq_Options{}})
		list = list[:0]
		err = drain(stream, err, s, func(m *users.DetailsResp) {
			d := m.GetUserDetails()
			a := engine.AccountInfo{Login: d.GetLoginName(), FullName: d.GetFullName(), Groups: d.GetGroups(), Disabled: d.GetDisabled(), Updated: ticks(d.GetLastUpdated().GetTicksSinceEpoch())}
			if a.Groups == nil {
				a.Groups = []string{}
			}
			list = append(list, a)
		})
		insecure = status.Code(err) == codes.FailedPrecondition
		return err
	})
	if insecure {
		return engine.Result{}, &engine.ActionError{Code: engine.CodeNotOffered, Detail: "this event store runs without security and keeps no users", Err: err}
	}
	if err != nil {
		return engine.Result{}, err
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Login < list[j].Login })
	n.accountsMade(ctx, list)
	return jsonValue("users", list)
}

// accountsMade fills in when accounts were made, which the first event of each
// one's stream tells. What may not be read stays unknown.
func (n *node) accountsMade(ctx context.Context, list []engine.AccountInfo) {
	t, err := n.reader()
	if err != nil {
		return
	}
	defer t.conn.Close()
	for i := range list[:min(len(list), maxCreatedRead)] {
		a := &list[i]
		_, err := t.each(ctx, &streams.ReadReq_Options{CountOption: &streams.ReadReq_Options_Count{Count: 1}, StreamOption: &streams.ReadReq_Options_Stream{
			Stream: &streams.ReadReq_Options_StreamOptions{StreamIdentifier: &client.StreamIdentifier{StreamName: []byte("$user-" + a.Login)},
				RevisionOption: &streams.ReadReq_Options_StreamOptions_Start{Start: &client.Empty{}}}}},
			func(r *streams.ReadResp_ReadEvent) {
				if e := r.GetEvent(); e.GetMetadata()["type"] == "$UserCreated" {
					at := createdAt(e)
					a.Created = &at
				}
			})
		if err != nil {
			return
		}
	}
}

// changeAccount makes one call that changes an account.
func changeAccount(ctx context.Context, n *node, what string, f func(context.Context, users.UsersClient, ...grpc.CallOption) error) (engine.Result, error) {
	return engine.Result{}, n.atLeader(ctx, what, true, func(ctx context.Context, c *grpc.ClientConn, _ *said, opts ...grpc.CallOption) error {
		return f(ctx, users.NewUsersClient(c), opts...)
	})
}

func accountArg(a engine.Action) (x engine.AccountInfo, err error) {
	if json.Unmarshal([]byte(a.Arg("account")), &x) != nil || x.Login == "" {
		return x, bad("%s: the account does not decode", a.Name)
	}
	return x, nil
}

func loginArg(a engine.Action) (string, error) {
	if a.Arg("login") == "" {
		return "", bad("%s needs login", a.Name)
	}
	return a.Arg("login"), nil
}

func createAccount(ctx context.Context, n *node, a engine.Action) (engine.Result, error) {
	x, err := accountArg(a)
	if err != nil {
		return engine.Result{}, err
	}
	return changeAccount(ctx, n, "make the user", func(ctx context.Context, c users.UsersClient, opts ...grpc.CallOption) error {
		_, err := c.Create(ctx, &users.CreateReq{Options: &users.CreateReq_Options{LoginName: x.Login, FullName: x.FullName, Groups: x.Groups, Password: a.Arg("password")}}, opts...)
		return err
	})
}

func updateAccount(ctx context.Context, n *node, a engine.Action) (engine.Result, error) {
	x, err := accountArg(a)
	if err != nil {
		return engine.Result{}, err
	}
	return changeAccount(ctx, n, "change the user", func(ctx context.Context, c users.UsersClient, opts ...grpc.CallOption) error {
		_, err := c.Update(ctx, &users.UpdateReq{Options: &users.UpdateReq_Options{LoginName: x.Login, FullName: x.FullName, Groups: x.Groups}}, opts...)
		return err
	})
}

func enableAccount(ctx context.Context, n *node, a engine.Action) (engine.Result, error) {
	login, err := loginArg(a)
	if err != nil {
		return engine.Result{}, err
	}
	if a.Arg("enabled") == "true" {
		return changeAccount(ctx, n, "enable the user", func(ctx context.Context, c users.UsersClient, opts ...grpc.CallOption) error {
			_, err := c.Enable(ctx, &users.EnableReq{Options: &users.EnableReq_Options{LoginName: login}}, opts...)
			return err
		})
	}
	return changeAccount(ctx, n, "disable the user", func(ctx context.Context, c users.UsersClient, opts ...grpc.CallOption) error {
		_, err := c.Disable(ctx, &users.DisableReq{Options: &users.DisableReq_Options{LoginName: login}}, opts...)
		return err
	})
}

func resetAccount(ctx context.Context, n *node, a engine.Action) (engine.Result, error) {
	login, err := loginArg(a)
	if err != nil {
		return engine.Result{}, err
	}
	return changeAccount(ctx, n, "give the user another password", func(ctx context.Context, c users.UsersClient, opts ...grpc.CallOption) error {
		_, err := c.ResetPassword(ctx, &users.ResetPasswordReq{Options: &users.ResetPasswordReq_Options{LoginName: login, NewPassword: a.Arg("password")}}, opts...)
		return err
	})
}

func deleteAccount(ctx context.Context, n *node, a engine.Action) (engine.Result, error) {
	login, err := loginArg(a)
	if err != nil {
		return engine.Result{}, err
	}
	return changeAccount(ctx, n, "delete the user", func(ctx context.Context, c users.UsersClient, opts ...grpc.CallOption) error {
		_, err := c.Delete(ctx, &users.DeleteReq{Options: &users.DeleteReq_Options{LoginName: login}}, opts...)
		return err
	})
}
