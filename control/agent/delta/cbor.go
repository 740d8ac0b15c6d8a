package delta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
)

// The major types of CBOR, and the simple values that are used. Lengths are
// always definite.
const (
	kindUint     = 0
	kindNegative = 1
	kindBytes    = 2
	kindText     = 3
	kindArray    = 4
	kindMap      = 5
	kindTag      = 6
	kindSimple   = 7

	no     = kindSimple<<5 | 20
	yes    = kindSimple<<5 | 21
	null   = kindSimple<<5 | 22
	double = kindSimple<<5 | 27
)

// maxDepth bounds what is nested in names that nobody knows.
const maxDepth = 64

var errShort = errors.New("it ends early")

func appendHead(b []byte, kind byte, n uint64) []byte {
	switch {
	case n < 24:
		return append(b, kind<<5|byte(n))
	case n <= math.MaxUint8:
		return append(b, kind<<5|24, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, kind<<5|25), uint16(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(b, kind<<5|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, kind<<5|27), n)
}

// count writes how many pairs the map has whose head of one byte stands at at.
func count(b []byte, at, n int) []byte {
	var room [9]byte
	return slices.Replace(b, at, at+1, appendHead(room[:0], kindMap, uint64(n))...)
}

func appendText(b []byte, s string) []byte {
	return append(appendHead(b, kindText, uint64(len(s))), s...)
}

func appendInt(b []byte, n int64) []byte {
	if n < 0 {
		return appendHead(b, kindNegative, uint64(^n))
	}
	return appendHead(b, kindUint, uint64(n))
}

func appendFloat(b []byte, f float64) []byte {
	return binary.BigEndian.AppendUint64(append(b, double), math.Float64bits(f))
}

// reader takes a difference apart; b is what is left.
type reader struct{ b []byte }

// kind is the major type of what comes next; kindSimple at the end.
func (r *reader) kind() byte {
	if len(r.b) == 0 {
		return kindSimple
	}
	return r.b[0] >> 5
}

// null takes a null, if it comes next.
func (r *reader) null() bool {
	if len(r.b) > 0 && r.b[0] == null {
		r.b = r.b[1:]
		return true
	}
	return false
}

// head takes the head of an item: its major type and number.
func (r *reader) head() (kind byte, n uint64, err error) {
	if len(r.b) == 0 {
		return 0, 0, errShort
	}
	kind, low := r.b[0]>>5, r.b[0]&31
	size := 0
	switch {
	case low < 24:
		r.b = r.b[1:]
		return kind, uint64(low), nil
	case low < 28:
		size = 1 << (low - 24)
	default:
		return 0, 0, fmt.Errorf("a head of form %d", low)
	}
	if len(r.b) < 1+size {
		return 0, 0, errShort
	}
	for _, c := range r.b[1 : 1+size] {
		n = n<<8 | uint64(c)
	}
	r.b = r.b[1+size:]
	return kind, n, nil
}

// want is head of an item of one major type.
func (r *reader) want(kind byte) (uint64, error) {
	have, n, err := r.head()
	if err == nil && have != kind {
		err = fmt.Errorf("kind %d instead of %d", have, kind)
	}
	return n, err
}

// text takes a text; it is part of what is read.
func (r *reader) text() ([]byte, error) {
	n, err := r.want(kindText)
	if err != nil {
		return nil, err
	}
	if n > uint64(len(r.b)) {
		return nil, errShort
	}
	s := r.b[:n]
	r.b = r.b[n:]
	return s, nil
}

func (r *reader) int() (int64, error) {
	kind, n, err := r.head()
	switch {
	case err != nil:
		return 0, err
	case kind > kindNegative:
		return 0, fmt.Errorf("kind %d for a number", kind)
	case n > math.MaxInt64:
		return 0, errors.New("a number of more than 64 bits")
	case kind == kindNegative:
		return ^int64(n), nil
	}
	return int64(n), nil
}

func (r *reader) float() (float64, error) {
	if len(r.b) < 9 {
		return 0, errShort
	}
	if r.b[0] != double {
		return 0, fmt.Errorf("item %#x for a number with fractions", r.b[0])
	}
	f := math.Float64frombits(binary.BigEndian.Uint64(r.b[1:]))
	r.b = r.b[9:]
	return f, nil
}

func (r *reader) bool() (bool, error) {
	if len(r.b) == 0 {
		return false, errShort
	}
	c := r.b[0]
	if c != yes && c != no {
		return false, fmt.Errorf("item %#x for yes or no", c)
	}
	r.b = r.b[1:]
	return c == yes, nil
}

// skip passes over one item.
func (r *reader) skip(depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("more than %d levels", maxDepth)
	}
	kind, n, err := r.head()
	if err != nil {
		return err
	}
	items := uint64(0)
	switch kind {
	case kindBytes, kindText:
		if n > uint64(len(r.b)) {
			return errShort
		}
		r.b = r.b[n:]
	case kindArray:
		items = n
	case kindMap:
		if n > uint64(len(r.b)) {
			return errShort
		}
		items = 2 * n
	case kindTag:
		items = 1
	}
	for range items {
		if err := r.skip(depth + 1); err != nil {
			return err
		}
	}
	return nil
}
