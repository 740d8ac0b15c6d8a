// Package access decides who may do what with a stream. It is pure: principal,
// action, name and the lists in force go in, yes or no comes out.
//
// For each action the stream's own list counts ("$acl" in its metadata), where it
// sets none the default of "$settings" for user or system streams, and where that
// sets none the built-in one: user streams are everybody's, system streams, whose
// names begin with "$", the administrators'. Members of $admins pass every list.
// What is done to a metadata stream "$$x" is judged as reading or writing the
// metadata of x.
//
// Lists, defaults and principals come from packages stream (ParseACL), this one
// (ParseSettings) and users.
package access

import (
	"slices"
	"strings"

	"baton/eventstore/stream"
)

// Roles with a meaning of their own. A user's roles are its groups and its name.
const (
	// Admins pass every list and may administrate users, nodes and the cluster.
	Admins = "$admins"
	// Ops may administrate nodes and the cluster.
	Ops = "$ops"
	// Everyone is the role that everybody has. In a list it lets through whoever
	// is known, and with Options.AnonymousStreams also who is not.
	Everyone = "$all"
)

// SettingsStream holds the defaults of all lists: its last event of SettingsType.
const (
	SettingsStream = "$settings"
	SettingsType   = "$settings"
)

// Principal is who asks. The zero value is anonymous. Immutable once made.
type Principal struct {
	Name   string   // login name; "" = anonymous
	Groups []string // roles beside the name
}

// Anonymous says that nobody knows who asks.
func (p *Principal) Anonymous() bool { return p.Name == "" }

// Is says whether the principal has a role.
func (p *Principal) Is(role string) bool {
	return p.Name != "" && (p.Name == role || slices.Contains(p.Groups, role))
}

// IsAdmin says whether the principal passes every list.
func (p *Principal) IsAdmin() bool { return p.Is(Admins) }

// MayOperate says whether the principal may administrate nodes.
func (p *Principal) MayOperate() bool { return p.Is(Admins) || p.Is(Ops) }

// Action is what is to be done with a stream.
type Action uint8

// Actions. Delete covers tombstones.
const (
	Read Action = iota + 1
	Write
	Delete
	MetaRead
	MetaWrite
)

func (a Action) String() string {
	switch a {
	case Read:
		return "read"
	case Write:
		return "write"
	case Delete:
		return "delete"
	case MetaRead:
		return "read metadata"
	case MetaWrite:
		return "write metadata"
	}
	return "unknown"
}

// Settings are the default lists; nil ones are not set. The zero value, and a nil
// pointer, set nothing.
type Settings struct {
	User, System *stream.ACL
}

// Options of a node that touch streams.
type Options struct {
	AnonymousStreams bool // Everyone in a list means also who is not known
}

// Target gives the stream whose lists judge an action, and the action they are
// asked for: metadata streams are judged by the stream they describe.
func Target(a Action, name string) (Action, string) {
	if !stream.IsMetaStream(name) {
		return a, name
	}
	if a == Read || a == MetaRead {
		return MetaRead, stream.OriginalOf(name)
	}
	return MetaWrite, stream.OriginalOf(name)
}

// Allowed decides. action and name are those of Target, own is the list of that
// stream (nil: none), settings the defaults (nil: none).
func Allowed(p *Principal, action Action, name string, own *stream.ACL, settings *Settings, o Options) bool {
	if name == stream.AllStream && (action == Write || action == Delete) {
		return false // not even administrators
	}
	if p.IsAdmin() {
		return true
	}
	if p.Anonymous() && !o.AnonymousStreams {
		return false
	}
	list := entry(own, action)
	system := strings.HasPrefix(name, "$")
	if list == nil && settings != nil && !protected(name) {
		defaults := settings.User
		if system {
			defaults = settings.System
		}
		list = entry(defaults, action)
	}
	if list == nil {
		return !system
	}
	for _, role := range list {
		if role == Everyone || p.Is(role) {
			return true
		}
	}
	return false
}

func entry(l *stream.ACL, a Action) []string {
	if l == nil {
		return nil
	}
	switch a {
	case Read:
		return l.Read
	case Write:
		return l.Write
	case Delete:
		return l.Delete
	case MetaRead:
		return l.MetaRead
	case MetaWrite:
		return l.MetaWrite
	}
	return nobody
}

var nobody = []string{}

// protected streams decide who may do what: whoever writes them is as good as an
// administrator, and one of them holds the passwords' hashes. A default for all
// system streams does not open them, only a list of their own does.
func protected(name string) bool {
	return name == SettingsStream || name == "$users" || strings.HasPrefix(name, "$user-") || name == "$users-password-notifications"
}
