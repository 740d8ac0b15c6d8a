package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"baton/control/api"
)

// deleteBackupCommand removes one backup.
func deleteBackupCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "delete-backup CLUSTER BACKUP", Short: "Remove a backup from its target (needs the role admin)", Args: cobra.ExactArgs(2)}
	connect := clientFlags(cmd)
	confirm := cmd.Flags().String("confirm", "", "the backup's id again, instead of typing it")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		typed, err := typedName(cmd.InOrStdin(), c.out, *confirm, args[1])
		if err != nil {
			return err
		}
		var done api.Done
		if err := c.call(cmd.Context(), "POST", "/clusters/"+segment(args[0])+"/backups/"+segment(args[1])+"/delete", api.BackupDeletion{TypedName: typed}, &done); err != nil {
			return c.refusal(err)
		}
		if printed, err := c.answer(done); printed {
			return err
		}
		fmt.Fprintln(c.out, done.Sentence)
		return nil
	}
	return cmd
}
