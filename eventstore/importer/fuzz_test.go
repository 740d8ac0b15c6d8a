package importer

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

// Goal: no connection string makes the reader panic, one that is accepted names hosts, and no error shows the password.
func FuzzConnection(f *testing.F) {
	for _, s := range []string{"esdb://localhost?tls=false", "kurrentdb+discover://u:p%40@a:1,b:2/?tlsVerifyCert=false&x=y", "esdb://[::1]:2113,[::2]", "esdb://a@b@c", "://", "esdb://:@", "esdb://u:%zz@h", "ESDB://h?=&&&tls"} {
		f.Add(s, "hunter2-hunter2")
	}
	f.Fuzz(func(t *testing.T, text, password string) {
		c, err := ParseConnection(text)
		if err == nil && (len(c.Hosts) == 0 || c.Hosts[0] == "") {
			t.Fatalf("%q is read as %+v", text, c)
		}
		if len(password) < 8 || strings.ContainsAny(password, "/@,:?#%") {
			return
		}
		for _, bad := range []string{"esdb://user:" + password + "%zz@host", "http://user:" + password + "@host", "esdb://user:" + password + "@", "esdb://user:" + password + "@a,,b", "esdb://" + password + "@h"} {
			if _, err := ParseConnection(bad); err != nil && strings.Contains(err.Error(), password) {
				t.Fatalf("%q: %v", bad, err)
			}
		}
	})
}

// Goal: what an import adds to metadata is taken away again without touching the rest, whatever the metadata says.
func FuzzMetadata(f *testing.F) {
	for _, s := range []string{"", "{}", " { \"a\" : 1 } ", `{"$tb":3,"$acl":{"$r":"a"}}`, "[1]", "7", "\xff", `{"$originalCreated":"x"}`, `{"$importGap":[1,2]}`, `{"$importGap":null,"$tb":4}`, `{"a":"$originalCreated"}`} {
		f.Add([]byte(s), int64(4))
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)
	f.Fuzz(func(t *testing.T, metadata []byte, first int64) {
		out, kept := withCreated(metadata, at)
		if kept && !json.Valid(out) {
			t.Fatalf("%q became %q", metadata, out)
		}
		if !kept && string(out) != string(metadata) {
			t.Fatalf("%q was not kept and became %q", metadata, out)
		}
		if again, _ := withCreated(out, at.Add(time.Hour)); string(again) != string(out) {
			t.Fatalf("a second import made %q of %q", again, out)
		}
		was := fieldsOf(metadata)
		if _, marked := was[createdKey]; kept && !marked {
			if back := fieldsOf(withoutCreated(out)); !sameFields(was, back) {
				t.Fatalf("%q came back as %q", metadata, withoutCreated(out))
			}
		}
		if _, marked := was[gapType]; marked || first < 1 || was["$tb"] != nil && number(was["$tb"]) < 1 {
			return
		}
		back, noted := withoutGap(withGap(metadata, first))
		if noted != first || !sameFields(was, fieldsOf(back)) {
			t.Fatalf("%q with a gap before %d came back as %q with %d", metadata, first, back, noted)
		}
	})
}

// sameFields compares what two objects say, not how it is written.
func sameFields(a, b map[string]json.RawMessage) bool {
	read := func(fields map[string]json.RawMessage) any {
		var v any
		_ = json.Unmarshal(encoded(fields), &v)
		return v
	}
	return reflect.DeepEqual(read(a), read(b))
}
