package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"baton/eventstore/membership"
	"baton/eventstore/node"
)

// electionsTime bounds how long one node of several may take to answer.
const electionsTime = 10 * time.Second

// nodeElections is what one node says of its candidacies, the newest first.
type nodeElections struct {
	Node      string          `json:"node"`
	Address   string          `json:"address"`
	Elections []node.Election `json:"elections"`
	// Error says why the node did not answer; else empty.
	Error string `json:"error,omitempty"`
}

// electionsAnswer is what -o json prints.
type electionsAnswer struct {
	Nodes []nodeElections `json:"nodes"`
}

func storeElections() *cobra.Command {
	cmd := &cobra.Command{
		Use: "elections", Short: "Show how a node's candidacies ended, and what each voter answered",
		Long: "Shows how a node's latest candidacies ended, newest first: how many votes it got, and what each of the other voters\n" +
			"answered: no answer (with the error of the link), a newer log, a vote given to another, a leader heard, a later term.\n" +
			"A candidacy is remembered by the node that stood, until it is restarted; --all asks every member of its cluster.",
		Example: "  baton store elections --node http://127.0.0.1:2113 --all --failed",
		Args:    cobra.NoArgs,
	}
	connect, output := nodeFlags(cmd), storeOutput(cmd)
	all := cmd.Flags().Bool("all", false, "ask all members of the node's cluster")
	failed := cmd.Flags().Bool("failed", false, "only those that were not won")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		asJSON, err := output()
		if err != nil {
			return err
		}
		c, err := connect()
		if err != nil {
			return err
		}
		answer := electionsAnswer{}
		if *all {
			if answer.Nodes, err = c.electionsOfAll(cmd.Context()); err != nil {
				return err
			}
		} else {
			own, err := c.elections(cmd.Context())
			if err != nil {
				return err
			}
			answer.Nodes = []nodeElections{own}
		}
		if *failed {
			for i := range answer.Nodes {
				answer.Nodes[i].Elections = slices.DeleteFunc(answer.Nodes[i].Elections, func(e node.Election) bool { return e.Outcome == "won" })
			}
		}
		if asJSON {
			return printJSON(cmd.OutOrStdout(), answer)
		}
		return answer.write(cmd.OutOrStdout())
	}
	return cmd
}

func (c *nodeClient) elections(ctx context.Context) (nodeElections, error) {
	told := nodeElections{Address: c.base, Elections: []node.Election{}}
	err := c.call(ctx, http.MethodGet, "/cluster/elections", nil, &told)
	return told, err
}

// electionsOfAll asks every member the node knows. It fails only if the node
// itself, or nobody, answers.
func (c *nodeClient) electionsOfAll(ctx context.Context) ([]nodeElections, error) {
	var view membership.View
	if err := c.call(ctx, http.MethodGet, "/cluster", nil, &view); err != nil {
		return nil, err
	}
	scheme, _, _ := strings.Cut(c.base, "://")
	nodes := make([]nodeElections, len(view.Members))
	var all sync.WaitGroup
	for i, m := range view.Members {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, electionsTime)
			defer cancel()
			of := *c
			of.base = scheme + "://" + net.JoinHostPort(m.ClientHost, strconv.Itoa(m.ClientPort))
			told, err := of.elections(ctx)
			if told.Node = m.Name; err != nil {
				told.Error = err.Error()
			}
			nodes[i] = told
		})
	}
	all.Wait()
	if !slices.ContainsFunc(nodes, func(n nodeElections) bool { return n.Error == "" }) {
		return nil, fmt.Errorf("no member of the cluster answered; the first: %s", nodes[0].Error)
	}
	return nodes, nil
}

// write shows the candidacies of all nodes in one list, newest first.
func (a *electionsAnswer) write(out io.Writer) error {
	type candidacy struct {
		of string
		node.Election
	}
	var list []candidacy
	silent := false
	for _, n := range a.Nodes {
		if n.Error != "" {
			fmt.Fprintf(out, "%s did not answer: %s\n", n.Node, n.Error)
			silent = true
		}
		for _, e := range n.Elections {
			list = append(list, candidacy{n.Node, e})
		}
	}
	if len(list) == 0 {
		if !silent {
			fmt.Fprintln(out, "There was no such candidacy since the start.")
		}
		return nil
	}
	slices.SortStableFunc(list, func(a, b candidacy) int { return b.At.Compare(a.At) })
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	const clock = "2006-01-02 15:04:05.000"
	for _, e := range list {
		times := ""
		if e.Times > 1 {
			times = fmt.Sprintf(", %d times since %s", e.Times, e.Began.Local().Format(clock))
		}
		fmt.Fprintf(w, "%s  %s, term %d, %s: %s%s; %d of %d votes, %d needed\n", e.At.Local().Format(clock), e.of, e.Term, e.Stage, e.Outcome, times, e.Granted, e.Voters, e.Needed)
		for _, v := range e.Answers {
			fmt.Fprintf(w, "    %s\t%s\t%s\n", v.Name, v.Answer, v.Detail)
		}
	}
	return w.Flush()
}
