package agent

import (
	"strings"
	"testing"
)

// Goal: the sentence about a saved file speaks of commands beside it only where there are any.
func TestSentencesOfSavedFiles(t *testing.T) {
	for commands, want := range map[string]string{
		"":   "is in /x/a.rdb",
		"0":  "is in /x/a.rdb",
		"1":  "its last command, which may not be lost, is in the .aof file beside it",
		"17": "its last 17 commands, of which the first may not be lost, are in the .aof file beside it",
	} {
		got := bundled("/x/a.rdb", map[string]string{"bytes": "1", "commands": commands})
		if s := got["sentence"]; !strings.HasSuffix(s, want) || got["commands"] != commands {
			t.Errorf("%q commands: %q", commands, s)
		}
	}
}
