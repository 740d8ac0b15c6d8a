package notify

import (
	"fmt"
	"strings"
	"time"
)

// subject is one line about a message.
func subject(m *Message) string {
	count := map[string]int{}
	for _, i := range m.Items {
		if i.State == "firing" && i.Severity == "critical" {
			count["critical"]++
		}
		count[i.State]++
	}
	if len(m.Items) == 1 {
		i := m.Items[0]
		word := map[string]string{"firing": strings.ToUpper(i.Severity), "resolved": "RESOLVED", "ended": "DONE", "test": "TEST"}[i.State]
		if i.State == "ended" && i.Severity == "critical" {
			word = "NEEDS A HUMAN"
		}
		return clean(fmt.Sprintf("[Baton] %s: %s", word, short(i.Sentence)))
	}
	var parts []string
	if n := count["firing"]; n > 0 {
		p := fmt.Sprintf("%d firing", n)
		if c := count["critical"]; c > 0 {
			p += fmt.Sprintf(" (%d critical)", c)
		}
		parts = append(parts, p)
	}
	if n := count["resolved"]; n > 0 {
		parts = append(parts, fmt.Sprintf("%d resolved", n))
	}
	if n := count["ended"]; n == 1 {
		parts = append(parts, "1 operation ended")
	} else if n > 1 {
		parts = append(parts, fmt.Sprintf("%d operations ended", n))
	}
	return "[Baton] " + strings.Join(parts, ", ")
}

// text is a message for people.
func text(m *Message) string {
	var b strings.Builder
	for _, i := range m.Items {
		word := map[string]string{"firing": strings.ToUpper(i.Severity), "resolved": "RESOLVED", "ended": "OPERATION", "test": "TEST"}[i.State]
		fmt.Fprintf(&b, "%s  %s\n", word, clean(i.Sentence))
		if i.Fix != "" {
			fmt.Fprintf(&b, "    What to do: %s\n", clean(i.Fix))
		}
		where := i.Cluster
		if i.Node != "" {
			where += " / " + i.Node
		}
		if where != "" {
			where += ", "
		}
		fmt.Fprintf(&b, "    %s%s, %s %s\n\n", where, i.Kind, i.At.UTC().Format(time.RFC3339), i.ID)
	}
	if m.More > 0 {
		fmt.Fprintf(&b, "... and %d more.\n\n", m.More)
	}
	if m.URL != "" {
		fmt.Fprintf(&b, "%s/alerts\n", m.URL)
	}
	return b.String()
}

// short is the beginning of a sentence, fit for a subject.
func short(s string) string {
	if r := []rune(s); len(r) > 120 {
		return string(r[:117]) + "..."
	}
	return s
}

// clean takes control characters out: a name must not add a header line.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 32 || r == 127 {
			return ' '
		}
		return r
	}, s)
}
