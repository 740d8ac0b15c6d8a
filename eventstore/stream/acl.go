package stream

import (
	"bytes"
	"encoding/json"
)

// ACL says which roles may do what with a stream, as the key "$acl" of its
// metadata has it. A nil list is one that is not set: the defaults decide. A list
// without elements lets nobody but administrators through. A nil *ACL sets
// nothing. Immutable once made.
type ACL struct {
	Read, Write, Delete, MetaRead, MetaWrite []string
}

// nobody is the list of an entry that lets nobody through.
var nobody = []string{}

// ParseACL reads the value of "$acl": an object whose entries $r, $w, $d, $mr and
// $mw are a role or a list of roles each. null, or nothing, sets nothing. What has
// another shape was meant to restrict and cannot be understood: it lets nobody
// but administrators through. Keys it does not know are passed over.
func ParseACL(raw json.RawMessage) *ACL {
	if raw = bytes.TrimSpace(raw); len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(raw, &doc); err != nil {
		return &ACL{nobody, nobody, nobody, nobody, nobody}
	}
	return &ACL{
		Read: roles(doc["$r"]), Write: roles(doc["$w"]), Delete: roles(doc["$d"]),
		MetaRead: roles(doc["$mr"]), MetaWrite: roles(doc["$mw"]),
	}
}

func roles(raw json.RawMessage) []string {
	if raw = bytes.TrimSpace(raw); len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return []string{one}
	}
	// A null among the roles would be read as the empty role, which nobody has.
	many := nobody
	if json.Unmarshal(raw, &many) != nil {
		return nobody
	}
	return many
}
