package access

import (
	"encoding/json"

	"baton/eventstore/stream"
)

// Keys of the settings document.
const (
	userStreams   = "$userStreamAcl"
	systemStreams = "$systemStreamAcl"
)

// ParseSettings reads the body of a settings event: an object with the default
// lists of user and of system streams, in the form of "$acl". A body that is no
// object was meant to restrict and cannot be understood: it closes all streams
// without a list of their own to everybody but administrators.
func ParseSettings(body []byte) *Settings {
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(body, &doc); err != nil {
		closed := stream.ParseACL(json.RawMessage(`""`))
		return &Settings{User: closed, System: closed}
	}
	return &Settings{User: stream.ParseACL(doc[userStreams]), System: stream.ParseACL(doc[systemStreams])}
}
