package history

import (
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"baton/control/engine"
	"baton/control/health"
)

var start = time.Unix(1_800_000_000, 0).UTC() // a whole quarter of an hour

func open1(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// play adds one sample a second for a while: lag counts the seconds.
func play(s *Store, from time.Time, seconds int) {
	for i := range seconds {
		s.Add("c", "b", from.Add(time.Duration(i)*time.Second), Sample{Lag: float64(i), Writes: 100, Memory: math.NaN(), DiskFree: 1000 - float64(i), Known: true, Up: i%10 != 0})
	}
}

// TestResolutions: what was added comes back in each resolution, lag as the
// largest and the rest as means; a step finer than what is kept is made
// coarser.
func TestResolutions(t *testing.T) {
	s := open1(t, t.TempDir())
	defer s.Close()
	play(s, start, 3601) // one second more, so that the last interval is written
	end := start.Add(time.Hour)
	for _, c := range []struct {
		step, used time.Duration
		points     int
		first      float64
	}{{0, 10 * time.Second, 360, 9}, {time.Second, 10 * time.Second, 360, 9}, {25 * time.Second, 30 * time.Second, 120, 29}, {time.Minute, time.Minute, 60, 59},
		{7 * time.Minute, 7 * time.Minute, 9, 419}, {time.Hour, time.Hour, 1, 3599}} {
		got, used := s.Read("c", "b", Lag, start, end, c.step)
		if used != c.used || len(got) < c.points || len(got) > c.points+1 {
			t.Errorf("step %v: %d points of %v", c.step, len(got), used)
			continue
		}
		if c.step != 7*time.Minute && (got[0].Value != c.first || !got[0].At.Equal(start)) {
			t.Errorf("step %v: first %+v, want %v", c.step, got[0], c.first)
		}
	}
	if got, _ := s.Read("c", "b", Writes, start, end, 15*time.Minute); len(got) != 4 || got[2].Value != 100 {
		t.Errorf("writes %+v", got)
	}
	if got, _ := s.Read("c", "b", DiskFree, start, end, 15*time.Minute); len(got) != 4 || got[0].Value != 101 {
		t.Errorf("disk %+v", got)
	}
	if got, _ := s.Read("c", "b", Memory, start, end, time.Minute); len(got) != 0 {
		t.Errorf("memory nobody measured: %+v", got)
	}
	if _, used := s.Read("c", "b", Lag, start.Add(-60*24*time.Hour), end, 10*time.Second); used != 90*time.Minute {
		t.Errorf("two months at 10 s: step %v", used)
	}
	for _, bad := range [][2]string{{"c", "nobody"}, {"../c", "b"}, {"c", "../../etc/passwd"}, {"", ""}} {
		if got, _ := s.Read(bad[0], bad[1], Lag, start, end, 0); got != nil {
			t.Errorf("%v: %v", bad, got)
		}
	}
}

// TestBounded: a file never grows, and old intervals make room for new ones
// without being taken for them.
func TestBounded(t *testing.T) {
	dir := t.TempDir()
	s := open1(t, dir)
	defer s.Close()
	for day := range 120 {
		play(s, start.AddDate(0, 0, day), 11)
	}
	info, err := os.Stat(filepath.Join(dir, "c", "b.ring"))
	if err != nil || info.Size() != fileBytes || fileBytes > 400_000 {
		t.Fatalf("%v %v", info, err)
	}
	end := start.AddDate(0, 0, 119).Add(time.Minute)
	got, _ := s.Read("c", "b", Writes, end.AddDate(0, 0, -89), end, 24*time.Hour)
	if len(got) < 89 || len(got) > 91 {
		t.Errorf("%d days of 90", len(got))
	}
	if old, _ := s.Read("c", "b", Writes, start, start.AddDate(0, 0, 10), time.Hour); len(old) != 0 {
		t.Errorf("%d points older than 90 days", len(old))
	}
}

// TestRestartAndDamage: a restart in the middle of an interval keeps what was
// written; a damaged record is left out and nothing else; a file of somebody
// else is left alone.
func TestRestartAndDamage(t *testing.T) {
	dir := t.TempDir()
	s := open1(t, dir)
	play(s, start, 95)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open1(t, dir)
	play(s, start.Add(100*time.Second), 201)
	end := start.Add(300 * time.Second)
	if got, _ := s.Read("c", "b", Lag, start, end, 0); len(got) != 30 {
		t.Errorf("%d of 30 intervals after a restart", len(got))
	}
	if got, _ := s.Read("c", "b", Writes, start, end, time.Minute); len(got) != 5 || got[1].Value != 100 {
		t.Errorf("minutes after a restart: %+v", got)
	}
	path := filepath.Join(dir, "c", "b.ring")
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{0xff}, offset(0, start.Unix()+20)+9); err != nil { // a flipped byte in the third interval
		t.Fatal(err)
	}
	f.Close()
	if got, _ := s.Read("c", "b", Lag, start, end, 0); len(got) != 29 {
		t.Errorf("%d of 29 intervals with a damaged one", len(got))
	}
	if err := os.Truncate(path, headerBytes+recordBytes/2); err != nil { // torn at the beginning
		t.Fatal(err)
	}
	if got, _ := s.Read("c", "b", Lag, start, end, 0); len(got) != 0 {
		t.Errorf("%d intervals of a torn file", len(got))
	}
	play(s, end.Add(10*time.Second), 11)
	if got, _ := s.Read("c", "b", Lag, start, end.Add(time.Minute), 0); len(got) != 2 { // the one that was open, and the new one
		t.Errorf("%d intervals after the file was torn", len(got))
	}
	foreign := filepath.Join(dir, "c", "x.ring")
	if err := os.WriteFile(foreign, []byte("something else entirely"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Add("c", "x", start, Sample{Writes: 1})
	s.Add("c", "x", start.Add(time.Minute), Sample{Writes: 1})
	if b, _ := os.ReadFile(foreign); string(b) != "something else entirely" {
		t.Errorf("a foreign file is %q now", b)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestAvailability: time without a primary counts as down, time nobody looked
// does not count.
func TestAvailability(t *testing.T) {
	s := open1(t, t.TempDir())
	defer s.Close()
	snap := func(at time.Time, primary, seen bool) *health.Snapshot {
		n := health.Node{Name: "a", ReportAge: -1}
		if seen {
			n.Seen = &engine.Observation{Up: true, Role: engine.RoleReplica, WritesPerSecond: 5}
			if primary {
				n.Seen.Role = engine.RolePrimary
			}
		}
		return &health.Snapshot{Now: at, Cluster: "c", Nodes: []health.Node{n}}
	}
	for i := range 3601 {
		s.Record(snap(start.Add(time.Duration(i)*time.Second), i < 2700 || i >= 2790, i < 1800 || i >= 2400))
	}
	up, known := s.Availability("c", start, start.Add(time.Hour))
	if known != 3000*time.Second || known-up < 89*time.Second || known-up > 91*time.Second {
		t.Errorf("up %v of %v", up, known)
	}
	if got, _ := s.Read("c", "a", Writes, start, start.Add(time.Hour), time.Minute); len(got) < 47 || got[0].Value != 5 {
		t.Errorf("%d minutes of writes", len(got))
	}
}
