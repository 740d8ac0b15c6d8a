package agent

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	agentpb "baton/gen/agent"
)

// fill gives every field of v a value, by seed.
func fill(v reflect.Value, rnd *rand.Rand) {
	if v.Type() == reflect.TypeFor[time.Time]() {
		v.Set(reflect.ValueOf(time.Unix(rnd.Int64N(1<<32), rnd.Int64N(1e9)).UTC()))
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), rnd)
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && f.Tag.Get("json") != "-" {
				fill(v.Field(i), rnd)
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(v.Index(i), rnd)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 2 {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(key, rnd)
			fill(value, rnd)
			v.SetMapIndex(key, value)
		}
	case reflect.String:
		v.SetString(fmt.Sprintf("text %d \"ä\"", rnd.Uint32()))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Float32, reflect.Float64:
		v.SetFloat(rnd.Float64() * 1e6)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(rnd.Int64N(1<<(min(v.Type().Bits(), 53)-1)) - 1)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(rnd.Uint64() >> (64 - v.Type().Bits()))
	}
}

// TestReportsKeepEverythingInEitherForm: a report with every field set, and an
// empty one, come back from CBOR as they do from JSON.
func TestReportsKeepEverythingInEitherForm(t *testing.T) {
	for seed := range uint64(50) {
		var r Report
		if seed > 0 {
			fill(reflect.ValueOf(&r).Elem(), rand.New(rand.NewPCG(seed, 1)))
		}
		want, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		for _, inCBOR := range []bool{false, true} {
			m, err := EncodeReport(&r, inCBOR)
			if err != nil {
				t.Fatal(err)
			}
			if (len(m.GetCbor()) > 0) != inCBOR {
				t.Fatalf("in CBOR %v: %d bytes of CBOR, %d of JSON", inCBOR, len(m.GetCbor()), len(m.GetJson()))
			}
			back, err := DecodeReport(m)
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.Marshal(back)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != string(want) {
				t.Fatalf("seed %d, in CBOR %v:\n%s\nbecame\n%s", seed, inCBOR, want, got)
			}
		}
	}
}

// FuzzDecodeReport: what an agent sends cannot break the control node.
func FuzzDecodeReport(f *testing.F) {
	var r Report
	fill(reflect.ValueOf(&r).Elem(), rand.New(rand.NewPCG(1, 1)))
	m, err := EncodeReport(&r, true)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(m.GetCbor(), []byte("{}"))
	f.Add([]byte{0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, []byte(nil))
	f.Fuzz(func(_ *testing.T, inCBOR, inJSON []byte) {
		_, _ = DecodeReport(&agentpb.Report{Cbor: inCBOR})
		_, _ = DecodeReport(&agentpb.Report{Json: inJSON})
	})
}

// BenchmarkDecodeReport reads a report of a host in each form.
func BenchmarkDecodeReport(b *testing.B) {
	var r Report
	fill(reflect.ValueOf(&r).Elem(), rand.New(rand.NewPCG(1, 1)))
	for _, inCBOR := range []bool{false, true} {
		m, err := EncodeReport(&r, inCBOR)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("cbor=%v", inCBOR), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(m.GetCbor()) + len(m.GetJson())))
			for b.Loop() {
				if _, err := DecodeReport(m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
