package audit

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"time"
)

// columns of the CSV export. A column keeps its name and its place.
var columns = []string{"cluster", "index", "id", "at", "who", "role", "source", "ip", "kind", "what", "node", "outcome", "detail",
	"operation", "generation before", "generation after", "from", "to", "reason", "stall ms", "lost", "request", "prev", "hash"}

// CSV writes records as comma-separated values with a head line, row by row.
type CSV struct{ w *csv.Writer }

// NewCSV writes the head line.
func NewCSV(w io.Writer) (*CSV, error) {
	c := &CSV{csv.NewWriter(w)}
	return c, c.w.Write(columns)
}

// Write writes one record; index is its place in its chain, from 1.
func (c *CSV) Write(r *Record, index int) error {
	row := []string{r.Cluster, strconv.Itoa(index), r.ID, r.At.UTC().Format(time.RFC3339Nano), r.Name, r.Role, r.Source, r.IP, KindOf(r), r.What, r.Node, r.Outcome, r.Detail,
		"", "", "", "", "", "", "", "", r.Request, r.Prev, r.Hash}
	if ch := r.Change; ch != nil {
		copy(row[13:], []string{ch.Operation, fmt.Sprint(ch.GenerationBefore), fmt.Sprint(ch.GenerationAfter), ch.From, ch.To, ch.Reason})
		if ms := ch.Stall.Longest(); ms != nil {
			row[19] = strconv.FormatFloat(*ms, 'f', 3, 64)
		}
		if ch.Proof != nil && ch.Proof.Lost != nil {
			row[20] = strconv.FormatInt(*ch.Proof.Lost, 10)
		}
	}
	for i := range row {
		row[i] = inert(row[i])
	}
	return c.w.Write(row)
}

// Flush writes what is buffered.
func (c *CSV) Flush() error {
	c.w.Flush()
	return c.w.Error()
}

// inert keeps a spreadsheet from taking a cell for a formula: names and
// reasons are typed by people, and an export is opened by others.
func inert(cell string) string {
	if cell == "" {
		return cell
	}
	switch cell[0] {
	case '=', '+', '-', '@', '\t', '\r', '\n':
		return "'" + cell
	}
	return cell
}
