package rpc

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"baton/eventstore/users"
	userspb "baton/gen/eventstore/users"
)

// usersService manages accounts. Who may call what stands in methodNeeds, but for Details and ChangePassword: those are also the account's own.
type usersService struct {
	userspb.UnimplementedUsersServer
	*Server
}

const (
	keyLoginName = "login-name"

	exceptionUserNotFound = "user-not-found"
	exceptionUserConflict = "user-conflict"
)

// userError is what went wrong with one account.
type userError struct {
	login string
	err   error
}

func (e *userError) Error() string { return e.err.Error() }

func (e *userError) Unwrap() error { return e.err }

// about says which account an error is about.
func about(login string, err error) error {
	if err == nil {
		return nil
	}
	return &userError{login, err}
}

// describeUsers is the part of describe for accounts and credentials; nil for other errors.
func describeUsers(err error) (*status.Status, metadata.MD) {
	var (
		who     *userError
		invalid *users.InvalidError
		login   string
	)
	if errors.As(err, &who) {
		login = trailerText(who.login)
	}
	switch {
	case errors.Is(err, users.ErrNotFound):
		return status.New(codes.NotFound, err.Error()), metadata.Pairs(keyException, exceptionUserNotFound, keyLoginName, login)
	case errors.Is(err, users.ErrLastAdmin):
		return status.New(codes.FailedPrecondition, err.Error()), nil
	case errors.Is(err, users.ErrExists):
		return status.New(codes.FailedPrecondition, err.Error()), metadata.Pairs(keyException, exceptionUserConflict, keyLoginName, login)
	case errors.Is(err, users.ErrTryAgain):
		return status.New(codes.DeadlineExceeded, err.Error()), metadata.Pairs(keyException, exceptionUserConflict, keyLoginName, login)
	case errors.Is(err, users.ErrWrong), errors.Is(err, users.ErrTooMany):
		return status.New(codes.Unauthenticated, err.Error()), nil
	case errors.Is(err, users.ErrNotReady):
		return status.New(codes.Unavailable, err.Error()), metadata.Pairs(keyPushback, "-1")
	case errors.Is(err, users.ErrBusy):
		return status.New(codes.Unavailable, err.Error()), nil
	case errors.As(err, &invalid):
		return status.New(codes.InvalidArgument, err.Error()), nil
	case errors.Is(err, errNoUsers):
		return status.New(codes.FailedPrecondition, err.Error()), nil
	}
	return nil, nil
}

// errNoUsers: an insecure node has no accounts.
var errNoUsers = errors.New("this node is insecure and keeps no users: start it without --insecure")

// store returns the accounts.
func (s usersService) store() (*users.Store, error) {
	if s.access.users == nil {
		return nil, errNoUsers
	}
	return s.access.users, nil
}

// carry runs one change of an account.
func carry[Answer any](s usersService, ctx context.Context, login string, change func(*users.Store) error) (*Answer, error) {
	store, err := s.store()
	if err == nil {
		err = about(login, change(store))
	}
	if err != nil {
		return nil, s.fail(ctx, err)
	}
	s.logger.Info("a user was changed", "user", login, "by", callerOf(ctx).Name)
	return new(Answer), nil
}

// Create makes an account.
func (s usersService) Create(ctx context.Context, req *userspb.CreateReq) (*userspb.CreateResp, error) {
	o := req.GetOptions()
	return carry[userspb.CreateResp](s, ctx, o.GetLoginName(), func(u *users.Store) error {
		return u.Create(ctx, o.GetLoginName(), o.GetFullName(), o.GetGroups(), o.GetPassword())
	})
}

// Update changes full name and groups; a password in it is ignored, as clients expect.
func (s usersService) Update(ctx context.Context, req *userspb.UpdateReq) (*userspb.UpdateResp, error) {
	o := req.GetOptions()
	return carry[userspb.UpdateResp](s, ctx, o.GetLoginName(), func(u *users.Store) error {
		return u.Update(ctx, o.GetLoginName(), o.GetFullName(), o.GetGroups())
	})
}

// Delete removes an account.
func (s usersService) Delete(ctx context.Context, req *userspb.DeleteReq) (*userspb.DeleteResp, error) {
	login := req.GetOptions().GetLoginName()
	return carry[userspb.DeleteResp](s, ctx, login, func(u *users.Store) error { return u.Delete(ctx, login) })
}

// Enable lets an account sign in again.
func (s usersService) Enable(ctx context.Context, req *userspb.EnableReq) (*userspb.EnableResp, error) {
	login := req.GetOptions().GetLoginName()
	return carry[userspb.EnableResp](s, ctx, login, func(u *users.Store) error { return u.SetDisabled(ctx, login, false) })
}

// Disable keeps an account from signing in.
func (s usersService) Disable(ctx context.Context, req *userspb.DisableReq) (*userspb.DisableResp, error) {
	login := req.GetOptions().GetLoginName()
	return carry[userspb.DisableResp](s, ctx, login, func(u *users.Store) error { return u.SetDisabled(ctx, login, true) })
}

// ResetPassword sets a password whatever it was.
func (s usersService) ResetPassword(ctx context.Context, req *userspb.ResetPasswordReq) (*userspb.ResetPasswordResp, error) {
	o := req.GetOptions()
	return carry[userspb.ResetPasswordResp](s, ctx, o.GetLoginName(), func(u *users.Store) error {
		return u.ResetPassword(ctx, o.GetLoginName(), o.GetNewPassword())
	})
}

// ChangePassword sets the caller's own password.
func (s usersService) ChangePassword(ctx context.Context, req *userspb.ChangePasswordReq) (*userspb.ChangePasswordResp, error) {
	o := req.GetOptions()
	if err := s.ownOrAdmin(ctx, o.GetLoginName()); err != nil {
		return nil, s.fail(ctx, err)
	}
	return carry[userspb.ChangePasswordResp](s, ctx, o.GetLoginName(), func(u *users.Store) error {
		p, _ := peer.FromContext(ctx)
		err := u.ChangePassword(ctx, o.GetLoginName(), o.GetCurrentPassword(), o.GetNewPassword(), addressOf(p)())
		if errors.Is(err, users.ErrWrong) { // the caller is known, the present password is not right
			err = fmt.Errorf("%w: the current password is wrong", errAccessDenied)
		}
		return err
	})
}

// Details sends one account, or without a name all of them.
func (s usersService) Details(req *userspb.DetailsReq, ss grpc.ServerStreamingServer[userspb.DetailsResp]) error {
	ctx, login := ss.Context(), req.GetOptions().GetLoginName()
	return s.fail(ctx, s.details(ctx, login, ss))
}

func (s usersService) details(ctx context.Context, login string, ss grpc.ServerStreamingServer[userspb.DetailsResp]) error {
	if err := s.ownOrAdmin(ctx, login); err != nil {
		return err
	}
	store, err := s.store()
	if err != nil {
		return err
	}
	send := func(d users.Details) error {
		return ss.Send(&userspb.DetailsResp{UserDetails: &userspb.DetailsResp_UserDetails{
			LoginName: d.Login, FullName: d.FullName, Groups: d.Groups, Disabled: d.Disabled,
			LastUpdated: &userspb.DetailsResp_UserDetails_DateTime{TicksSinceEpoch: d.Updated}}})
	}
	if login == "" {
		return store.List(ctx, send)
	}
	d, err := store.Details(login)
	if err != nil {
		return about(login, err)
	}
	return send(d)
}

// ownOrAdmin lets administrators through, and whoever asks about the own account.
func (s usersService) ownOrAdmin(ctx context.Context, login string) error {
	if c := callerOf(ctx); s.access.secure && !c.IsAdmin() && (c.Anonymous() || c.Name != login) {
		return errAccessDenied
	}
	return nil
}
