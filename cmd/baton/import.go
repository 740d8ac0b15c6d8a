package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"baton/eventstore/importer"
)

// Environment variables that name the two servers, for connection strings with a
// password: arguments can be read by every user of a machine.
const (
	importFromVariable = "BATON_IMPORT_FROM"
	importToVariable   = "BATON_IMPORT_TO"
)

// importCommand copies a running event store into another one.
func importCommand() *cobra.Command {
	o := importer.Options{}
	var verify bool
	var output string
	cmd := &cobra.Command{
		Use:   "import --from <connection string> --to <connection string>",
		Short: "Copy a running event store into another, event for event",
		Long: "Copies streams, revisions, ids, types, data, metadata and links of a running server that speaks the client\n" +
			"protocol into another one. May be interrupted and run again at any time: it goes on where it was, and nothing is\n" +
			"written twice. The time an event was created stays in its metadata as $originalCreated. With a password in a\n" +
			"connection string, set " + importFromVariable + " and " + importToVariable + " instead of the flags.",
		Example: "  baton import --from esdb://old:2113?tls=false --to esdb://new:2113?tls=false\n" +
			"  baton import --from esdb://old:2113?tls=false --to esdb://new:2113?tls=false --verify",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "" && output != "json" {
				return fmt.Errorf("-o %s is not known; it can be json", output)
			}
			for _, side := range []struct {
				text           *string
				flag, variable string
			}{{&o.Source, "--from", importFromVariable}, {&o.Target, "--to", importToVariable}} {
				if *side.text == "" {
					*side.text = os.Getenv(side.variable)
				}
				if *side.text == "" {
					return fmt.Errorf("name the server with %s, or in the environment with %s", side.flag, side.variable)
				}
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			if verify {
				return verifyImport(ctx, cmd.OutOrStdout(), o, output == "json")
			}
			return runImport(ctx, cmd, o, output == "json")
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Source, "from", "", "connection string of the server that is read")
	f.StringVar(&o.Target, "to", "", "connection string of the server that is written to")
	f.StringVar(&o.Name, "name", "", "name of this import, for its checkpoints in the target (the source's first host)")
	f.StringSliceVar(&o.Include, "include", nil, "copy system streams with this prefix too, for example '$ce-'")
	f.Int64Var(&o.MaxGap, "max-gap", importer.DefaultMaxGap, "fill at most this many revisions of a stream that the source no longer has")
	f.BoolVar(&o.Restart, "restart", false, "begin at the start of the source again")
	f.BoolVar(&o.Follow, "follow", false, "go on with what is written at the source until interrupted")
	f.BoolVar(&verify, "verify", false, "copy nothing; compare what both servers hold by count and hash")
	f.StringVarP(&output, "output", "o", "", "json: one object for each report")
	return cmd
}

func runImport(ctx context.Context, cmd *cobra.Command, o importer.Options, asJSON bool) error {
	out := cmd.OutOrStdout()
	o.Progress = func(p importer.Progress) {
		if asJSON {
			_ = json.NewEncoder(out).Encode(p)
			return
		}
		fmt.Fprintln(cmd.ErrOrStderr(), importLine(p))
	}
	p, err := importer.Run(ctx, o)
	if errors.Is(err, context.Canceled) || ctx.Err() != nil && err != nil {
		return fmt.Errorf("interrupted after %d events; run the same command again, it goes on from there", p.Events)
	}
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	if !asJSON {
		fmt.Fprintf(out, "%d events imported, %d of system streams passed over", p.Events, p.Passed)
		if p.Filled > 0 {
			fmt.Fprintf(out, ", %d revisions filled that the source no longer has", p.Filled)
		}
		if p.NoCreated > 0 {
			fmt.Fprintf(out, ", %d without the time they were created (their metadata is no JSON object)", p.NoCreated)
		}
		fmt.Fprintln(out, ".\nCompare both servers: the same command with --verify")
	}
	return nil
}

func importLine(p importer.Progress) string {
	seconds := max(p.Elapsed.Seconds(), 0.001)
	share := 100.0
	if p.End > 0 {
		share = min(100, 100*float64(p.Position)/float64(p.End))
	}
	return fmt.Sprintf("%5.1f %%  %d events, %.0f/s, %.1f MB/s, %s", share, p.Events, float64(p.Events)/seconds, float64(p.Bytes)/seconds/1e6, p.Elapsed.Round(time.Second))
}

func verifyImport(ctx context.Context, out io.Writer, o importer.Options, asJSON bool) error {
	source, target, err := importer.Verify(ctx, o)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	equal := source.Events == target.Events && source.Sum() == target.Sum()
	if asJSON {
		if err := json.NewEncoder(out).Encode(map[string]any{"equal": equal, "source": map[string]any{"events": source.Events, "hash": source.Sum()},
			"target": map[string]any{"events": target.Events, "hash": target.Sum()}}); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(out, "source  %d events  %s\ntarget  %d events  %s\n", source.Events, source.Sum(), target.Events, target.Sum())
	}
	if !equal {
		return errors.New("the servers differ: the target holds other events of clients too, or was written to since, or the import is incomplete; run it again, then verify before clients write to the target")
	}
	if !asJSON {
		fmt.Fprintln(out, "Equal.")
	}
	return nil
}
