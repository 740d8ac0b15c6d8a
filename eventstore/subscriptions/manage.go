package subscriptions

import (
	"context"
	"fmt"
	"slices"

	"baton/eventstore/stream"
	"baton/eventstore/subscription"
)

// softDeleted is the metadata of a deleted stream.
const softDeleted = `{"$tb":9223372036854775807}`

// maxGroupName bounds a group's name, bytes.
const maxGroupName = 1 << 10

func (k Key) check() error {
	switch {
	case k.Group == "":
		return &RequestError{"the request names no group"}
	case len(k.Group) > maxGroupName:
		return &RequestError{fmt.Sprintf("the group's name is longer than %d bytes", maxGroupName)}
	}
	for _, name := range []string{k.Stream, k.checkpointStream(), k.ParkedStream()} {
		if err := stream.CheckName(name); err != nil {
			return &RequestError{err.Error()}
		}
	}
	return nil
}

// check refuses what cannot be run.
func (c *Config) check(k Key) error {
	if err := k.check(); err != nil {
		return err
	}
	if err := c.Settings.Check(); err != nil {
		return &FailedError{k, err.Error()}
	}
	if c.Filter != nil && k.Stream != stream.AllStream {
		return &RequestError{"only a group of all streams can have a filter"}
	}
	_, err := c.Filter.compile()
	return err
}

// after is the place after which a group begins.
func (t *term) after(ctx context.Context, k Key, s From) (subscription.Point, error) {
	if !s.End && s.At == 0 {
		return subscription.Beginning, nil
	}
	if !s.End && k.Stream != stream.AllStream {
		return subscription.Point(s.At) - 1, nil
	}
	end, err := t.endOf(ctx, k.Stream)
	switch {
	case err != nil || s.End:
		return end, err
	case int64(s.At) > int64(end):
		return 0, &FailedError{k, fmt.Sprintf("position %d is beyond the last commit, %d", s.At, max(end, 0))}
	}
	return subscription.Point(s.At) - 1, nil
}

// Create makes a group. by is who asks. Errors: *RequestError, *ExistsError, *FailedError, and those of requests to a leader; replica.ErrTimeout: unknown.
func (s *Service) Create(ctx context.Context, k Key, c Config, by string) error {
	if err := c.check(k); err != nil {
		return err
	}
	t, err := s.leading(ctx)
	if err != nil {
		return err
	}
	t.manage.Lock()
	defer t.manage.Unlock()
	if t.find(k) != nil {
		return &ExistsError{k}
	}
	after, err := t.after(ctx, k, c.From)
	if err != nil {
		return err
	}
	// A checkpoint that outlived an earlier group of the name would skip events.
	var more []stream.Write
	if rev, _, err := t.last(ctx, k.checkpointStream()); err != nil {
		return err
	} else if rev >= 0 {
		more = append(more, metadataWrite(k.checkpointStream(), softDeleted))
	}
	e := newEntry(k, c, after, c.From.End)
	if err := t.store(ctx, by, append(slices.Clone(t.config.Entries), e), more...); err != nil {
		return t.lost(err)
	}
	s.logger.Info("persistent subscription created", "group", k.String(), "by", by)
	return t.start(e)
}

// Update gives a group other settings and drops its consumers. The checkpoint stays; without one the group begins at the start given. A filter stays as
// it was. Errors: *RequestError, *NotFoundError, *FailedError, and those of requests to a leader; replica.ErrTimeout: unknown.
func (s *Service) Update(ctx context.Context, k Key, c Config, by string) error {
	t, err := s.leading(ctx)
	if err != nil {
		return err
	}
	t.manage.Lock()
	defer t.manage.Unlock()
	g := t.find(k)
	if g == nil {
		return &NotFoundError{k}
	}
	if c.Settings.Strategy == "" {
		// The number that stands for DispatchToSingle is also what a client sends that wants a strategy without one.
		if c.Settings.Strategy = subscription.DispatchToSingle; g.entry.Strategy == string(subscription.PinnedByCorrelation) {
			c.Settings.Strategy = subscription.PinnedByCorrelation
		}
	}
	c.Filter = g.entry.filter()
	if err := c.check(k); err != nil {
		return err
	}
	after, err := t.after(ctx, k, c.From)
	if err != nil {
		return err
	}
	e := newEntry(k, c, after, c.From.End)
	entries := slices.Clone(t.config.Entries)
	for i := range entries {
		if entries[i].key() == k {
			entries[i] = e
		}
	}
	g.close("the group was updated")
	g.finish(ctx)
	t.remove(k)
	if err := t.store(ctx, by, entries); err != nil {
		return t.backTo(g.entry, err)
	}
	s.logger.Info("persistent subscription updated", "group", k.String(), "by", by)
	return t.start(e)
}

// Delete ends a group, with its checkpoint and its parked events, and drops its consumers. Errors: *NotFoundError and those of requests to a leader;
// replica.ErrTimeout: unknown.
func (s *Service) Delete(ctx context.Context, k Key, by string) error {
	t, err := s.leading(ctx)
	if err != nil {
		return err
	}
	t.manage.Lock()
	defer t.manage.Unlock()
	g := t.find(k)
	if g == nil {
		return &NotFoundError{k}
	}
	g.close("the group was deleted")
	g.wg.Wait()
	t.remove(k)
	entries := slices.DeleteFunc(slices.Clone(t.config.Entries), func(e entry) bool { return e.key() == k })
	err = t.store(ctx, by, entries, metadataWrite(k.checkpointStream(), softDeleted), metadataWrite(k.ParkedStream(), softDeleted))
	if err != nil {
		return t.backTo(g.entry, err)
	}
	s.logger.Info("persistent subscription deleted", "group", k.String(), "by", by)
	return nil
}

// lost handles a failed change of the settings: whether it happened may be unknown, so everything is read anew.
func (t *term) lost(err error) error {
	if t.live() {
		t.reload()
	}
	return err
}

// backTo lets a group run again after its change failed.
func (t *term) backTo(e entry, err error) error {
	if !t.live() {
		return err
	}
	if again := t.start(e); again != nil {
		t.s.logger.Error("a group could not be started again", "group", e.key().String(), "error", again)
	}
	return t.lost(err)
}
