package plan

import "fmt"

// severityOf orders verdicts from good to bad.
var severityOf = map[Verdict]int{Pass: 0, Warn: 1, Unknown: 2, Refuse: 3}

// Worse says in a sentence which check of the report became worse since an
// earlier one, "" when none did. Numbers that move by themselves from second
// to second count only where they refuse: a warning about load is no news.
func (r *Report) Worse(earlier *Report) string {
	was := map[string]Verdict{}
	for _, c := range earlier.Checks {
		was[c.ID+" "+c.Subject] = c.Verdict
	}
	for _, c := range r.Checks {
		v := c.Verdict
		if c.sampled && v == Warn {
			v = Pass
		}
		if old, ok := was[c.ID+" "+c.Subject]; severityOf[v] > severityOf[old] && (ok || v != Warn) {
			return fmt.Sprintf("%s of %s was %s and is %s now: %s", c.ID, c.Subject, orPass(old), c.Verdict, c.Why)
		}
	}
	return ""
}

func orPass(v Verdict) Verdict {
	if v == "" {
		return Pass
	}
	return v
}
