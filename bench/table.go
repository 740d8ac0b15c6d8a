package main

import (
	"fmt"
	"runtime"
	"sort"
	"strings"
	"time"
)

// table collects one row a measurement and one cell a target.
type table struct {
	rows  []string
	names []string
	rate  map[string]map[string][]sample        // row -> target
	gap   map[string]map[string][]time.Duration // row -> target
}

func newTable() *table {
	return &table{rate: map[string]map[string][]sample{}, gap: map[string]map[string][]time.Duration{}}
}

func (t *table) seen(row, name string) {
	if t.rate[row] == nil && t.gap[row] == nil {
		t.rows = append(t.rows, row)
	}
	for _, n := range t.names {
		if n == name {
			return
		}
	}
	t.names = append(t.names, name)
}

func (t *table) rates(row, name string, s []sample) {
	t.seen(row, name)
	if t.rate[row] == nil {
		t.rate[row] = map[string][]sample{}
	}
	sort.Slice(s, func(i, j int) bool { return s[i].rate < s[j].rate })
	t.rate[row][name] = s
}

func (t *table) gaps(row, name string, g []time.Duration) {
	t.seen(row, name)
	if t.gap[row] == nil {
		t.gap[row] = map[string][]time.Duration{}
	}
	sort.Slice(g, func(i, j int) bool { return g[i] < g[j] })
	t.gap[row][name] = g
}

// markdown prints the medians; a ratio above 1 means better than the peer: more events a second, less CPU, a shorter gap.
func (t *table) markdown(s settings) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Three server processes and the load on %d cores over loopback, %d B payload, synced at a quorum before the\nacknowledgement; median of %d runs of %d s; gaps: %d kills, %d moves. Ratio above 1: better than the peer.\n\n",
		runtime.NumCPU(), len(s.payload), s.runs, s.seconds, s.kills, s.moves)
	fmt.Fprintf(&b, "| measurement | %s | ratio |\n|---|%s---|\n", strings.Join(t.names, " | "), strings.Repeat("---|", len(t.names)))
	for _, row := range t.rows {
		fmt.Fprintf(&b, "| %s |", row)
		for _, n := range t.names {
			if m := t.rate[row]; m != nil && len(m[n]) > 0 {
				x := m[n][len(m[n])/2]
				fmt.Fprintf(&b, " %s/s, %.1f us CPU", count(x.rate), x.cpu)
				if x.p50 > 0 {
					fmt.Fprintf(&b, ", p50 %s, p99 %s", ms(x.p50), ms(x.p99))
				}
			} else if m := t.gap[row]; m != nil && len(m[n]) > 0 {
				g := m[n]
				fmt.Fprintf(&b, " median %s, max %s", ms(g[len(g)/2]), ms(g[len(g)-1]))
			} else {
				fmt.Fprint(&b, " -")
			}
			fmt.Fprint(&b, " |")
		}
		fmt.Fprintf(&b, " %s |\n", t.ratio(row))
	}
	return b.String()
}

// ratio compares the first target with the second.
func (t *table) ratio(row string) string {
	if len(t.names) < 2 {
		return "-"
	}
	if m := t.rate[row]; m != nil {
		a, b := m[t.names[0]], m[t.names[1]]
		if len(a) == 0 || len(b) == 0 {
			return "-"
		}
		x, y := a[len(a)/2], b[len(b)/2]
		return fmt.Sprintf("%.2f x rate, %.2f x less CPU", x.rate/y.rate, y.cpu/x.cpu)
	}
	m := t.gap[row]
	a, b := m[t.names[0]], m[t.names[1]]
	if len(a) == 0 || len(b) == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f x shorter", b[len(b)/2].Seconds()/a[len(a)/2].Seconds())
}

func count(f float64) string {
	switch {
	case f >= 1e6:
		return fmt.Sprintf("%.2fM", f/1e6)
	case f >= 1e4:
		return fmt.Sprintf("%.1fk", f/1e3)
	default:
		return fmt.Sprintf("%.0f", f)
	}
}

func ms(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.2f ms", d.Seconds()*1e3)
	}
	return fmt.Sprintf("%.0f ms", d.Seconds()*1e3)
}
