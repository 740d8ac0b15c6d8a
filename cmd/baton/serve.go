package main

import (
	"errors"

	"github.com/spf13/cobra"
)

func serveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Run one event-store node",
		RunE: func(cmd *cobra.Command, args []string) error {
			return errors.New("serve is not wired yet")
		},
	}
}
