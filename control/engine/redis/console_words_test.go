package redis

import (
	"bufio"
	"reflect"
	"strings"
	"testing"
)

func TestWordsOfALine(t *testing.T) {
	for _, c := range []struct {
		line string
		want []string
		ok   bool
	}{
		{"", nil, true},
		{"  get   k ", []string{"get", "k"}, true},
		{`set k "a b"`, []string{"set", "k", "a b"}, true},
		{`set k "a\"\x41\n\\"`, []string{"set", "k", "a\"A\n\\"}, true},
		{`set k 'a\'b\n'`, []string{"set", "k", `a'b\n`}, true},
		{`set "" ''`, []string{"set", "", ""}, true},
		{"set ä €", []string{"set", "ä", "€"}, true},
		{`set k "open`, []string{"set", "k", "open"}, false},
		{`set k "a"b`, []string{"set", "k", "a"}, false},
	} {
		all, ok := tokens(c.line)
		var got []string
		for _, x := range all {
			got = append(got, x.text)
		}
		if !reflect.DeepEqual(got, c.want) || ok != c.ok {
			t.Errorf("%s: %q %v", c.line, got, ok)
		}
	}
}

func TestPasswordsAreConcealed(t *testing.T) {
	d := New()
	for line, want := range map[string]string{
		"auth geheim":                      "auth ******",
		"AUTH ann geheim":                  "AUTH *** ******",
		`auth "ge heim`:                    "auth ********",
		"acl setuser ann on >pw #ab +@all": "acl setuser ann on *** *** +@all",
		`acl setuser ann ">p w" <x`:        "acl setuser ann ****** **",
		"config set requirepass x":         "config set requirepass *",
		"config set save '' masterauth pw": "config set save '' masterauth **",
		"config get requirepass":           "config get requirepass",
		"hello 3 auth u p":                 "hello 3 auth * *",
		"migrate h 1 k 0 9 AUTH2 u p":      "migrate h 1 k 0 9 AUTH2 * *",
		"set auth geheim":                  "set auth geheim",
		"get k":                            "get k",
	} {
		if got := d.Conceal(line); got != want {
			t.Errorf("%s: %s, want %s", line, got, want)
		}
	}
}

func TestAnswersAreShownBounded(t *testing.T) {
	long := strings.Repeat("x", keptReplyBytes+100)
	hash := strings.Repeat("0a", 32)
	for in, want := range map[string]string{
		"+OK\r\n":                  "OK",
		"-ERR no\r\n":              "(error) ERR no",
		":7\r\n":                   "(integer) 7",
		"$-1\r\n":                  "(nil)",
		"$0\r\n\r\n":               `""`,
		"$5\r\na\x1b[mb\r\n":       `"a\x1b[mb"`,
		"*0\r\n":                   "(empty array)",
		"*2\r\n$1\r\na\r\n:1\r\n":  "1) \"a\"\n2) (integer) 1",
		"*1\r\n*2\r\n+a\r\n+b\r\n": "1) 1) a\n   2) b",
		"-ERR '\x1b]0;x\x07'\r\n":  `(error) ERR '\x1b]0;x\a'`,
		"*2\r\n$11\r\nrequirepass\r\n$2\r\npw\r\n": "1) \"requirepass\"\n2) (hidden)",
		"*1\r\n$64\r\n" + hash + "\r\n":            "1) (hidden)",
		"$70\r\nuser #" + hash + "\r\n":            `"user #(hidden)"`,
	} {
		p := &replyReader{r: bufio.NewReader(strings.NewReader(in))}
		v, err := p.next()
		if got := show(v, true); err != nil || got != want {
			t.Errorf("%q: %q %v, want %q", in, got, err, want)
		}
	}
	p := &replyReader{r: bufio.NewReader(strings.NewReader("$131172\r\n" + long + "\r\n+OK\r\n"))}
	v, err := p.next()
	if err != nil || len(v.text) != keptReplyBytes || !strings.HasSuffix(show(v, false), "... and 100 bytes more that are not shown") {
		t.Errorf("a long answer: %d bytes, %v", len(v.text), err)
	}
	if v, err := p.next(); err != nil || v.text != "OK" {
		t.Errorf("after a long answer: %+v %v", v, err)
	}
	for _, in := range []string{"", "?\r\n", "$x\r\n", "$-2\r\n", "$3\r\nab\r\n", "*99999999999999999999\r\n", strings.Repeat("*1\r\n", 20), "+no end"} {
		p := &replyReader{r: bufio.NewReader(strings.NewReader(in))}
		if v, err := p.next(); err == nil {
			t.Errorf("%q was read as %+v", in, v)
		}
	}
}
