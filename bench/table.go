package main

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"sort"
	"strings"
	"time"
)

// table collects one row a measurement and one cell a target.
type table struct {
	rows  []string
	names []string
	rates map[string]map[string][]sample        // row -> target, in the order of the rounds
	gap   map[string]map[string][]time.Duration // row -> target
}

func newTable() *table {
	return &table{rates: map[string]map[string][]sample{}, gap: map[string]map[string][]time.Duration{}}
}

func (t *table) seen(row, name string) {
	if t.rates[row] == nil && t.gap[row] == nil {
		t.rows = append(t.rows, row)
	}
	for _, n := range t.names {
		if n == name {
			return
		}
	}
	t.names = append(t.names, name)
}

// rate adds one round's figures.
func (t *table) rate(row, name string, s sample) {
	t.seen(row, name)
	if t.rates[row] == nil {
		t.rates[row] = map[string][]sample{}
	}
	t.rates[row][name] = append(t.rates[row][name], s)
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
	fmt.Fprintf(&b, "Three server processes and the load on %d cores over loopback, %d B payload, synced at a quorum before the\nacknowledgement; medians of %d rounds of %d s, each of which measures every target once, and the least and most of their\nratios; gaps: %d kills, %d moves. Ratio above 1: better than the peer.\n\n",
		runtime.NumCPU(), len(s.payload), s.runs, s.seconds, s.kills, s.moves)
	fmt.Fprintf(&b, "| measurement | %s | ratio |\n|---|%s---|\n", strings.Join(t.names, " | "), strings.Repeat("---|", len(t.names)))
	for _, row := range t.rows {
		fmt.Fprintf(&b, "| %s |", row)
		for _, n := range t.names {
			if m := t.rates[row]; m != nil && len(m[n]) > 0 {
				fmt.Fprintf(&b, " %s/s, %.1f us CPU", count(middle(m[n], rateOf)), middle(m[n], cpuOf))
				if m[n][0].p50 > 0 {
					fmt.Fprintf(&b, ", p50 %s, p99 %s", ms(middle(m[n], func(x sample) time.Duration { return x.p50 })), ms(middle(m[n], func(x sample) time.Duration { return x.p99 })))
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

func rateOf(x sample) float64 { return x.rate }
func cpuOf(x sample) float64  { return x.cpu }

// middle is the median of one figure.
func middle[T cmp.Ordered](all []sample, of func(sample) T) T {
	v := make([]T, 0, len(all))
	for _, x := range all {
		v = append(v, of(x))
	}
	slices.Sort(v)
	return v[len(v)/2]
}

// ratio compares the first target with the second: of rates, the median of the rounds' ratios.
func (t *table) ratio(row string) string {
	if len(t.names) < 2 {
		return "-"
	}
	if m := t.rates[row]; m != nil {
		a, b := m[t.names[0]], m[t.names[1]]
		if len(a) == 0 || len(b) == 0 {
			return "-"
		}
		var pairs []sample
		for i := range min(len(a), len(b)) {
			pairs = append(pairs, sample{rate: a[i].rate / b[i].rate, cpu: b[i].cpu / a[i].cpu})
		}
		low, high := pairs[0].rate, pairs[0].rate
		for _, p := range pairs {
			low, high = min(low, p.rate), max(high, p.rate)
		}
		return fmt.Sprintf("%.2f x rate (%.2f to %.2f), %.2f x less CPU", middle(pairs, rateOf), low, high, middle(pairs, cpuOf))
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
