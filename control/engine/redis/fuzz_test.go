package redis

import (
	"strings"
	"testing"
)

// Goal: no answer to INFO makes its reader panic; each field is one line's.
func FuzzInfo(f *testing.F) {
	f.Add("# Replication\r\nrole:master\r\nconnected_slaves:1\r\nslave0:ip=127.0.0.1,port=7001,state=online,offset=14,lag=0\r\n")
	f.Add("role\n:\n::\r\nslave0:ip=,port=-1,state,offset=99999999999999999999\r\nslave1:")
	f.Add("\x00")
	f.Fuzz(func(t *testing.T, text string) {
		got := ParseInfo(text)
		if len(got) > strings.Count(text, "\n")+1 {
			t.Fatalf("%d fields of %q", len(got), text)
		}
		for k, v := range got {
			if !strings.Contains(text, k+":"+v) {
				t.Fatalf("%q is not in %q", k+":"+v, text)
			}
		}
	})
}
