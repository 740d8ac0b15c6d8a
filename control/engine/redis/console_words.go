package redis

import (
	"errors"
	"strings"
	"unicode"
)

// errQuotes refuses a line whose quotes do not close.
var errQuotes = errors.New("a quote is not closed, or something stands right behind it")

// token is one argument of a line and where it stands, in runes.
type token struct {
	text       string
	start, end int
}

// tokens splits a line as redis-cli does: spaces part arguments; "..." may hold
// \n \r \t \b \a \" \\ and \xHH, '...' only \'. For a line with an open quote the
// last token reaches to the line's end, and ok is false.
func tokens(line string) (out []token, ok bool) {
	r := []rune(line)
	for i := 0; ; {
		for i < len(r) && unicode.IsSpace(r[i]) {
			i++
		}
		if i == len(r) {
			return out, true
		}
		t := token{start: i}
		var b strings.Builder
		closed := true
		for i < len(r) && !unicode.IsSpace(r[i]) {
			if r[i] != '"' && r[i] != '\'' {
				b.WriteRune(r[i])
				i++
				continue
			}
			i, closed = quoted(r, i, &b)
			if !closed {
				break
			}
		}
		t.text, t.end = b.String(), i
		if !closed {
			t.end = len(r)
			return append(out, t), false
		}
		out = append(out, t)
	}
}

// quoted reads a quoted part that begins at i and returns where it ends.
func quoted(r []rune, i int, b *strings.Builder) (end int, closed bool) {
	quote := r[i]
	for i++; i < len(r); i++ {
		switch {
		case r[i] == quote:
			i++
			return i, i == len(r) || unicode.IsSpace(r[i])
		case r[i] == '\\' && quote == '\'' && i+1 < len(r) && r[i+1] == '\'':
			i++
			b.WriteRune('\'')
		case r[i] == '\\' && quote == '"' && i+1 < len(r):
			i = escaped(r, i+1, b)
		default:
			b.WriteRune(r[i])
		}
	}
	return i, false
}

// escaped reads what follows a backslash and returns the index of its last rune.
func escaped(r []rune, i int, b *strings.Builder) int {
	if r[i] == 'x' && i+2 < len(r) {
		hi, lo := strings.IndexRune(hexDigits, unicode.ToLower(r[i+1])), strings.IndexRune(hexDigits, unicode.ToLower(r[i+2]))
		if hi >= 0 && lo >= 0 {
			b.WriteByte(byte(hi<<4 | lo))
			return i + 2
		}
	}
	if j := strings.IndexRune("nrtba", r[i]); j >= 0 {
		b.WriteByte("\n\r\t\b\a"[j])
		return i
	}
	b.WriteRune(r[i])
	return i
}

const hexDigits = "0123456789abcdef"

// secretSettings are the settings whose values are passwords.
var secretSettings = map[string]bool{"requirepass": true, "masterauth": true, "tls-key-file-pass": true, "tls-client-key-file-pass": true}

// Conceal hides what follows AUTH, the password rules of ACL SETUSER, values of
// settings that are passwords and logins given to MIGRATE and HELLO.
func (d *Driver) Conceal(line string) string {
	all, _ := tokens(line)
	if len(all) < 2 {
		return line
	}
	r := []rune(line)
	hide := func(t token) {
		for i := t.start; i < t.end; i++ {
			r[i] = '*'
		}
	}
	hideFrom := func(i int) {
		for _, t := range all[min(i, len(all)):] {
			hide(t)
		}
	}
	word := func(i int) string {
		if i >= len(all) {
			return ""
		}
		return strings.ToLower(all[i].text)
	}
	switch word(0) {
	case "auth":
		hideFrom(1)
	case "acl":
		if word(1) != "setuser" {
			break
		}
		for _, t := range all[min(3, len(all)):] {
			if t.text == "" || strings.ContainsRune("><#!", []rune(t.text)[0]) {
				hide(t)
			}
		}
	case "config":
		for i := 2; i+1 < len(all) && word(1) == "set"; i += 2 {
			if secretSettings[word(i)] {
				hide(all[i+1])
			}
		}
	case "hello", "migrate":
		for i := range all {
			if w := word(i); i > 0 && (w == "auth" || w == "auth2") {
				hideFrom(i + 1)
				break
			}
		}
	}
	return string(r)
}
