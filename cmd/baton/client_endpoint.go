package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"baton/control/api"
)

// endpointCommand shows, opens and closes a cluster's stable endpoint.
func endpointCommand() *cobra.Command {
	var r api.EndpointRequest
	var enable, disable bool
	cmd := &cobra.Command{
		Use:   "endpoint CLUSTER",
		Short: "Show, open or close a cluster's stable endpoint",
		Long: "Show a cluster's endpoint: one port that follows the primary, one that follows healthy replicas. With --enable open\n" +
			"it or change its ports, with --disable close it.",
		Example: "  baton endpoint cache --enable --rw-port 6390 --ro-port 6391",
		Args:    cobra.ExactArgs(1),
	}
	connect := clientFlags(cmd)
	f := cmd.Flags()
	f.BoolVar(&enable, "enable", false, "open the endpoint")
	f.BoolVar(&disable, "disable", false, "close the endpoint; its clients are disconnected")
	f.IntVar(&r.ReadWritePort, "rw-port", 0, "port for reads and writes, 0 for none")
	f.IntVar(&r.ReadOnlyPort, "ro-port", 0, "port for reads, 0 for none")
	f.StringVar(&r.Host, "host", "127.0.0.1", "address listened on")
	f.Int64Var(&r.MaxLagBytes, "max-lag-bytes", 0, "how far behind a replica may be to be read from, 0 for 16 MiB")
	f.BoolVar(&r.ReplicasOnly, "replicas-only", false, "never read from the primary on the port for reads")
	f.StringSliceVar(&r.On, "on", nil, "agents that serve it, by host name or id")
	cmd.MarkFlagsMutuallyExclusive("enable", "disable")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		path := "/clusters/" + segment(args[0]) + "/endpoint"
		var e api.Endpoint
		if enable || disable {
			r.Enabled = enable
			err = c.call(cmd.Context(), "PUT", path, r, &e)
		} else {
			err = c.call(cmd.Context(), "GET", path, nil, &e)
		}
		if err != nil {
			return failure(err)
		}
		if c.json {
			return c.writeJSON(e)
		}
		return c.showEndpoint(args[0], &e)
	}
	return cmd
}

func (c *client) showEndpoint(cluster string, e *api.Endpoint) error {
	if !e.Enabled {
		fmt.Fprintf(c.out, "%s has no endpoint. Open one: baton endpoint %s --enable --rw-port 6390 --ro-port 6391\n", cluster, cluster)
		return nil
	}
	rows := [][]string{{"READ-WRITE", orDash(e.ReadWrite)}, {"READ-ONLY", orDash(e.ReadOnly)}, {"STATE", e.State}}
	if e.Why != "" {
		rows = append(rows, []string{"WHY", e.Why})
	}
	rows = append(rows, []string{"TARGET", orDash(e.Target) + ", generation " + strconv.FormatInt(int64(e.Generation), 10)},
		[]string{"CLIENTS", fmt.Sprintf("%d, %d waiting", e.Clients, e.HeldNow)},
		[]string{"LAST MOVE", msText(e.LastSwitchMs)},
		[]string{"REQUESTS", fmt.Sprintf("%d; %d waited, %d sent again, %d refused, %d of unknown outcome", e.Counters.Requests,
			e.Counters.Waited, e.Counters.SentAgain, e.Counters.Refused, e.Counters.Unknown)})
	return table(c.out, rows...)
}
