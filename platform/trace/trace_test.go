package trace

import (
	"strings"
	"testing"
)

const example = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func TestTraceparentIsReadAndWritten(t *testing.T) {
	t.Parallel()
	c, ok := Parse(example)
	if !ok || !c.Sampled || c.String() != example {
		t.Fatalf("%v, %v", c, ok)
	}
	if later, ok := Parse("cc" + example[2:] + "-more"); !ok || later != c {
		t.Errorf("a later version: %v, %v", later, ok)
	}
	quiet := strings.TrimSuffix(example, "01") + "00"
	if c, ok := Parse(quiet); !ok || c.Sampled || c.String() != quiet {
		t.Errorf("unsampled: %v, %v", c, ok)
	}
	for _, bad := range []string{
		"", "00", example[:54], example + "-", "ff" + example[2:], strings.ToUpper(example), strings.Replace(example, "-", "_", 1),
		"00-" + strings.Repeat("0", 32) + example[35:], example[:36] + strings.Repeat("0", 16) + "-01", example[:53] + "zz", "0x" + example[2:],
	} {
		if c, ok := Parse(bad); ok {
			t.Errorf("%q is read as %v", bad, c)
		}
	}
}

func TestBinaryFormIsReadBack(t *testing.T) {
	t.Parallel()
	c, _ := Parse(example)
	b := c.Append([]byte("x"))
	got, rest, ok := Decode(append(b[1:], "rest"...))
	if !ok || got != c || string(rest) != "rest" || len(b) != 1+Bytes {
		t.Errorf("%v, %q, %v", got, rest, ok)
	}
	if _, _, ok := Decode(b[1:25]); ok {
		t.Error("a short form is accepted")
	}
	if _, _, ok := Decode(make([]byte, Bytes)); ok {
		t.Error("zeros are accepted")
	}
}

// Goal: two nodes give the same child the same id, and different children different ones.
func TestChildrenAreNamedAlikeEverywhere(t *testing.T) {
	t.Parallel()
	c, _ := Parse(example)
	elsewhere, _ := Parse(example)
	if c.Child(1) != elsewhere.Child(1) || c.Child(1) == c.Child(2) || c.Child(1).Span == c.Span || c.Child(1).Trace != c.Trace || !c.Child(1).Sampled {
		t.Errorf("%v %v", c.Child(1), c.Child(2))
	}
}

func FuzzParse(f *testing.F) {
	f.Add(example)
	f.Add("00-")
	f.Fuzz(func(t *testing.T, text string) {
		c, ok := Parse(text)
		if !ok {
			return
		}
		if again, ok := Parse(c.String()); !ok || again != c {
			t.Fatalf("%q is read as %v and written as %v", text, c, again)
		}
		if again, _, ok := Decode(c.Append(nil)); !ok || again != c {
			t.Fatalf("%v comes back as %v", c, again)
		}
	})
}
