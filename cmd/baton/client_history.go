package main

import (
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"baton/control/api"
)

func historyCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "history CLUSTER", Short: "Show a metric over time: writes, lag, memory, diskFree, or the stall of each promotion", Args: cobra.ExactArgs(1)}
	connect := clientFlags(cmd)
	f := cmd.Flags()
	metric := f.String("metric", "writes", "writes, lag, memory, diskFree or stall")
	span := f.Duration("for", time.Hour, "the last so long")
	step := f.Duration("step", 0, "one value for so long; 0: some sixty")
	availability := f.Bool("availability", false, "only for how much of the last 30 days writes were possible")
	_ = cmd.RegisterFlagCompletionFunc("metric", cobra.FixedCompletions([]string{"writes", "lag", "memory", "diskFree", "stall"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		base := "/clusters/" + segment(args[0])
		if *availability {
			var a api.Availability
			if err := c.call(cmd.Context(), "GET", base+"/availability", nil, &a); err != nil {
				return failure(err)
			}
			if c.json {
				return c.writeJSON(a)
			}
			fmt.Fprintln(c.out, a.Sentence)
			return nil
		}
		if *step == 0 {
			*step = *span / 60
		}
		q := url.Values{"metric": {*metric}, "from": {time.Now().Add(-*span).UTC().Format(time.RFC3339)}, "step": {strconv.Itoa(int(*step / time.Second))}}
		var h api.History
		if err := c.call(cmd.Context(), "GET", base+"/history?"+q.Encode(), nil, &h); err != nil {
			return failure(err)
		}
		if c.json {
			return c.writeJSON(h)
		}
		return c.showHistory(&h)
	}
	return cmd
}

func (c *client) showHistory(h *api.History) error {
	if len(h.Series) == 0 {
		fmt.Fprintln(c.out, "Nothing is known of that time.")
		return nil
	}
	if h.Metric == "stall" {
		rows := [][]string{{"WHEN", "NEW PRIMARY", "WRITES WAITED"}}
		for _, s := range h.Series {
			for _, p := range s.Points {
				rows = append(rows, []string{time.UnixMilli(int64(p[0])).Format("2006-01-02 15:04:05"), s.Node, msText(&p[1])})
			}
		}
		if err := table(c.out, rows...); err != nil {
			return err
		}
		fmt.Fprintf(c.out, "%d promotions, median %.1f ms, longest %.1f ms\n", h.Stalls.Count, h.Stalls.MedianMs, h.Stalls.MaxMs)
		return nil
	}
	rows := [][]string{{"NODE", "LEAST", "MEAN", "MOST", "NOW", strings.ToUpper(h.Metric) + ", " + h.Unit}}
	for _, s := range h.Series {
		least, most, sum := math.Inf(1), math.Inf(-1), 0.0
		for _, p := range s.Points {
			least, most, sum = min(least, p[1]), max(most, p[1]), sum+p[1]
		}
		show := func(v float64) string { return strconv.FormatFloat(v, 'f', 0, 64) }
		rows = append(rows, []string{s.Node, show(least), show(sum / float64(len(s.Points))), show(most), show(s.Points[len(s.Points)-1][1]), bars(s.Points, most)})
	}
	return table(c.out, rows...)
}

// bars draws points as a row of blocks.
func bars(points [][2]float64, most float64) string {
	const blocks = "▁▂▃▄▅▆▇█"
	all := []rune(blocks)
	var b strings.Builder
	for _, p := range points {
		i := 0
		if most > 0 {
			i = int(p[1] / most * float64(len(all)-1))
		}
		b.WriteRune(all[max(0, min(i, len(all)-1))])
	}
	return b.String()
}
