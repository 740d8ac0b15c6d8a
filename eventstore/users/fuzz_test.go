package users

import (
	"encoding/json"
	"testing"
)

// Goal: whatever stands in the stream of an account, it is read as what was written of that very account or counts as missing; nobody becomes somebody else.
func FuzzStoredAccount(f *testing.F) {
	whole, err := json.Marshal(record{LoginName: "carol", FullName: "C", Groups: []string{"$ops"}, Hash: "$argon2id$v=19$m=64,t=1,p=1$c2FsdA$aGFzaA"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("carol", typeCreated, whole)
	f.Add("carol", typeUpdated, whole[:len(whole)-1])
	f.Add("dave", typeCreated, whole)
	f.Add("carol", "of a later version", whole)
	f.Add("carol", typeCreated, []byte(`{"loginName":"dave","LoginName":"carol","groups":[null],"disabled":1}`))
	f.Add("", typeCreated, []byte("null"))
	f.Fuzz(func(t *testing.T, login, kind string, data []byte) {
		r, ok := decodeRecord(login, kind, data)
		switch {
		case !ok && (r.LoginName != "" || r.Groups != nil || r.Hash != ""):
			t.Fatalf("refused, and yet %+v", r)
		case !ok:
			return
		case r.LoginName != login:
			t.Fatalf("%q is read as %q", login, r.LoginName)
		}
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := decodeRecord(login, kind, again); !ok {
			t.Fatalf("%s is read and written as %s, which is not", data, again)
		}
	})
}
