package subscription

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func usual() Settings {
	return Settings{MessageTimeout: 30 * time.Second, MaxRetryCount: 2, CheckpointAfter: 2 * time.Second, MinCheckpointCount: 2, MaxCheckpointCount: 5,
		LiveBuffer: 500, HistoryBuffer: 500, ReadBatch: 20, Strategy: RoundRobin}
}

// bench is a group with what came out of it.
type bench struct {
	t *testing.T
	*Group
	sent   []Delivery
	parks  []Parking
	points []Point
	tail   []Point // truncations asked for
}

func newBench(t *testing.T, s Settings) *bench {
	return &bench{t: t, Group: New(s, Beginning, Beginning, 0)}
}

func (b *bench) take() {
	e := b.Take()
	b.sent = append(b.sent, slices.Clone(e.Deliver)...)
	b.parks = append(b.parks, slices.Clone(e.Park)...)
	if e.HasCheckpoint {
		b.points = append(b.points, e.Checkpoint)
	}
	if e.HasTruncate {
		b.tail = append(b.tail, e.Truncate)
	}
	b.Recycle(e)
}

func (b *bench) read(from, to int, key string) {
	for n := from; n < to; n++ {
		b.Read(&Message{ID: id(uint64(n)), At: Point(n), Key: key})
	}
	b.take()
}

func (b *bench) connect(slots int) *Consumer {
	b.t.Helper()
	c, err := b.Connect(slots, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	b.take()
	return c
}

// to lists the events sent to a consumer.
func (b *bench) to(c *Consumer) (list []int) {
	for _, d := range b.sent {
		if d.Consumer == c {
			list = append(list, int(d.Message.At))
		}
	}
	return list
}

func (b *bench) want(c *Consumer, what ...int) {
	b.t.Helper()
	if got := b.to(c); !slices.Equal(got, what) {
		b.t.Fatalf("the consumer was sent %v, want %v", got, what)
	}
}

func TestStrategies(t *testing.T) {
	t.Parallel()
	s := usual()
	b := newBench(t, s)
	x, y := b.connect(2), b.connect(2)
	b.read(0, 6, "")
	b.want(x, 0, 2)
	b.want(y, 1, 3)
	b.Ack(x, id(2))
	b.Sent(x, 2)
	b.take()
	b.want(x, 0, 2, 4)

	s.Strategy = DispatchToSingle
	b = newBench(t, s)
	x, y = b.connect(2), b.connect(2)
	b.read(0, 6, "")
	b.want(x, 0, 1)
	b.want(y, 2, 3)

	s.Strategy = Pinned
	b = newBench(t, s)
	x, y = b.connect(10), b.connect(10)
	b.read(0, 4, "one")
	b.read(4, 8, "two")
	if len(b.to(x))+len(b.to(y)) != 8 || len(b.to(x))%4 != 0 {
		t.Fatalf("pinned: %v and %v", b.to(x), b.to(y))
	}
	if x.buckets+y.buckets != bucketCount || x.buckets != y.buckets {
		t.Fatalf("%d and %d buckets", x.buckets, y.buckets)
	}
	owner, other := x, y
	if len(b.to(x)) == 0 {
		owner, other = y, x
	}
	b.Disconnect(owner)
	b.take()
	if len(b.to(other)) != 8 && len(b.to(owner)) != 4 && len(b.to(owner)) != 8 {
		t.Fatalf("after one left: %v", b.to(other))
	}
}

// Goal: a part of the keys does not change hands while its events are in flight.
func TestPinnedKeyStaysUntilItsEventsAreHandled(t *testing.T) {
	t.Parallel()
	s := usual()
	s.Strategy = PinnedByCorrelation
	b := newBench(t, s)
	x := b.connect(10)
	b.read(0, 1, "k")
	y := b.connect(10)
	// Whoever has the key's part now, nothing of it goes to another while 0 is in flight.
	b.read(1, 3, "k")
	if len(b.to(y)) != 0 {
		t.Fatalf("the newcomer got %v while the key was in flight", b.to(y))
	}
	b.Ack(x, id(0), id(1), id(2))
	b.read(3, 5, "k")
	if got := len(b.to(x)) + len(b.to(y)); got != 5 {
		t.Fatalf("%d of 5 events were sent", got)
	}
}

func TestRetriesEndInParking(t *testing.T) {
	t.Parallel()
	b := newBench(t, usual())
	c := b.connect(1)
	b.read(0, 1, "")
	for n := range 3 {
		if len(b.sent) != n+1 || b.sent[n].Retries != n {
			t.Fatalf("try %d: %+v", n, b.sent)
		}
		b.Sent(c, 1)
		b.Nack(c, ActionRetry, "no luck", id(0))
		b.take()
	}
	if len(b.sent) != 3 || len(b.parks) != 1 || b.parks[0].Reason != "no luck" {
		t.Fatalf("%d sent, parked %+v", len(b.sent), b.parks)
	}
	if b.reached() != Beginning {
		t.Fatal("the event counts as handled before its parking is written")
	}
	b.Parked(b.parks[0].Message, true)
	if b.reached() != 0 {
		t.Fatal("a parked event is handled")
	}
}

func TestTimeoutSendsAgainToAnother(t *testing.T) {
	t.Parallel()
	b := newBench(t, usual())
	slow := b.connect(1)
	b.read(0, 1, "")
	other := b.connect(1)
	b.SetNow(29 * time.Second)
	b.Tick()
	b.take()
	b.want(other)
	b.SetNow(30 * time.Second)
	b.Tick()
	b.take()
	b.want(other, 0)
	// The late answer of the first still counts.
	b.Ack(slow, id(0))
	if st := b.Stats(); st.Outstanding != 0 {
		t.Fatalf("%+v", st)
	}
}

// Goal: a consumer that reads nothing is not sent more and more.
func TestConsumerThatReadsNothingIsSentNoMore(t *testing.T) {
	t.Parallel()
	s := usual()
	s.MaxRetryCount = 1000
	b := newBench(t, s)
	b.connect(2)
	b.read(0, 100, "")
	for n := range 50 {
		b.SetNow(time.Duration(n) * time.Minute)
		b.Tick()
		b.take()
	}
	if len(b.sent) != 2 {
		t.Fatalf("%d events were sent to a consumer with 2 slots that took none", len(b.sent))
	}
}

func TestCheckpointsFollowTheRules(t *testing.T) {
	t.Parallel()
	b := newBench(t, usual())
	c := b.connect(100)
	b.read(0, 20, "")
	b.Ack(c, id(0), id(2), id(3))
	b.take()
	if len(b.points) != 0 {
		t.Fatalf("a checkpoint before its time: %v", b.points)
	}
	if due, ok := b.Deadline(); !ok || due != 2*time.Second {
		t.Fatalf("the next deadline is %v, %v", due, ok)
	}
	b.SetNow(2 * time.Second)
	b.Tick()
	b.take()
	if !slices.Equal(b.points, []Point{0}) {
		t.Fatalf("after the time: %v", b.points)
	}
	b.Ack(c, id(1), id(4), id(5), id(6), id(7), id(8))
	b.take()
	if len(b.points) != 1 {
		t.Fatal("a second checkpoint while one is written")
	}
	b.CheckpointDone(true)
	b.take()
	if !slices.Equal(b.points, []Point{0, 8}) {
		t.Fatalf("as many as the most: at once; got %v", b.points)
	}
	b.CheckpointDone(false)
	b.take()
	if at, ok := b.Final(); at != 8 || !ok {
		t.Fatalf("the checkpoint that failed is still to be written: %d %v", at, ok)
	}
	b.SetNow(4 * time.Second)
	b.Tick()
	b.take()
	if !slices.Equal(b.points, []Point{0, 8, 8}) {
		t.Fatalf("a failed checkpoint is written again: %v", b.points)
	}
}

// Goal: two events of one id are both delivered, one after the other.
func TestRepeatedIDsWaitForEachOther(t *testing.T) {
	t.Parallel()
	b := newBench(t, usual())
	c := b.connect(10)
	for at := range 3 {
		b.Read(&Message{ID: id(7), At: Point(at)})
	}
	b.take()
	b.want(c, 0)
	b.Ack(c, id(7))
	b.take()
	b.want(c, 0, 1)
	if b.reached() != 0 {
		t.Fatalf("reached %d", b.reached())
	}
	b.Ack(c, id(7))
	b.take()
	b.Ack(c, id(7))
	if b.want(c, 0, 1, 2); b.reached() != 2 {
		t.Fatalf("reached %d", b.reached())
	}
}

func TestReplayTruncatesOnlyWhatWasHandled(t *testing.T) {
	t.Parallel()
	b := newBench(t, usual())
	c := b.connect(10)
	b.read(0, 2, "")
	if err := b.BeginReplay(2); err != nil {
		t.Fatal(err)
	}
	if err := b.BeginReplay(2); err != ErrReplaying {
		t.Fatalf("a second replay: %v", err)
	}
	b.ReplayRead(&Message{ID: id(100), At: 0})
	b.ReplayRead(&Message{ID: id(101), At: 1})
	b.ReplayEnd(true)
	b.take()
	if len(b.sent) != 4 || !b.sent[2].Message.Replayed() {
		t.Fatalf("%d sent", len(b.sent))
	}
	b.Ack(c, id(100))
	b.take()
	if len(b.tail) != 0 {
		t.Fatal("truncated before all was handled")
	}
	b.Nack(c, ActionPark, "again", id(101))
	b.take()
	b.Parked(b.parks[0].Message, true)
	b.take()
	if !slices.Equal(b.tail, []Point{2}) {
		t.Fatalf("truncations %v", b.tail)
	}
	b.ReplayDone()
	if b.Replaying() || b.reached() != Beginning {
		t.Fatal("the replay has not ended, or counts for the source")
	}
}

func TestBoundsAndBadSettings(t *testing.T) {
	t.Parallel()
	b := newBench(t, usual())
	for n := 0; b.Room() > 0; n++ {
		b.Read(&Message{ID: id(uint64(n)), At: Point(n), Bytes: 1 << 20})
	}
	if st := b.Stats(); st.Bytes > maxBytes+(1<<20)+messageBytes || st.Queued < 60 {
		t.Fatalf("read ahead %d events of 1 MiB, %d bytes", st.Queued, st.Bytes)
	}
	s := usual()
	s.MaxSubscribers = 1
	b = newBench(t, s)
	b.connect(1)
	if _, err := b.Connect(1, nil); err != ErrFull {
		t.Fatalf("a second consumer: %v", err)
	}
	for want, set := range map[string]func(*Settings){
		"history buffer": func(s *Settings) { s.HistoryBuffer = 20 },
		"read batch":     func(s *Settings) { s.ReadBatch = 0 },
		"negative":       func(s *Settings) { s.MaxRetryCount = -1 },
		"times":          func(s *Settings) { s.MessageTimeout = -1 },
		"does not exist": func(s *Settings) { s.Strategy = "Loudest" },
		"at most":        func(s *Settings) { s.HistoryBuffer = maxBuffer + 1 },
	} {
		s := usual()
		set(&s)
		if err := s.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if s := usual(); s.Check() != nil {
		t.Error(s.Check())
	}
}

func TestTimesAreMeasured(t *testing.T) {
	t.Parallel()
	s := usual()
	s.ExtraStatistics = true
	b := newBench(t, s)
	c := b.connect(10)
	for n := range 10 {
		b.read(n, n+1, "")
		b.SetNow(time.Duration(n+1) * time.Second)
		b.Ack(c, id(uint64(n)))
		b.Sent(c, 1)
	}
	got := map[string]int64{}
	for _, m := range b.Stats().Consumers[0].Times {
		got[m.Key] = m.Value
	}
	if len(got) != 14 || got["Mean"] != 1000 || got["Highest"] != 1000 || got["99.5%"] != 1000 {
		t.Fatalf("%v", got)
	}
}
