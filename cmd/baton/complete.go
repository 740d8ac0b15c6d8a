package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"baton/control/api"
)

// completeTime bounds what a press of the tab key may take.
const completeTime = 3 * time.Second

// completeNames gives every command completion: of flags that take one of a few
// values, and, where it talks to a control plane, of the names in its use line.
// CLUSTER, NODE (of the cluster before it), OPERATION, ALERT, USER, TOKEN,
// WAITING and those of complete_names.go are asked of the control plane.
func completeNames(root *cobra.Command) {
	for _, cmd := range root.Commands() {
		completeNames(cmd)
	}
	completeFlags(root)
	if root.ValidArgsFunction != nil {
		return
	}
	var words []string
	for _, w := range strings.Fields(root.Use)[1:] {
		if strings.HasPrefix(w, "-") {
			break // flags that a use line names
		}
		words = append(words, strings.Trim(w, "[]."))
	}
	if root.Flags().Lookup("server") == nil && len(words) > 0 {
		return // files and directories, as the shell proposes them
	}
	root.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) >= len(words) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		if words[len(args)] == "FILE" {
			return nil, cobra.ShellCompDirectiveDefault
		}
		find := finderOf(cmd, words[len(args)])
		cluster := ""
		if i := slices.Index(words, "CLUSTER"); i >= 0 && i < len(args) {
			cluster = args[i]
		}
		return ask(cmd, func(ctx context.Context, c *client) ([]string, error) {
			if find == nil {
				return nil, nil
			}
			return find(ctx, c, cluster)
		})
	}
}

// completeFlag completes a flag's value.
func completeFlag(find func(context.Context, *client, string) ([]string, error)) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return ask(cmd, func(ctx context.Context, c *client) ([]string, error) { return find(ctx, c, "") })
	}
}

// ask asks the control plane. Without an answer there are no proposals, and no
// noise in the middle of somebody's line.
func ask(cmd *cobra.Command, find func(context.Context, *client) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(context.Background(), completeTime)
	defer cancel()
	value := func(name string) string {
		if f := cmd.Flags().Lookup(name); f != nil {
			return f.Value.String()
		}
		return ""
	}
	server := value("server")
	if server == "" {
		server = os.Getenv("BATON_SERVER")
	}
	c := &client{servers: serverList(server), http: &http.Client{}, out: io.Discard}
	c.server = c.servers[0]
	var err error
	if c.token, err = findToken(value("token-file")); err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	found, err := find(ctx, c)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

// names finds the proposals of a word of a use line.
var names = map[string]func(ctx context.Context, c *client, cluster string) ([]string, error){
	"CLUSTER":   clusterNames,
	"NODE":      nodeNames,
	"OPERATION": operationNames,
	"OP":        operationNames,
	"ALERT": func(ctx context.Context, c *client, _ string) (out []string, err error) {
		var list api.AlertList
		err = c.call(ctx, "GET", "/alerts", nil, &list)
		for _, a := range list.Alerts {
			if a.State != "resolved" {
				out = append(out, a.ID+"\t"+a.Sentence)
			}
		}
		return out, err
	},
	"USER": func(ctx context.Context, c *client, _ string) (out []string, err error) {
		var list api.PersonList
		err = c.call(ctx, "GET", "/users", nil, &list)
		for _, u := range list.Users {
			out = append(out, u.Name+"\t"+u.Role)
		}
		return out, err
	},
	"TOKEN": func(ctx context.Context, c *client, _ string) (out []string, err error) {
		var list api.TokenList
		err = c.call(ctx, "GET", "/tokens", nil, &list)
		for _, t := range list.Tokens {
			out = append(out, t.ID+"\t"+t.Name)
		}
		return out, err
	},
	"WAITING": func(ctx context.Context, c *client, _ string) (out []string, err error) {
		var list api.Approvals
		err = c.call(ctx, "GET", "/approvals", nil, &list)
		for _, w := range list.Approvals {
			if w.MayApprove {
				out = append(out, w.ID+"\tpromotion of "+w.Node+" by "+w.Requester)
			}
		}
		return out, err
	},
}

func clusterNames(ctx context.Context, c *client, _ string) (out []string, err error) {
	var list api.ClusterList
	err = c.call(ctx, "GET", "/clusters", nil, &list)
	for _, s := range list.Clusters {
		out = append(out, s.ID+"\t"+s.Verdict.Sentence)
	}
	return out, err
}

func nodeNames(ctx context.Context, c *client, cluster string) (out []string, err error) {
	if cluster == "" {
		return nil, nil
	}
	var d api.ClusterDetail
	err = c.call(ctx, "GET", "/clusters/"+segment(cluster), nil, &d)
	for _, n := range d.Nodes {
		out = append(out, n.Name+"\t"+n.Role+", promotable: "+n.Promotable.Reason)
	}
	return out, err
}

// operationNames are the last operations, running ones first.
func operationNames(ctx context.Context, c *client, cluster string) (out []string, err error) {
	var page api.ActivityPage
	path := "/activity?limit=100"
	if cluster != "" {
		path += "&cluster=" + segment(cluster)
	}
	err = c.call(ctx, "GET", path, nil, &page)
	for _, r := range page.Rows {
		if r.OperationID != nil && !slices.ContainsFunc(out, func(s string) bool { return strings.HasPrefix(s, *r.OperationID+"\t") }) {
			out = append(out, *r.OperationID+"\t"+r.Outcome+": "+r.What)
		}
	}
	return out, err
}
