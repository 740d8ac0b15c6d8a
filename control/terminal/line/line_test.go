package line

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// screen is a small terminal of a given width that understands what an Editor
// sends.
type screen struct {
	columns  int
	rows     [][]rune
	row, col int
}

func (s *screen) write(t interface{ Fatalf(string, ...any) }, p []byte) {
	in := []rune(string(p))
	for len(in) > 0 {
		r := in[0]
		in = in[1:]
		switch r {
		case '\r':
			s.col = 0
		case '\n':
			s.row++
		case '\a':
		case 0x1b:
			n, i := 0, 1
			for in[i] >= '0' && in[i] <= '9' {
				n = n*10 + int(in[i]-'0')
				i++
			}
			kind := in[i]
			in = in[i+1:]
			switch kind {
			case 'A':
				s.row -= n
			case 'C':
				s.col += n
			case 'J':
				if n == 2 {
					s.rows = nil
					break
				}
				s.line(s.row)
				s.rows = s.rows[:s.row+1]
				if len(s.rows[s.row]) > s.col {
					s.rows[s.row] = s.rows[s.row][:s.col]
				}
			case 'H':
				s.row, s.col = 0, 0
			default:
				t.Fatalf("unknown sequence %q", kind)
			}
		default:
			if s.col >= s.columns { // it waits at the edge until there is more
				s.row, s.col = s.row+1, 0
			}
			l := s.line(s.row)
			for len(*l) <= s.col {
				*l = append(*l, ' ')
			}
			(*l)[s.col] = r
			s.col++
		}
		if s.row < 0 || s.col > s.columns {
			t.Fatalf("the cursor is at row %d, column %d", s.row, s.col)
		}
	}
}

func (s *screen) line(i int) *[]rune {
	for len(s.rows) <= i {
		s.rows = append(s.rows, nil)
	}
	return &s.rows[i]
}

func (s *screen) text() string {
	var lines []string
	for _, r := range s.rows {
		lines = append(lines, string(r))
	}
	return strings.TrimRight(strings.Join(lines, ""), " ")
}

func TestKeysAndFinishedLines(t *testing.T) {
	for _, c := range []struct{ typed, want string }{
		{"abc\r", "abc"},
		{"abc\n", "abc"},
		{"abd\x7fc\r", "abc"},
		{"bc\x01a\r", "abc"},
		{"ac\x1b[Db\r", "abc"},
		{"xyabc\x01\x1b[3~\x04\r", "abc"},
		{"one two\x17three\r", "one three"},
		{"abc def\x1bb\x0b\r", "abc "},
		{"xxabc\x01\x1b[C\x1b[C\x15\r", "abc"},
		{"ä\u00fc€\x7f\r", "ä\u00fc"},
		{"a\tb\r", "a b"},
		{"\x1b[99;99Zabc\x1b[15~\r", "abc"},
		{"", ""},
	} {
		e := New(nil)
		e.Prompt("> ")
		var got string
		var key Key
		for i := range len(c.typed) { // one byte at a time: keys and characters come in parts
			if _, k, text, _ := e.Type([]byte{c.typed[i]}); k != None {
				got, key = text, k
			}
		}
		if got != c.want || c.typed != "" && key != Enter {
			t.Errorf("%q: %q, key %v", c.typed, got, key)
		}
	}
	e := New(nil)
	e.Prompt("> ")
	_, key, text, rest := e.Type([]byte("one\r\ntwo\rthree"))
	if key != Enter || text != "one" || string(rest) != "\ntwo\rthree" {
		t.Errorf("%v %q %q", key, text, rest)
	}
	_, key, text, rest = e.Type(rest)
	if key != Enter || text != "two" || string(rest) != "three" {
		t.Errorf("%v %q %q", key, text, rest)
	}
	e.Type(rest)
	if _, key, _, _ := e.Type([]byte{3}); key != Cancel {
		t.Errorf("Ctrl-C: %v", key)
	}
	if _, key, _, _ := e.Type([]byte{4}); key != End {
		t.Errorf("Ctrl-D: %v", key)
	}
	e.Type([]byte("\x1b[A\x1b[A"))
	if _, _, text, _ := e.Type([]byte("\r")); text != "one" {
		t.Errorf("two lines up: %q", text)
	}
	e.Type([]byte("draft\x1b[A\x1b[B"))
	if _, _, text, _ := e.Type([]byte("\r")); text != "draft" {
		t.Errorf("up and down: %q", text)
	}
	long := strings.Repeat("x", MaxRunes+10)
	if _, _, text, _ := e.Type([]byte(long + "\r")); len(text) != MaxRunes {
		t.Errorf("%d characters were taken", len(text))
	}
}

// TestWhatIsConcealedIsNeverShown nor remembered.
func TestWhatIsConcealedIsNeverShown(t *testing.T) {
	e := New(func(s string) string {
		if rest, ok := strings.CutPrefix(s, "auth "); ok {
			return "auth " + strings.Repeat("*", len([]rune(rest)))
		}
		return s
	})
	out := string(e.Prompt("> "))
	for _, r := range "auth geheim\x1b[D\x1b[Dx\x0c" {
		show, _, _, _ := e.Type([]byte(string(r)))
		out += string(show)
	}
	show, _, text, _ := e.Type([]byte("\r"))
	out += string(show)
	if text != "auth gehexim" || strings.ContainsAny(strings.ReplaceAll(out, "auth", ""), "gexim") {
		t.Errorf("%q was shown for %q", out, text)
	}
	if show, _, text, _ := e.Type([]byte("\x1b[A\r")); text != "" {
		t.Errorf("it is remembered: %q %q", text, show)
	}
}

// TestTheScreenShowsTheLine for any keys, widths and cuts.
func TestTheScreenShowsTheLine(t *testing.T) {
	keys := []string{"a", "b", " ", "word ", "é", "\x1b[D", "\x1b[C", "\x01", "\x05", "\x7f", "\x04", "\x15", "\x0b", "\x17", "\x1b[A", "\x1b[B", "long text that wraps "}
	rapid.Check(t, func(t *rapid.T) {
		s := &screen{columns: rapid.IntRange(4, 30).Draw(t, "columns")}
		e := New(nil)
		e.history = []string{"from before", strings.Repeat("x", s.columns-2)}
		e.place = 2
		e.Resize(s.columns)
		s.write(t, e.Prompt("> "))
		for range rapid.IntRange(1, 40).Draw(t, "keys") {
			k := rapid.SampledFrom(keys).Draw(t, "key")
			if k == "\x04" && len(e.runes) == 0 {
				continue
			}
			show, _, _, _ := e.Type([]byte(k))
			s.write(t, show)
			if want := strings.TrimRight("> "+string(e.runes), " "); s.text() != want {
				t.Fatalf("after %q the screen shows %q, the line is %q", k, s.text(), want)
			}
			at := 2 + e.at
			if row, col := at/s.columns, at%s.columns; s.row*s.columns+s.col != row*s.columns+col {
				t.Fatalf("after %q the cursor is at %d, %d and should be at %d, %d", k, s.row, s.col, row, col)
			}
		}
		s.write(t, e.Reprompt("new> "))
		if want := strings.TrimRight("new> "+string(e.runes), " "); s.text() != want {
			t.Fatalf("with a new prompt: %q, want %q", s.text(), want)
		}
	})
}
