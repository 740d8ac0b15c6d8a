package backup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"baton/eventstore/log"
	"baton/eventstore/membership"
)

// Goal: a node takes one backup at a time, tells how far it is, and stops when
// it is told to; directories that would harm its data are refused.
func TestRunner(t *testing.T) {
	t.Parallel()
	source, _ := stillSource(t, 12, 8<<10)
	root := t.TempDir()
	data, dir := filepath.Join(root, "data"), filepath.Join(root, "backup")
	if err := os.MkdirAll(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(data, filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	held := &holding{source: source, asked: make(chan struct{}), goOn: make(chan struct{})}
	r := NewRunner(held, []string{data}, "1.0-test", nil)
	if s := r.Status(); s.State != StateNone {
		t.Errorf("before the first: %+v", s)
	}
	for _, q := range []Request{{Directory: "relative"}, {}, {Directory: data}, {Directory: filepath.Join(data, "below")}, {Directory: root}, {Directory: "/"},
		{Directory: filepath.Join(root, "link", "below")}, {Directory: dir, BytesPerSecond: -1}, {Directory: "/a\x00b"}} {
		_, err := r.Start(q)
		refusedWith(t, err, CodeDirectory)
	}
	if s, err := r.Start(Request{Directory: dir}); err != nil || s.State != StateRunning {
		t.Fatalf("%+v, %v", s, err)
	}
	<-held.asked
	_, err := r.Start(Request{Directory: dir})
	refusedWith(t, err, CodeBusy)
	close(held.goOn)
	ends := func(state string) Status {
		t.Helper()
		eventually(t, "the backup ends as "+state, func() error {
			if s := r.Status(); s.State != state {
				return fmt.Errorf("%+v", s)
			}
			return nil
		})
		return r.Status()
	}
	if s := ends(StateDone); s.Position != source.at || s.Index == 0 || s.Done == 0 || s.Linked == 0 || s.TakenAt.IsZero() || s.EndedAt.IsZero() {
		t.Errorf("%+v", s)
	}
	// One that would take years is ended.
	if s, err := r.Start(Request{Directory: filepath.Join(root, "slow"), Copy: true, BytesPerSecond: 1}); err != nil || s.State != StateRunning {
		t.Fatalf("%+v, %v", s, err)
	}
	eventually(t, "it has begun to copy", func() error {
		if s := r.Status(); s.DoneBytes == 0 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	if s := r.Cancel(); s.State != StateCanceled {
		t.Errorf("%+v", s)
	}
	_, err = ReadManifest(vfsOS, filepath.Join(root, "slow"))
	refusedWith(t, err, CodeIncomplete)
	// A refusal is told as such, another error in its words.
	source.view.ClusterID = "another"
	if _, err := r.Start(Request{Directory: dir}); err != nil {
		t.Fatal(err)
	}
	if s := ends(StateFailed); s.Refusal == nil || s.Refusal.Code != CodeOtherCluster {
		t.Errorf("%+v", s)
	}
	held.fails = errors.New("the log is closed")
	if _, err := r.Start(Request{Directory: dir}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it fails", func() error {
		if s := r.Status(); s.State != StateFailed || s.Error != "the log is closed" {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	r.Close()
	_, err = r.Start(Request{Directory: dir})
	refusedWith(t, err, CodeBusy)
}

// holding waits in its first snapshot until it may go on.
type holding struct {
	source      *still
	asked, goOn chan struct{}
	fails       error
}

func (h *holding) Snapshot() (*log.Snapshot, error) {
	if h.fails != nil {
		return nil, h.fails
	}
	select {
	case <-h.goOn:
	default:
		close(h.asked)
		<-h.goOn
	}
	return h.source.Snapshot()
}

func (h *holding) View() membership.View { return h.source.View() }
