package node

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"baton/eventstore/membership"
	"baton/eventstore/replica"
)

// Election is one candidacy of this node and what became of it.
type Election struct {
	At      time.Time `json:"at"`      // when it ended; of repeats, the last
	Began   time.Time `json:"began"`   // of repeats, the first
	Term    uint64    `json:"term"`    // the term it stood for; of repeats, the last
	Stage   string    `json:"stage"`   // pre-vote (may I stand?) or vote
	Outcome string    `json:"outcome"` // won, refused, timed-out, superseded
	// Reason is the outcome in a sentence, with what each voter said.
	Reason  string           `json:"reason"`
	Voters  int              `json:"voters"`
	Needed  int              `json:"needed"`
	Granted int              `json:"granted"` // with the candidate's own
	Times   int              `json:"times"`   // how often in a row it ended so
	Answers []ElectionAnswer `json:"answers"` // of the other voters, by name
}

// ElectionAnswer is what one voter said.
type ElectionAnswer struct {
	Member membership.MemberID `json:"member"`
	Name   string              `json:"name"`
	// Answer: granted, no-answer, log-behind, already-voted, hears-leader,
	// later-term, refused (a node of an older version, which gives no reason).
	Answer string `json:"answer"`
	Detail string `json:"detail"` // in words, with the error of the link where there is none
}

// maxElections bounds the candidacies remembered.
const maxElections = 32

// repeatLogEvery is how often a node that stands in vain, each time for the same
// reasons, says so.
const repeatLogEvery = 30 * time.Second

// candidacies remembers how this node's candidacies ended, the latest last.
type candidacies struct {
	mu     sync.Mutex
	list   []Election
	logged time.Time // when a repeat was logged last
}

// Elections are this node's latest candidacies, the newest first. They are kept in
// memory: a restart forgets them.
func (n *Node) Elections() []Election {
	n.stands.mu.Lock()
	defer n.stands.mu.Unlock()
	list := append([]Election{}, n.stands.list...) // an empty list in JSON, not null
	slices.Reverse(list)
	return list
}

// stood runs on the replica's loop.
func (n *Node) stood(e replica.Election) {
	told := n.describeElection(&e)
	n.metrics.stood(told.Outcome)
	if n.stands.add(&told) {
		log := n.cfg.Logger.Warn
		if e.Outcome == replica.ElectionWon {
			log = n.cfg.Logger.Info
		}
		log("election "+told.Outcome, "term", told.Term, "stage", told.Stage, "reason", told.Reason, "granted", told.Granted, "needed", told.Needed, "times", told.Times)
	}
}

// add remembers a candidacy, together with the one before if it ended alike, and
// reports whether it is worth a line in the log.
func (c *candidacies) add(e *Election) (tell bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.list) > 0 {
		if last := &c.list[len(c.list)-1]; last.alike(e) {
			e.Times, e.Began = last.Times+1, last.Began
			*last = *e
			tell = e.At.Sub(c.logged) >= repeatLogEvery
			if tell {
				c.logged = e.At
			}
			return tell
		}
	}
	if len(c.list) >= maxElections {
		c.list = slices.Delete(c.list, 0, 1)
	}
	c.list = append(c.list, *e)
	c.logged = e.At
	return true
}

// alike reports whether two candidacies failed for the same reasons.
func (e *Election) alike(o *Election) bool {
	return e.Outcome != outcomeNames[replica.ElectionWon] && e.Outcome == o.Outcome && e.Stage == o.Stage &&
		slices.EqualFunc(e.Answers, o.Answers, func(a, b ElectionAnswer) bool { return a.Member == b.Member && a.Answer == b.Answer })
}

var outcomeNames = map[replica.ElectionOutcome]string{
	replica.ElectionWon: "won", replica.ElectionRefused: "refused", replica.ElectionTimedOut: "timed-out", replica.ElectionSuperseded: "superseded",
}

func (n *Node) describeElection(e *replica.Election) Election {
	roster := n.machine.Roster()
	told := Election{
		At: ticksTime(e.Ended), Began: ticksTime(e.Began), Term: e.Term, Stage: "vote", Outcome: outcomeNames[e.Outcome],
		Voters: len(e.Answers) + 1, Granted: 1, Times: 1, Answers: make([]ElectionAnswer, 0, len(e.Answers)),
	}
	if e.PreVote {
		told.Stage = "pre-vote"
	}
	told.Needed = membership.Majority(told.Voters)
	name := func(id uint64) string {
		if member, ok := roster.Find(membership.MemberID(id)); ok {
			return member.Name
		}
		return membership.MemberID(id).String()
	}
	for _, a := range e.Answers {
		if a.Kind == replica.Granted {
			told.Granted++
		}
		told.Answers = append(told.Answers, n.describeAnswer(e, a, name))
	}
	slices.SortFunc(told.Answers, func(a, b ElectionAnswer) int { return strings.Compare(a.Name, b.Name) })
	told.Reason = reasonOf(e, &told, name)
	return told
}

func (n *Node) describeAnswer(e *replica.Election, a replica.Answer, name func(uint64) string) ElectionAnswer {
	told := ElectionAnswer{Member: membership.MemberID(a.From), Name: name(a.From)}
	switch a.Kind {
	case replica.Granted:
		told.Answer, told.Detail = "granted", "it gave its vote"
	case replica.LogBehind:
		told.Answer = "log-behind"
		told.Detail = fmt.Sprintf("its log is newer: it ends with entry %d of term %d, this node's with entry %d of term %d", a.LastIndex, a.LastTerm, e.LastIndex, e.LastTerm)
	case replica.AlreadyVoted:
		told.Answer, told.Detail = "already-voted", fmt.Sprintf("it voted for %s in term %d", name(a.Who), e.Term)
	case replica.HearsLeader:
		told.Answer, told.Detail = "hears-leader", "it hears the leader "+name(a.Who)
		if a.Who == a.From {
			told.Detail = "it leads"
		}
	case replica.LaterTerm:
		told.Answer, told.Detail = "later-term", fmt.Sprintf("it is in term %d already", a.Term)
	case replica.Refused:
		told.Answer, told.Detail = "refused", "it refused and gives no reason: its version is older"
	default:
		told.Answer, told.Detail = "no-answer", "no answer"
		if err := n.network.LinkError(membership.MemberID(a.From)); err != nil {
			told.Detail += ": " + err.Error()
		}
	}
	return told
}

func reasonOf(e *replica.Election, told *Election, name func(uint64) string) string {
	var b strings.Builder
	switch e.Outcome {
	case replica.ElectionWon:
		fmt.Fprintf(&b, "%d of %d voters gave their vote", told.Granted, told.Voters)
	case replica.ElectionRefused:
		fmt.Fprintf(&b, "too many voters refused: %d of %d votes were given, %d are needed", told.Granted, told.Voters, told.Needed)
	case replica.ElectionTimedOut:
		fmt.Fprintf(&b, "too few voters answered in time: %d of %d votes were given, %d are needed", told.Granted, told.Voters, told.Needed)
	default:
		b.WriteString("a later term began")
		if e.Leader != 0 {
			b.Reset()
			fmt.Fprintf(&b, "%s leads", name(e.Leader))
		}
	}
	for _, a := range told.Answers {
		fmt.Fprintf(&b, "; %s: %s", a.Name, a.Detail)
	}
	return b.String()
}

// ticksTime is the time of 100 ns ticks since the Unix epoch.
func ticksTime(ticks int64) time.Time { return time.Unix(0, ticks*100).UTC() }
