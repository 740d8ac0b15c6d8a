// Package delta tells what changed from one value to the next of the same type,
// in CBOR (RFC 8949), and makes the next of the one before and that.
//
// A difference has the form of the value itself, with everything left out that
// is as it was: of a struct and of a map a CBOR map with the names that changed,
// of a list of the same length a CBOR map from place to difference, of any other
// list the whole array. Names are those of the JSON form. null is the nil
// pointer, list or map and, in a map, a key that is gone. A time is its
// nanoseconds since 1970 in UTC, or text (RFC 3339) where they do not fit.
//
// It knows structs, pointers to what is not itself a pointer, lists, maps from
// strings to scalars or structs, times, strings, booleans and numbers; not
// embedded structs, and no type that holds itself. It has no clock, no I/O and no locks that
// are held for long, and may be used from many goroutines.
package delta

import (
	"errors"
	"fmt"
	"reflect"
)

// ErrMalformed is why a difference is not applied: it is no difference of the
// type.
var ErrMalformed = errors.New("not a difference of such a value")

// Of tells what makes now of before. Neither is changed or kept.
func Of[T any](before, now *T) []byte {
	f := formOf(reflect.TypeFor[T]())
	old, v := reflect.ValueOf(before).Elem(), reflect.ValueOf(now).Elem()
	b, changed := f.differ(make([]byte, 0, 1024), old, v)
	if !changed {
		return append(b, kindMap<<5)
	}
	return b
}

// Apply makes the next value. What did not change is shared with before, which
// stays as it is; what is returned is not to be changed either. Names the type
// does not have are passed over.
func Apply[T any](before *T, difference []byte) (next T, err error) {
	next = *before
	r := reader{b: difference}
	if err := formOf(reflect.TypeFor[T]()).apply(&r, reflect.ValueOf(&next).Elem()); err != nil {
		return *before, fmt.Errorf("%w: at byte %d: %w", ErrMalformed, len(difference)-len(r.b), err)
	}
	if len(r.b) > 0 {
		return *before, fmt.Errorf("%w: %d bytes behind it", ErrMalformed, len(r.b))
	}
	return next, nil
}
