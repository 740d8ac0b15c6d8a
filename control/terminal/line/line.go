// Package line holds a line that is being typed in a terminal: what was typed
// goes in as bytes; what the terminal shall show, and each finished line, come
// out. It knows the keys people expect (arrows, Home, End, Ctrl-A/E/U/K/W/L, the
// lines typed before with Up and Down) and shows passwords as stars while they
// are typed.
//
// The package is pure: an Editor is a value without clock, I/O or locks.
package line

import (
	"bytes"
	"strconv"
	"unicode/utf8"
)

// Bounds of an Editor.
const (
	// MaxRunes of one line; what is typed beyond rings the bell.
	MaxRunes = 4 << 10
	// maxHistory is how many lines are remembered.
	maxHistory = 200
)

// Key is what finished a piece of input.
type Key int

// Keys that Type returns on.
const (
	None   Key = iota // everything was taken in, the line goes on
	Enter             // the line is finished
	Cancel            // Ctrl-C: the line is thrown away
	End               // Ctrl-D on an empty line
)

// Editor is one line with its prompt. Make it with New.
type Editor struct {
	conceal func(string) string
	prompt  string
	columns int

	runes   []rune
	at      int    // cursor, in runes
	kept    []byte // beginning of a key or rune that is not complete
	row     int    // of the cursor, counted from the prompt's first
	lastCR  bool   // Enter was a carriage return: a line feed right behind belongs to it
	history []string
	place   int    // in history; len(history) is the line being typed
	draft   string // what was being typed before Up
}

// New returns an editor. conceal returns the line as it may be shown, as many
// runes; nil shows it as it is.
func New(conceal func(string) string) *Editor {
	if conceal == nil {
		conceal = func(s string) string { return s }
	}
	return &Editor{conceal: conceal, columns: 80}
}

// Resize tells how many columns the terminal has; it shows nothing anew.
func (e *Editor) Resize(columns int) {
	if columns >= 2 {
		e.columns = columns
	}
}

// Prompt sets the prompt and returns what shows it and the line anew, where the
// cursor stands at the beginning of a row.
func (e *Editor) Prompt(p string) []byte {
	e.prompt, e.row = p, 0
	return e.draw()
}

// Reprompt changes the prompt of a line that is shown.
func (e *Editor) Reprompt(p string) []byte {
	out := e.home()
	e.prompt = p
	return append(out, e.draw()...)
}

// Above returns what shows text, lines of its own, above the line being typed.
func (e *Editor) Above(text string) []byte {
	out := append(e.home(), text...)
	return append(out, e.draw()...)
}

// Type takes what was typed. It stops behind the first key that finishes a line:
// rest is what came after it, text the line when key is Enter.
func (e *Editor) Type(p []byte) (show []byte, key Key, text string, rest []byte) {
	in := append(e.kept, p...)
	e.kept = nil
	var out []byte
	for len(in) > 0 {
		k, n := next(in)
		if n == 0 { // not complete
			e.kept = append([]byte(nil), in...)
			break
		}
		in = in[n:]
		wasCR := e.lastCR
		e.lastCR = k.r == '\r'
		switch {
		case k.r == '\n' && wasCR:
			continue
		case k.r == '\r' || k.r == '\n':
			out = append(append(out, e.toEnd()...), "\r\n"...)
			return out, Enter, e.finish(), in
		case k.r == ctrl('C'):
			out = append(append(out, e.toEnd()...), "^C\r\n"...)
			e.clear()
			return out, Cancel, "", in
		case k.r == ctrl('D') && len(e.runes) == 0:
			return append(out, "\r\n"...), End, "", in
		}
		out = append(out, e.press(k)...)
	}
	return out, None, "", nil
}

// toEnd shows the cursor behind the line.
func (e *Editor) toEnd() []byte {
	if e.at == len(e.runes) {
		return nil
	}
	e.at = len(e.runes)
	return e.redraw()
}

func (e *Editor) clear() {
	e.runes, e.at, e.row, e.place, e.draft = nil, 0, 0, len(e.history), ""
}

// finish returns the line and begins a new one. A line with a password is not
// remembered.
func (e *Editor) finish() string {
	text := string(e.runes)
	if text != "" && e.conceal(text) == text && (len(e.history) == 0 || e.history[len(e.history)-1] != text) {
		e.history = append(e.history, text)
		if len(e.history) > maxHistory {
			e.history = e.history[1:]
		}
	}
	e.clear()
	return text
}

// pressed is one key: a rune, or the name of a key that has none.
type pressed struct {
	r    rune
	name string
}

func ctrl(c rune) rune { return c & 0x1f }

// sequences of keys that are no characters.
var sequences = map[string]string{
	"\x1b[A": "up", "\x1b[B": "down", "\x1b[C": "right", "\x1b[D": "left", "\x1bOA": "up", "\x1bOB": "down", "\x1bOC": "right", "\x1bOD": "left",
	"\x1b[H": "home", "\x1b[F": "end", "\x1bOH": "home", "\x1bOF": "end", "\x1b[1~": "home", "\x1b[4~": "end", "\x1b[7~": "home", "\x1b[8~": "end", "\x1b[3~": "delete",
	"\x1bb": "word left", "\x1bf": "word right", "\x1b[1;5D": "word left", "\x1b[1;5C": "word right", "\x1b\x7f": "rub word",
}

// maxSequence bounds an escape sequence that is passed over.
const maxSequence = 32

// next reads one key; n is 0 when it is not complete yet.
func next(in []byte) (k pressed, n int) {
	if in[0] == 0x1b {
		n := escape(in)
		if n == 0 {
			return k, 0
		}
		k.name = sequences[string(in[:n])]
		if k.name == "" {
			k.name = "unknown"
		}
		return k, n
	}
	if !utf8.FullRune(in) {
		return k, 0
	}
	r, n := utf8.DecodeRune(in)
	return pressed{r: r}, n
}

// escape is the length of the escape sequence in begins with, 0 when it is not
// complete yet.
func escape(in []byte) int {
	if len(in) < 2 {
		return 0
	}
	if in[1] != '[' && in[1] != 'O' {
		return 2
	}
	for i := 2; i < len(in) && i < maxSequence; i++ {
		if in[i] >= 0x40 && in[i] <= 0x7e {
			return i + 1
		}
	}
	if len(in) >= maxSequence {
		return maxSequence
	}
	return 0
}

// press applies a key inside the line and returns what shows the change.
func (e *Editor) press(k pressed) []byte {
	switch name := k.name; {
	case name == "left" || k.r == ctrl('B'):
		e.at = max(0, e.at-1)
	case name == "right" || k.r == ctrl('F'):
		e.at = min(len(e.runes), e.at+1)
	case name == "home" || k.r == ctrl('A'):
		e.at = 0
	case name == "end" || k.r == ctrl('E'):
		e.at = len(e.runes)
	case name == "word left":
		e.at = e.wordStart()
	case name == "word right":
		for e.at < len(e.runes) && e.runes[e.at] == ' ' {
			e.at++
		}
		for e.at < len(e.runes) && e.runes[e.at] != ' ' {
			e.at++
		}
	case name == "up" || k.r == ctrl('P'):
		e.recall(-1)
	case name == "down" || k.r == ctrl('N'):
		e.recall(1)
	case k.r == 0x7f || k.r == ctrl('H'):
		e.cut(e.at-1, e.at)
	case name == "delete" || k.r == ctrl('D'):
		e.cut(e.at, e.at+1)
	case k.r == ctrl('U'):
		e.cut(0, e.at)
	case k.r == ctrl('K'):
		e.cut(e.at, len(e.runes))
	case k.r == ctrl('W') || name == "rub word":
		e.cut(e.wordStart(), e.at)
	case k.r == ctrl('L'):
		e.row = 0
		return append([]byte("\x1b[H\x1b[2J"), e.draw()...)
	case name != "" || k.r < ' ' && k.r != '\t' || k.r == utf8.RuneError:
		return []byte{'\a'}
	default:
		if k.r == '\t' {
			k.r = ' '
		}
		return e.insert(k.r)
	}
	return e.redraw()
}

func (e *Editor) insert(r rune) []byte {
	if len(e.runes) >= MaxRunes {
		return []byte{'\a'}
	}
	before := e.shown()
	e.runes = append(e.runes[:e.at], append([]rune{r}, e.runes[e.at:]...)...)
	e.at++
	after := e.shown()
	// The usual case is one more character at the end: only it is sent.
	if e.at == len(e.runes) && len(after) == len(before)+1 && equal(after[:len(before)], before) {
		if w := e.width(after); w%e.columns != 0 && width(r) == 1 && (w-1)%e.columns != 0 {
			e.row = w / e.columns
			return utf8.AppendRune(nil, after[len(before)])
		}
	}
	return e.redraw()
}

func equal(a, b []rune) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func (e *Editor) shown() []rune { return []rune(e.conceal(string(e.runes))) }

func (e *Editor) cut(from, to int) {
	from, to = max(0, from), min(to, len(e.runes))
	if from < to {
		e.runes = append(e.runes[:from:from], e.runes[to:]...)
		e.at = from
	}
}

func (e *Editor) wordStart() int {
	at := e.at
	for at > 0 && e.runes[at-1] == ' ' {
		at--
	}
	for at > 0 && e.runes[at-1] != ' ' {
		at--
	}
	return at
}

func (e *Editor) recall(by int) {
	to := e.place + by
	if to < 0 || to > len(e.history) {
		return
	}
	if e.place == len(e.history) {
		e.draft = string(e.runes)
	}
	text := e.draft
	if to < len(e.history) {
		text = e.history[to]
	}
	e.place, e.runes = to, []rune(text)
	e.at = len(e.runes)
}

// width of a line that begins with the prompt, in columns.
func (e *Editor) width(shown []rune) int {
	n := 0
	for _, r := range e.prompt {
		n += width(r)
	}
	for _, r := range shown {
		n += width(r)
	}
	return n
}

// wide are the first and last runes of blocks that take two columns.
var wide = [][2]rune{{0x1100, 0x115f}, {0x2e80, 0xa4cf}, {0xac00, 0xd7a3}, {0xf900, 0xfaff}, {0xfe30, 0xfe6f}, {0xff00, 0xff60}, {0xffe0, 0xffe6}, {0x1f300, 0x1f64f}, {0x1f900, 0x1f9ff}, {0x20000, 0x3fffd}}

func width(r rune) int {
	if r >= 0x300 && r <= 0x36f || r == 0x200d || r >= 0xfe00 && r <= 0xfe0f {
		return 0
	}
	for _, w := range wide {
		if r >= w[0] && r <= w[1] {
			return 2
		}
	}
	return 1
}

// home moves to the prompt's first column and clears all below.
func (e *Editor) home() []byte {
	var out []byte
	if e.row > 0 {
		out = append(append(out, "\x1b["...), strconv.Itoa(e.row)+"A"...)
	}
	e.row = 0
	return append(out, "\r\x1b[J"...)
}

func (e *Editor) redraw() []byte { return append(e.home(), e.draw()...) }

// draw shows prompt and line from the first column of a cleared row and puts
// the cursor in its place.
func (e *Editor) draw() []byte {
	shown := e.shown()
	var b bytes.Buffer
	b.WriteString(e.prompt)
	b.WriteString(string(shown))
	total := e.width(shown)
	endRow := total / e.columns
	if total > 0 && total%e.columns == 0 {
		b.WriteString("\r\n") // the terminal waits at the edge; go on to the next row
	}
	before := e.width(shown[:min(e.at, len(shown))])
	row, column := before/e.columns, before%e.columns
	if e.at < len(e.runes) {
		if up := endRow - row; up > 0 {
			b.WriteString("\x1b[" + strconv.Itoa(up) + "A")
		}
		b.WriteByte('\r')
		if column > 0 {
			b.WriteString("\x1b[" + strconv.Itoa(column) + "C")
		}
	}
	e.row = row
	return b.Bytes()
}
