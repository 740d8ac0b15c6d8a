// Command baton runs and manages replicated data: an event-store node (serve), the control plane (control, agent, up) and the client commands.
// It only parses, wires and exits.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

// version is the product's own version; the linker sets it in a release.
var version = "dev"

// commands builds every subcommand. A command lives in a file of its own and is listed here.
var commands = []func() *cobra.Command{
	upCommand,
	serveCommand, certsCommand, dataCommand,
	agentCommand,
	proxyCommand, endpointCommand,
	openAPICommand,
	controlCommand,
	hostsCommand,
	clustersCommand,
	nodesCommand,
	explainCommand,
	promoteCommand,
	undoCommand,
	failoverCommand, pauseCommand, acknowledgeCommand, whatIfCommand, lostWritesCommand, guardCommand,
	auditCommand, activityCommand, incidentCommand, alertsCommand, notificationsCommand, usersCommand, tokensCommand, historyCommand, approveCommand, schedulesCommand,
	operationCommand,
	backupCommand, backupsCommand, verifyCommand, drillCommand, restoreCommand, deleteBackupCommand, targetsCommand,
	enginesCommand,
	createCommand,
	adoptCommand,
	addNodeCommand,
	removeNodeCommand,
	deleteCommand,
	resyncCommand,
	restartCommand,
	maintenanceCommand,
	tagCommand,
	settingsCommand,
	paramsCommand,
	databaseUsersCommand,
	streamsCommand, subscriptionsCommand, projectionsCommand, storeUsersCommand, storeLoginCommand,
	terminalCommand,
	importCommand,
	scavengeCommand,
	scrubCommand,
}

// exitError carries an exit code other than 1 up to main: 2 refused by checks, 3 rolled back, 4 needs a human, 5 conflict.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }

func (e *exitError) Unwrap() error { return e.err }

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "baton",
		Short:         "Roles and promotion for replicated data",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	for _, build := range commands {
		root.AddCommand(build())
	}
	completeNames(root)
	return root
}

func main() {
	err := rootCommand().Execute()
	if err == nil {
		return
	}
	code := 1
	var exit *exitError
	if errors.As(err, &exit) {
		code = exit.code
	}
	if text := err.Error(); text != "" {
		fmt.Fprintln(os.Stderr, "baton: "+text)
	}
	os.Exit(code)
}
