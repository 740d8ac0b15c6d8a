package main

import (
	"github.com/spf13/cobra"

	"baton/control/api"
)

// restartCommand restarts every server of a cluster without an interruption
// longer than a promotion's.
func restartCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "restart CLUSTER", Short: "Restart every server one after the other, for parameters that need it",
		Long: "Restart every server of a cluster: the replicas one after the other, each in step before the next; then a planned\n" +
			"promotion; then the former primary. baton params CLUSTER shows what waits for a restart.",
		Args: cobra.ExactArgs(1)}
	connect := clientFlags(cmd)
	f := cmd.Flags()
	confirm := f.String("confirm", "", "the cluster's name again, instead of typing it")
	reason := f.String("reason", "", "why, for the audit")
	overrides := f.StringSlice("override", nil, "refusals that shall not stand in the way")
	wait := f.Bool("wait", true, "follow the operation to its end")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		typed, err := typedName(cmd.InOrStdin(), c.out, *confirm, args[0])
		if err != nil {
			return err
		}
		return c.run(cmd.Context(), "POST", "/clusters/"+segment(args[0])+"/restart", api.RestartRequest{TypedName: typed, Reason: *reason, Overrides: *overrides}, *wait)
	}
	return cmd
}
