package agent

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strconv"

	"baton/control/engine"
	"baton/platform/identity"
)

// ActionStoreLogin{user,password,ca[,try]} has the order's node signed in to
// with this account from now on, also after a restart; "" and "" with none. ca
// is a certificate authority in PEM form, "" keeps the one there is. With try
// "true" it is only tried, and nothing is kept. Errors: engine.CodeAuth,
// engine.CodeUnreachable.
const ActionStoreLogin = "store-login"

// maxCABytes bounds a bundle of authorities.
const maxCABytes = 64 << 10

func storeLogin(ctx context.Context, a *Agent, o Order) (map[string]string, error) {
	w := a.find(o.Cluster, o.Node)
	if w == nil || o.Node == "" {
		return nil, &engine.ActionError{Code: CodeUnknownInstance, Detail: fmt.Sprintf("this agent has no instance %q of cluster %q", o.Node, o.Cluster)}
	}
	if w.in.Engine != engine.EventStore {
		return nil, badArg("store-login: %s is no event store", w.in.Key())
	}
	in := w.in
	in.Auth = engine.Auth{User: o.Action.Arg("user"), Password: o.Action.Arg("password"), CAFile: w.in.Auth.CAFile}
	try := o.Action.Arg("try") == "true"
	if ca := o.Action.Arg("ca"); ca != "" {
		if len(ca) > maxCABytes {
			return nil, badArg("store-login: the authority is longer than %d bytes", maxCABytes)
		}
		in.Auth.CAFile = filepath.Join(a.opt.Dir, "store-ca-"+o.Cluster+".pem")
		if try {
			in.Auth.CAFile = filepath.Join(a.opt.Dir, "store-ca-"+o.Cluster+"-tried.pem")
		}
		if err := identity.WriteFile(in.Auth.CAFile, []byte(ca), 0o600); err != nil {
			return nil, fmt.Errorf("keep the authority of cluster %s: %w", o.Cluster, err)
		}
	}
	d := a.drivers[in.Engine]
	if try {
		defer d.Forget(in)
		r, err := d.Do(ctx, in, engine.Action{Name: engine.CheckAuth, Args: map[string]string{"addr": net.JoinHostPort(in.Host, strconv.Itoa(in.Port))}})
		return r.Values, err
	}
	d.Forget(w.in) // also where only the authority's text is new
	return nil, a.putInstance(in)
}
