package main

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"baton/control/api"
)

func subscriptionsCommand() *cobra.Command {
	cmd := storeCommand("subscriptions CLUSTER", "Show the persistent subscriptions of an event store; make, change, replay and delete them", cobra.ExactArgs(1), func(c *client, cmd *cobra.Command, args []string) error {
		var list api.SubscriptionList
		if err := c.call(cmd.Context(), "GET", ofStore(args[0], "subscriptions"), nil, &list); err != nil {
			return failure(err)
		}
		if printed, err := c.answer(list); printed {
			return err
		}
		rows := [][]string{{"STREAM", "GROUP", "STATE", "BEHIND", "IN FLIGHT", "PARKED", "OLDEST", "CONSUMERS", "PER SECOND", "STRATEGY"}}
		for i := range list.Subscriptions {
			s := &list.Subscriptions[i]
			rows = append(rows, []string{s.Stream, s.Group, subscriptionState(s), behindText(s), strconv.Itoa(s.InFlight), fmt.Sprint(int64(s.Parked)), orDash(parkedText(s)), strconv.Itoa(s.Consumers), strconv.Itoa(s.PerSecond), s.Strategy})
		}
		return table(c.out, rows...)
	})
	cmd.AddCommand(subscriptionShowCommand(), subscriptionWriteCommand(true), subscriptionWriteCommand(false), subscriptionReplayCommand(), subscriptionDeleteCommand())
	return cmd
}

func subscriptionState(s *api.Subscription) string {
	if s.Replaying {
		return s.State + ", replaying"
	}
	return s.State
}

// behindText is how far a subscription is behind, with its unit.
func behindText(s *api.Subscription) string {
	switch {
	case s.LagEvents != nil:
		return fmt.Sprintf("%d events", int64(*s.LagEvents))
	case s.LagBytes != nil:
		return bytesText(s.LagBytes)
	}
	return "unknown"
}

func parkedText(s *api.Subscription) string {
	if s.OldestParked == nil {
		return ""
	}
	return agoText(s.OldestParked)
}

func subscriptionShowCommand() *cobra.Command {
	return storeCommand("show CLUSTER STREAM GROUP", "Show one with its settings and consumers", cobra.ExactArgs(3), func(c *client, cmd *cobra.Command, args []string) error {
		var d api.SubscriptionDetail
		if err := c.call(cmd.Context(), "GET", ofStore(args[0], "subscriptions/info", "stream", args[1], "group", args[2]), nil, &d); err != nil {
			return failure(err)
		}
		if printed, err := c.answer(d); printed {
			return err
		}
		return c.showSubscription(&d)
	})
}

func (c *client) showSubscription(d *api.SubscriptionDetail) error {
	s, set := &d.Subscription, &d.Settings
	if err := table(c.out, [][]string{{"state", subscriptionState(s) + " (" + s.Status + ")"}, {"behind", behindText(s)}, {"begins at", d.From}, {"checkpoint", orDash(s.Checkpoint)}, {"newest", orDash(s.Known)},
		{"in flight", fmt.Sprintf("%d, %d to be sent again, %d not handled", s.InFlight, s.Retrying, s.Outstanding)}, {"parked", fmt.Sprintf("%d, the oldest %s", int64(s.Parked), orDash(parkedText(s)))},
		{"sent", fmt.Sprintf("%d, %d a second", int64(s.Total), s.PerSecond)}, {"strategy", set.Strategy}, {"resolve links", strconv.FormatBool(set.ResolveLinks)},
		{"answer within", fmt.Sprintf("%d ms", set.MessageTimeoutMs)}, {"retries", strconv.Itoa(set.MaxRetries)},
		{"checkpoints", fmt.Sprintf("after %d ms, %d to %d events", set.CheckpointAfterMs, set.MinCheckpoint, set.MaxCheckpoint)},
		{"consumers", fmt.Sprintf("%d, at most %d (0: any number)", s.Consumers, set.MaxSubscribers)}, {"buffers", fmt.Sprintf("%d live, %d of history, read by %d", set.LiveBuffer, set.HistoryBuffer, set.ReadBatch)}}...); err != nil || len(d.Consumers) == 0 {
		return err
	}
	fmt.Fprintln(c.out)
	rows := [][]string{{"CONSUMER", "FROM", "USER", "IN FLIGHT", "FREE", "SENT", "PER SECOND"}}
	for _, x := range d.Consumers {
		rows = append(rows, []string{x.Name, x.From, orDash(x.User), strconv.Itoa(x.InFlight), strconv.Itoa(x.Free), fmt.Sprint(int64(x.Total)), strconv.Itoa(x.PerSecond)})
	}
	return table(c.out, rows...)
}

// subscriptionWriteCommand makes one, or changes one's settings: what is not
// given stays.
func subscriptionWriteCommand(create bool) *cobra.Command {
	use, short, method := "edit CLUSTER STREAM GROUP", "Change settings; consumers are dropped and connect anew", "PUT"
	if create {
		use, short, method = "create CLUSTER STREAM GROUP", "Make one; STREAM may be $all", "POST"
	}
	cmd := storeCommand(use, short, cobra.ExactArgs(3), func(c *client, cmd *cobra.Command, args []string) error {
		r := api.SubscriptionRequest{Stream: args[1], Group: args[2]}
		set := api.UsualSubscription
		if !create {
			var d api.SubscriptionDetail
			if err := c.call(cmd.Context(), "GET", ofStore(args[0], "subscriptions/info", "stream", args[1], "group", args[2]), nil, &d); err != nil {
				return failure(err)
			}
			set = d.Settings
		}
		if err := subscriptionFlags(cmd, &set); err != nil {
			return err
		}
		r.Settings = &set
		r.Reason, _ = cmd.Flags().GetString("reason")
		if create {
			r.From, _ = cmd.Flags().GetString("from")
			by, _ := cmd.Flags().GetString("filter-by")
			prefixes, _ := cmd.Flags().GetStringSlice("filter-prefix")
			regex, _ := cmd.Flags().GetString("filter-regex")
			if len(prefixes) > 0 || regex != "" {
				r.Filter = &api.SubscriptionFilter{By: by, Prefixes: prefixes, Regex: regex}
			}
		}
		var d api.SubscriptionDetail
		if err := c.call(cmd.Context(), method, ofStore(args[0], "subscriptions"), r, &d); err != nil {
			return c.refusal(err)
		}
		if printed, err := c.answer(d); printed {
			return err
		}
		return c.showSubscription(&d)
	})
	f, usual := cmd.Flags(), api.UsualSubscription
	f.String("strategy", usual.Strategy, "RoundRobin, DispatchToSingle, Pinned or PinnedByCorrelation")
	f.Bool("resolve-links", usual.ResolveLinks, "send what links lead to")
	f.Bool("extra-statistics", usual.ExtraStatistics, "measure times by consumer")
	f.Int("timeout-ms", int(usual.MessageTimeoutMs), "an event not answered by then is sent again; 0: never")
	f.Int("retries", usual.MaxRetries, "then it is parked")
	f.Int("checkpoint-after-ms", int(usual.CheckpointAfterMs), "least time between checkpoints")
	f.Int("min-checkpoint", usual.MinCheckpoint, "events for a checkpoint")
	f.Int("max-checkpoint", usual.MaxCheckpoint, "events after which one is made at once")
	f.Int("max-consumers", usual.MaxSubscribers, "0: any number")
	f.Int("live-buffer", usual.LiveBuffer, "events")
	f.Int("history-buffer", usual.HistoryBuffer, "events")
	f.Int("read-batch", usual.ReadBatch, "events")
	f.String("reason", "", "why, for the audit")
	if create {
		f.String("from", "end", "start, end, a revision, or of $all a position such as C:0/P:0")
		f.String("filter-by", "stream", "of $all: stream or type")
		f.StringSlice("filter-prefix", nil, "of $all: only names that begin so")
		f.String("filter-regex", "", "of $all: only names that match")
	}
	return cmd
}

// subscriptionFlags lays what was given over the settings.
func subscriptionFlags(cmd *cobra.Command, s *api.SubscriptionSettings) error {
	f := cmd.Flags()
	var timeout, after int
	timeout, after = int(s.MessageTimeoutMs), int(s.CheckpointAfterMs)
	for name, into := range map[string]*int{"timeout-ms": &timeout, "retries": &s.MaxRetries, "checkpoint-after-ms": &after, "min-checkpoint": &s.MinCheckpoint, "max-checkpoint": &s.MaxCheckpoint,
		"max-consumers": &s.MaxSubscribers, "live-buffer": &s.LiveBuffer, "history-buffer": &s.HistoryBuffer, "read-batch": &s.ReadBatch} {
		if f.Changed(name) {
			*into, _ = f.GetInt(name)
		}
	}
	if timeout < 0 || after < 0 {
		return errors.New("times are not negative")
	}
	s.MessageTimeoutMs, s.CheckpointAfterMs = int64(timeout), int64(after)
	for name, into := range map[string]*bool{"resolve-links": &s.ResolveLinks, "extra-statistics": &s.ExtraStatistics} {
		if f.Changed(name) {
			*into, _ = f.GetBool(name)
		}
	}
	if f.Changed("strategy") {
		s.Strategy, _ = f.GetString("strategy")
	}
	return nil
}

func subscriptionReplayCommand() *cobra.Command {
	var first *int
	var reason *string
	cmd := storeCommand("replay CLUSTER STREAM GROUP", "Send parked events again, oldest first", cobra.ExactArgs(3), func(c *client, cmd *cobra.Command, args []string) error {
		r := api.ReplayRequest{Stream: args[1], Group: args[2], Reason: *reason}
		if cmd.Flags().Changed("first") {
			r.First = first
		}
		return c.done(cmd, ofStore(args[0], "subscriptions/replay"), r)
	})
	first = cmd.Flags().Int("first", 0, "only so many of the oldest, by default all that are parked now")
	reason = cmd.Flags().String("reason", "", "why, for the audit")
	return cmd
}

func subscriptionDeleteCommand() *cobra.Command {
	var given func(*client, string) (string, string, error)
	cmd := storeCommand("delete CLUSTER STREAM GROUP", "Delete one with its checkpoint and its parked events (needs the role admin)", cobra.ExactArgs(3), func(c *client, cmd *cobra.Command, args []string) error {
		typed, reason, err := given(c, args[2])
		if err != nil {
			return err
		}
		return c.done(cmd, ofStore(args[0], "subscriptions/delete"), api.SubscriptionDeletion{Stream: args[1], Group: args[2], TypedName: typed, Reason: reason})
	})
	given = confirmed(cmd, "the group's name")
	return cmd
}
