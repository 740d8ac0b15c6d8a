package inventory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"

	"baton/control/journal"
)

// ErrName is returned for a name that is not ^[a-z][a-z0-9-]{0,62}$.
var ErrName = errors.New("names begin with a letter and hold lower-case letters, digits and dashes, at most 63")

var nameForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// ValidName tells whether s may name a cluster, node or user.
func ValidName(s string) bool { return nameForm.MatchString(s) }

// Register records a cluster, or its change; registering what is known already
// writes nothing. It returns when the inventory has taken it in.
func (v *Inventory) Register(ctx context.Context, s Spec) error {
	if !ValidName(s.ID) {
		return fmt.Errorf("cluster id %q: %w", s.ID, ErrName)
	}
	for _, m := range s.Members {
		if !ValidName(m.Name) {
			return fmt.Errorf("node name %q: %w", m.Name, ErrName)
		}
	}
	if s.Name == "" {
		s.Name = s.ID
	}
	if v.registered(s) {
		return nil
	}
	return v.write(ctx, Stream(s.ID), journal.Any, ClusterRegistered, s)
}

// registered tells whether registering would change nothing.
func (v *Inventory) registered(s Spec) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	c := v.clusters[s.ID]
	if c == nil {
		return false
	}
	if reflect.ValueOf(s.Policy).IsZero() {
		s.Policy = c.Spec.Policy
	}
	return reflect.DeepEqual(c.Spec, s)
}

// Remove forgets a cluster. Its stream and audit stay in the journal.
func (v *Inventory) Remove(ctx context.Context, id string) error {
	if _, ok := v.Cluster(id); !ok {
		return nil
	}
	return v.write(ctx, Stream(id), journal.Any, ClusterRemoved, struct{}{})
}

// PutUser records a user. With first set it is refused with a
// *journal.ConflictError when any user was ever recorded.
func (v *Inventory) PutUser(ctx context.Context, u User, first bool) error {
	expected := journal.Any
	if first {
		expected = journal.NoStream
	}
	return v.write(ctx, UsersStream, expected, UserChanged, u)
}

func (v *Inventory) write(ctx context.Context, stream string, expected int64, kind string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode %s: %w", kind, err)
	}
	rev, err := v.j.Append(ctx, stream, expected, journal.Event{Type: kind, Data: data})
	if err != nil {
		return fmt.Errorf("record %s: %w", kind, err)
	}
	return v.Wait(ctx, stream, rev)
}
