package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"baton/control/api"
)

func projectionsCommand() *cobra.Command {
	cmd := storeCommand("projections CLUSTER", "Show the projections of an event store; make, change, command and delete them", cobra.ExactArgs(1), func(c *client, cmd *cobra.Command, args []string) error {
		var list api.ProjectionList
		if err := c.call(cmd.Context(), "GET", ofStore(args[0], "projections"), nil, &list); err != nil {
			return failure(err)
		}
		if printed, err := c.answer(list); printed {
			return err
		}
		if !list.Available {
			fmt.Fprintf(c.out, "%s: %s.\n", list.Why, list.Fix)
			return nil
		}
		rows := [][]string{{"PROJECTION", "STATE", "MODE", "PROGRESS", "EVENTS", "POSITION", "CHECKPOINT", "REASON"}}
		for i := range list.Projections {
			p := &list.Projections[i]
			rows = append(rows, []string{p.Name, p.State, orDash(p.Mode), progressText(p), fmt.Sprint(int64(p.Processed)), orDash(p.Position), orDash(p.Checkpoint), orDash(p.Reason)})
		}
		return table(c.out, rows...)
	})
	cmd.AddCommand(projectionShowCommand(), projectionStateCommand(), projectionWriteCommand(true), projectionWriteCommand(false),
		projectionCommandCommand("enable", "Let one run, from its last checkpoint"), projectionCommandCommand("disable", "Halt one with a checkpoint"),
		projectionCommandCommand("abort", "Halt one without a checkpoint"), projectionResetCommand(), projectionDeleteCommand())
	return cmd
}

func progressText(p *api.Projection) string {
	if p.Progress == nil {
		return "unknown"
	}
	return fmt.Sprintf("%.1f %%", *p.Progress)
}

func projectionShowCommand() *cobra.Command {
	return storeCommand("show CLUSTER PROJECTION", "Show one with its source", cobra.ExactArgs(2), func(c *client, cmd *cobra.Command, args []string) error {
		var d api.ProjectionDetail
		if err := c.call(cmd.Context(), "GET", ofStore(args[0], "projections/info", "name", args[1]), nil, &d); err != nil {
			return failure(err)
		}
		return c.showProjection(&d)
	})
}

func (c *client) showProjection(d *api.ProjectionDetail) error {
	if printed, err := c.answer(d); printed {
		return err
	}
	p := &d.Projection
	yes := func(b *bool) string {
		if b == nil {
			return "unknown"
		}
		return map[bool]string{true: "yes", false: "no"}[*b]
	}
	rows := [][]string{{"state", p.State + " (" + p.Status + ")"}, {"mode", orDash(p.Mode)}, {"progress", progressText(p)}, {"events", fmt.Sprint(int64(p.Processed))}, {"position", orDash(p.Position)},
		{"checkpoint", orDash(p.Checkpoint) + "  " + p.CheckpointStatus}, {"may write", yes(d.Emit)}}
	if p.Reason != "" {
		rows = append(rows, []string{"fault", p.Reason})
	}
	if len(d.Partitions) > 0 {
		rows = append(rows, []string{"partitions", strings.Join(d.Partitions, ", ")})
	}
	if err := table(c.out, rows...); err != nil {
		return err
	}
	if d.QueryKnown && d.Query != "" {
		fmt.Fprintf(c.out, "\n%s\n", strings.TrimRight(d.Query, "\n"))
	}
	return nil
}

func projectionStateCommand() *cobra.Command {
	var partition *string
	cmd := storeCommand("state CLUSTER PROJECTION", "Show the state and the result of one", cobra.ExactArgs(2), func(c *client, cmd *cobra.Command, args []string) error {
		var s api.ProjectionState
		if err := c.call(cmd.Context(), "GET", ofStore(args[0], "projections/state", "name", args[1], "partition", *partition), nil, &s); err != nil {
			return failure(err)
		}
		if printed, err := c.answer(s); printed {
			return err
		}
		for _, x := range []struct {
			name string
			text *api.EventText
		}{{"state", s.State}, {"result", s.Result}} {
			text := "none"
			if x.text != nil {
				text = shownText(x.text)
			}
			fmt.Fprintf(c.out, "%-8s%s\n", x.name, text)
		}
		return nil
	})
	partition = cmd.Flags().String("partition", "", "of one partition")
	return cmd
}

// sourceFile reads a projection's source; - is standard input.
func sourceFile(cmd *cobra.Command, name string) (string, error) {
	if name == "-" {
		b, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), api.MaxBodyBytes))
		return string(b), err
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("read the projection's source: %w", err)
	}
	return string(b), nil
}

func projectionWriteCommand(create bool) *cobra.Command {
	use, short, method := "edit CLUSTER PROJECTION FILE", "Change the source of one; FILE may be -", "PUT"
	if create {
		use, short, method = "create CLUSTER PROJECTION FILE", "Make one from a JavaScript file; FILE may be -", "POST"
	}
	cmd := storeCommand(use, short, cobra.ExactArgs(3), func(c *client, cmd *cobra.Command, args []string) error {
		query, err := sourceFile(cmd, args[2])
		if err != nil {
			return err
		}
		f := cmd.Flags()
		r := api.ProjectionRequest{Name: args[1], Query: query}
		r.Reason, _ = f.GetString("reason")
		r.Emit, _ = f.GetBool("emit")
		if create {
			r.Mode, _ = f.GetString("mode")
			r.Track, _ = f.GetBool("track")
		} else if !f.Changed("emit") { // stays as it is
			var was api.ProjectionDetail
			if err := c.call(cmd.Context(), "GET", ofStore(args[0], "projections/info", "name", args[1]), nil, &was); err != nil {
				return failure(err)
			}
			r.Emit = was.Emit != nil && *was.Emit
		}
		var d api.ProjectionDetail
		if err := c.call(cmd.Context(), method, ofStore(args[0], "projections"), r, &d); err != nil {
			return c.refusal(err)
		}
		return c.showProjection(&d)
	})
	f := cmd.Flags()
	f.Bool("emit", false, "it may write events and links")
	f.String("reason", "", "why, for the audit")
	if create {
		f.String("mode", "continuous", "continuous, or transient: it reads what there is and is forgotten")
		f.Bool("track", false, "note what it writes to, so that it can be deleted with it")
	}
	return cmd
}

func projectionCommandCommand(command, short string) *cobra.Command {
	var reason *string
	cmd := storeCommand(command+" CLUSTER PROJECTION", short, cobra.ExactArgs(2), func(c *client, cmd *cobra.Command, args []string) error {
		return c.done(cmd, ofStore(args[0], "projections/command"), api.ProjectionCommand{Name: args[1], Command: command, Reason: *reason})
	})
	reason = cmd.Flags().String("reason", "", "why, for the audit")
	return cmd
}

func projectionResetCommand() *cobra.Command {
	var given func(*client, string) (string, string, error)
	cmd := storeCommand("reset CLUSTER PROJECTION", "Have one begin anew with an empty state", cobra.ExactArgs(2), func(c *client, cmd *cobra.Command, args []string) error {
		typed, reason, err := given(c, args[1])
		if err != nil {
			return err
		}
		return c.done(cmd, ofStore(args[0], "projections/command"), api.ProjectionCommand{Name: args[1], Command: "reset", TypedName: typed, Reason: reason})
	})
	given = confirmed(cmd, "the projection's name")
	return cmd
}

func projectionDeleteCommand() *cobra.Command {
	var given func(*client, string) (string, string, error)
	var emitted, state, checkpoint *bool
	cmd := storeCommand("delete CLUSTER PROJECTION", "Delete one (needs the role admin)", cobra.ExactArgs(2), func(c *client, cmd *cobra.Command, args []string) error {
		typed, reason, err := given(c, args[1])
		if err != nil {
			return err
		}
		return c.done(cmd, ofStore(args[0], "projections/delete"), api.ProjectionDeletion{Name: args[1], TypedName: typed, Emitted: *emitted, State: *state, Checkpoint: *checkpoint, Reason: reason})
	})
	given = confirmed(cmd, "the projection's name")
	emitted = cmd.Flags().Bool("emitted", false, "delete what it wrote to, where that was noted")
	state = cmd.Flags().Bool("state", false, "delete the stream of its state")
	checkpoint = cmd.Flags().Bool("checkpoint", false, "delete the stream of its checkpoints")
	return cmd
}
