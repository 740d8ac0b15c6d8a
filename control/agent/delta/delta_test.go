package delta

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
)

type word string

// sample has every kind of field there is.
type sample struct {
	Text    string             `json:"text"`
	Word    word               `json:"word,omitempty"`
	Yes     bool               `json:"yes"`
	Int     int64              `json:"int,string"`
	Small   int8               `json:"small"`
	Uint    uint64             `json:"uint"`
	Byte    uint8              `json:"byte"`
	Float   float64            `json:"float"`
	At      time.Time          `json:"at"`
	Until   *time.Time         `json:"until,omitempty"`
	Maybe   *float64           `json:"maybe,omitempty"`
	Inner   inner              `json:"inner"`
	Pointer *inner             `json:"pointer,omitempty"`
	List    []inner            `json:"list"`
	Texts   []string           `json:"texts,omitempty"`
	Words   map[string]string  `json:"words,omitempty"`
	Map     map[string]inner   `json:"map"`
	Numbers map[string]float64 `json:"numbers"`
	Hidden  string             `json:"-"`
}

type inner struct {
	A string   `json:"a"`
	B int      `json:"b,omitempty"`
	C *int     `json:"c,omitempty"`
	D []string `json:"d"`
	E time.Time
}

// change gives some of v's fields other values; all of them at odds 1.
func change(v reflect.Value, rnd *rand.Rand, odds int) {
	if v.Type() == timeType {
		if t := time.Unix(rnd.Int64N(1<<33)-1<<32, rnd.Int64N(1e9)).UTC(); rnd.IntN(8) > 0 {
			v.Set(reflect.ValueOf(t))
		} else {
			v.SetZero()
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && f.Tag.Get("json") != "-" && rnd.IntN(odds) == 0 {
				change(v.Field(i), rnd, odds)
			}
		}
	case reflect.Pointer:
		if rnd.IntN(4) == 0 {
			v.SetZero()
			return
		}
		next := reflect.New(v.Type().Elem())
		if !v.IsNil() {
			next.Elem().Set(v.Elem())
		}
		change(next.Elem(), rnd, odds)
		v.Set(next)
	case reflect.Slice:
		n := v.Len()
		if rnd.IntN(4) == 0 {
			n = rnd.IntN(30)
		}
		next := reflect.MakeSlice(v.Type(), n, n)
		reflect.Copy(next, v)
		for i := range n {
			if rnd.IntN(odds) == 0 {
				change(next.Index(i), rnd, odds)
			}
		}
		if v.Set(next); n == 0 && rnd.IntN(2) == 0 {
			v.SetZero()
		}
	case reflect.Map:
		next := reflect.MakeMap(v.Type())
		for all := v.MapRange(); all.Next(); {
			if rnd.IntN(8) > 0 {
				next.SetMapIndex(all.Key(), all.Value())
			}
		}
		for range rnd.IntN(3) {
			key, value := reflect.ValueOf(fmt.Sprintf("key %d", rnd.IntN(40))), reflect.New(v.Type().Elem()).Elem()
			if was := next.MapIndex(key); was.IsValid() {
				value.Set(was)
			}
			change(value, rnd, odds)
			next.SetMapIndex(key, value)
		}
		if v.Set(next); next.Len() == 0 && rnd.IntN(2) == 0 {
			v.SetZero()
		}
	case reflect.String:
		v.SetString([]string{"", "text", "ä"}[rnd.IntN(3)] + fmt.Sprint(rnd.IntN(1000)))
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Float64:
		v.SetFloat(rnd.NormFloat64() * 1e9)
	case reflect.Int, reflect.Int8, reflect.Int64:
		v.SetInt(int64(rnd.Uint64()) >> (64 - v.Type().Bits()))
	case reflect.Uint8, reflect.Uint64:
		v.SetUint(rnd.Uint64() >> (64 - v.Type().Bits()))
	default:
		panic(v.Kind())
	}
}

func textOf(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestAChainOfDifferences: each value made of the one before and what changed is
// the one that was meant, to the nil list and the empty one; the one before stays
// as it was, whatever is shared with it; a value that did not change is a byte.
func TestAChainOfDifferences(t *testing.T) {
	for seed := range uint64(12) {
		rnd := rand.New(rand.NewPCG(seed, 79))
		var meant, have sample
		for step := range 25 {
			next := meant // shallow: change copies what it changes
			change(reflect.ValueOf(&next).Elem(), rnd, 1+step%5)
			d := Of(&have, &next)
			if err := cbor.Wellformed(d); err != nil {
				t.Fatalf("seed %d step %d: %x: %v", seed, step, d, err)
			}
			before := textOf(t, have)
			got, err := Apply(&have, d)
			if err != nil {
				t.Fatalf("seed %d step %d: %x: %v", seed, step, d, err)
			}
			if !reflect.DeepEqual(got, next) {
				t.Fatalf("seed %d step %d:\n%s\nbecame\n%s", seed, step, textOf(t, next), textOf(t, got))
			}
			if after := textOf(t, have); after != before {
				t.Fatalf("seed %d step %d: the value before became\n%s\nand was\n%s", seed, step, after, before)
			}
			if d := Of(&got, &next); len(d) != 1 {
				t.Fatalf("seed %d step %d: nothing changed, and that takes %x", seed, step, d)
			}
			meant, have = next, got
		}
	}
}

// TestWhatDidNotChangeIsShared, and what did is not.
func TestWhatDidNotChangeIsShared(t *testing.T) {
	one := 1.0
	before := sample{Maybe: &one, List: []inner{{A: "a"}}, Words: map[string]string{"a": "b"}, Pointer: &inner{}}
	now := before
	now.Text, now.Words = "other", map[string]string{"a": "c"}
	got, err := Apply(&before, Of(&before, &now))
	if err != nil {
		t.Fatal(err)
	}
	if got.Maybe != before.Maybe || got.Pointer != before.Pointer || &got.List[0] != &before.List[0] {
		t.Error("what did not change is copied")
	}
	if before.Words["a"] != "b" || got.Words["a"] != "c" {
		t.Errorf("%v became %v", before.Words, got.Words)
	}
}

// TestNamesNobodyKnows are passed over, with whatever they hold: the other end
// is of another version.
func TestNamesNobodyKnows(t *testing.T) {
	type newer struct {
		A     string         `json:"a"`
		More  map[string]int `json:"more"`
		Lists [][]string     `json:"-"`
		Deep  *sample        `json:"deep"`
		B     int            `json:"b"`
	}
	var none newer
	d := Of(&none, &newer{A: "a", More: map[string]int{"x": 1}, Deep: &sample{Texts: []string{"y"}, Float: 2}, B: 7})
	got, err := Apply(&inner{}, d)
	if err != nil || got.A != "a" || got.B != 7 {
		t.Errorf("%+v %v", got, err)
	}
}

// TestWhatIsNoDifferenceChangesNothing: it is refused, and the value is the one
// before.
func TestWhatIsNoDifferenceChangesNothing(t *testing.T) {
	before := sample{Text: "as it was", List: []inner{{}}, Small: 3}
	for what, d := range map[string][]byte{
		"nothing":           {},
		"a number":          {1},
		"cut off":           {kindMap<<5 | 1, kindText<<5 | 4, 't', 'e'},
		"a number for text": append(appendText([]byte{kindMap<<5 | 1}, "text"), 1),
		"too large":         appendInt(appendText([]byte{kindMap<<5 | 1}, "small"), 200),
		"a place too far":   append(appendText([]byte{kindMap<<5 | 1}, "list"), kindMap<<5|1, 1, kindMap<<5),
		"a list too long":   appendHead(appendText([]byte{kindMap<<5 | 1}, "list"), kindArray, 1<<40),
		"more behind it":    {kindMap << 5, 0},
		"indefinite":        {kindMap<<5 | 31, 0xff},
		"no fraction":       append(appendText([]byte{kindMap<<5 | 1}, "float"), 1, 1, 1, 1, 1, 1, 1, 1, 1, 1),
		"no time":           appendText(appendText([]byte{kindMap<<5 | 1}, "at"), "yesterday"),
		"neither":           append(appendText([]byte{kindMap<<5 | 1}, "yes"), null),
	} {
		got, err := Apply(&before, d)
		if !errors.Is(err, ErrMalformed) || !reflect.DeepEqual(got, before) {
			t.Errorf("%s: %v, %+v", what, err, got)
		}
	}
}

// FuzzApply: whatever comes is a value or refused.
func FuzzApply(f *testing.F) {
	var none, some sample
	change(reflect.ValueOf(&some).Elem(), rand.New(rand.NewPCG(1, 1)), 1)
	f.Add(Of(&none, &some))
	f.Add([]byte{kindMap<<5 | 1, kindText<<5 | 4, 'l', 'i', 's', 't', 0x9a, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, d []byte) {
		before := textOf(t, some)
		if _, err := Apply(&some, d); err != nil && !errors.Is(err, ErrMalformed) {
			t.Error(err)
		}
		if textOf(t, some) != before {
			t.Error("the value before changed")
		}
	})
}
