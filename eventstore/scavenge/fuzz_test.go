package scavenge

import (
	"encoding/json"
	"testing"
)

// Goal: no file makes a node go on with a scavenge that could not have been asked for; what is read is read again as it was written.
func FuzzStatusFile(f *testing.F) {
	whole, err := json.Marshal(Status{ID: "a", Result: Stopped, Options: Options{Threads: 1, ThrottlePercent: 50}, Point: &Point{Threshold: 3}, Next: 1 << 40, Segments: 2})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add([]byte(`{"result":"InProgress","options":{"threads":1,"throttlePercent":-5}}`)) // it would divide by nothing
	f.Add([]byte(`{"result":"Resting","options":{"threads":1}}`))
	f.Add([]byte(`{"result":"InProgress","options":{"threads":-1,"startFrom":-7}}`))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := decodeStatus(data)
		if s == (Status{}) {
			return
		}
		if o := s.Options; o.check() != nil || bytesPerSecond/100*int64(o.ThrottlePercent) <= 0 {
			t.Fatalf("%s is read as %+v", data, s)
		}
		again, err := json.Marshal(s)
		if err != nil {
			return // a time that JSON has no way to write
		}
		back := decodeStatus(again)
		if back.ID != s.ID || back.Result != s.Result || back.Options != s.Options || back.Next != s.Next || (back.Point == nil) != (s.Point == nil) {
			t.Fatalf("%+v is read again as %+v", s, back)
		}
	})
}
