package replica

import (
	"encoding/binary"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// AnswerKind is what a voter made of a candidate's question.
type AnswerKind uint8

const (
	// NoAnswer: nothing came before the candidate stopped waiting.
	NoAnswer AnswerKind = iota
	// Granted: the voter gave its vote.
	Granted
	// LogBehind: the voter's log holds entries that the candidate's does not.
	LogBehind
	// AlreadyVoted: the voter gave its vote of this term to another.
	AlreadyVoted
	// HearsLeader: the voter has heard from a leader lately, or leads itself, and
	// disturbs nobody.
	HearsLeader
	// LaterTerm: the voter is in a later term than the candidate stood for.
	LaterTerm
	// Refused: the voter said no and, being of an older version, not why.
	Refused
)

// Answer is what one voter said to a candidate. Fields that do not belong to its
// kind are zero.
type Answer struct {
	From uint64 // raft id of the voter
	Kind AnswerKind
	Who  uint64 // AlreadyVoted: who has the vote; HearsLeader: the leader
	Term uint64 // LaterTerm: the voter's term
	// LogBehind: the end of the voter's log.
	LastIndex, LastTerm uint64
}

// ElectionOutcome is how a candidacy ended.
type ElectionOutcome uint8

const (
	// ElectionWon: a majority gave its vote.
	ElectionWon ElectionOutcome = iota + 1
	// ElectionRefused: a majority can no longer be reached, too many said no.
	ElectionRefused
	// ElectionTimedOut: neither a majority for nor one against answered in time.
	ElectionTimedOut
	// ElectionSuperseded: another node leads, or a later term began.
	ElectionSuperseded
)

// Election is one candidacy of this node, from its first question to its end.
type Election struct {
	Term         uint64 // the term it stood for
	PreVote      bool   // it ended while it still asked whether it should stand
	Outcome      ElectionOutcome
	Leader       uint64   // ElectionSuperseded: who leads, if known
	Began, Ended int64    // 100 ns ticks since the Unix epoch
	Answers      []Answer // of every voter but this node, by id
	// The end of this node's log, which it stood with.
	LastIndex, LastTerm uint64
}

// maxQuestions bounds candidates' questions noted in one step.
const maxQuestions = 64

// question is a candidate's question to this node as it stood when it came. Raft
// says in its answer only yes or no, and nothing at all when it hears a leader.
type question struct {
	from     uint64
	kind     raftpb.MessageType
	term     uint64 // the candidate's
	force    bool   // its leader told the candidate to stand
	lead     uint64 // this node's leader, term and vote at that time
	ownTerm  uint64
	vote     uint64
	answered bool
}

// answerTo is the type of message that answers a question.
func answerTo(question raftpb.MessageType) raftpb.MessageType {
	if question == raftpb.MsgPreVote {
		return raftpb.MsgPreVoteResp
	}
	return raftpb.MsgVoteResp
}

// asked notes a candidate's question before raft sees it.
func (c *Core) asked(m *raftpb.Message) {
	if len(c.questions) >= maxQuestions {
		return
	}
	status := c.rn.BasicStatus()
	c.questions = append(c.questions, question{
		from: m.GetFrom(), kind: m.GetType(), term: m.GetTerm(), force: len(m.GetContext()) > 0,
		lead: status.Lead, ownTerm: status.HardState.GetTerm(), vote: status.HardState.GetVote(),
	})
}

// reason is why this node refuses; raft has decided that it does.
func (c *Core) reason(q *question) Answer {
	switch {
	case q.term < q.ownTerm:
		return Answer{Kind: LaterTerm, Term: q.ownTerm}
	case q.term == q.ownTerm && q.vote != 0 && q.vote != q.from:
		return Answer{Kind: AlreadyVoted, Who: q.vote}
	case q.term == q.ownTerm && q.vote == 0 && q.lead != 0:
		return Answer{Kind: HearsLeader, Who: q.lead}
	}
	return Answer{Kind: LogBehind, LastIndex: c.last, LastTerm: c.lastTerm}
}

// explain adds reasons to the refusals among the answers raft gives now, and
// returns notes to the candidates it passes over in silence. A note is a refusal
// that the candidate's core keeps from raft: there too it is as if nothing came.
func (c *Core) explain(responses []*raftpb.Message) (notes []*raftpb.Message) {
	for _, m := range responses {
		if kind := m.GetType(); kind != raftpb.MsgPreVoteResp && kind != raftpb.MsgVoteResp {
			continue
		}
		for i := range c.questions {
			q := &c.questions[i]
			if q.answered || q.from != m.GetTo() || answerTo(q.kind) != m.GetType() {
				continue
			}
			q.answered = true
			if m.GetReject() {
				m.Context = c.reason(q).encode(false)
			}
			break
		}
	}
	for i := range c.questions {
		q := &c.questions[i]
		if q.answered || q.lead == 0 || q.force || q.term <= q.ownTerm || q.ownTerm == 0 {
			continue
		}
		kind, reject, from, to, term := answerTo(q.kind), true, c.id, q.from, q.ownTerm
		notes = append(notes, &raftpb.Message{Type: &kind, From: &from, To: &to, Term: &term, Reject: &reject,
			Context: Answer{Kind: HearsLeader, Who: q.lead}.encode(true)})
	}
	c.questions = c.questions[:0]
	return notes
}

// The reason of a refusal as it travels in the message's context, little endian:
//
//	1 | note u8 | kind u8 | who u64 | term u64 | last index u64 | last term u64
const (
	answerVersion = 1
	answerBytes   = 35
)

func (a Answer) encode(note bool) []byte {
	b := append(make([]byte, 0, answerBytes), answerVersion, 0, byte(a.Kind))
	if note {
		b[1] = 1
	}
	for _, v := range []uint64{a.Who, a.Term, a.LastIndex, a.LastTerm} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

// decodeAnswer reads the reason of a refusal; Refused when it gives none that
// this version knows.
func decodeAnswer(b []byte) (a Answer, note bool) {
	if len(b) != answerBytes || b[0] != answerVersion || AnswerKind(b[2]) < LogBehind || AnswerKind(b[2]) > LaterTerm {
		return Answer{Kind: Refused}, false
	}
	u := func(at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }
	return Answer{Kind: AnswerKind(b[2]), Who: u(3), Term: u(11), LastIndex: u(19), LastTerm: u(27)}, b[1] == 1
}

// heardVote takes down a voter's answer before raft sees it. It reports whether
// the message is a note, which raft is not to see.
func (c *Core) heardVote(m *raftpb.Message) (note bool) {
	a := Answer{Kind: Granted}
	if m.GetReject() {
		a, note = decodeAnswer(m.GetContext())
	}
	a.From = m.GetFrom()
	p := c.poll
	if p == nil || p.PreVote != (m.GetType() == raftpb.MsgPreVoteResp) || a.Kind == Granted && m.GetTerm() != p.Term {
		return note // an answer to an earlier question
	}
	for i := range p.Answers {
		if p.Answers[i].From == a.From {
			p.Answers[i] = a
		}
	}
	return note
}

// followPoll keeps the record of this node's candidacy, after raft's state and
// messages of one Ready are known.
func (c *Core) followPoll(messages []*raftpb.Message) {
	for _, m := range messages {
		kind := m.GetType()
		if kind != raftpb.MsgPreVote && kind != raftpb.MsgVote {
			continue
		}
		pre := kind == raftpb.MsgPreVote
		if p := c.poll; p == nil || p.asks(m.GetTo()) || p.PreVote != pre {
			if p != nil && !(p.PreVote && !pre && p.Term == m.GetTerm()) {
				c.endPoll(ElectionTimedOut, 0)
			}
			began := c.now
			if c.poll != nil {
				began = c.poll.Began // its pre-vote succeeded: the same candidacy
			}
			c.poll = &Election{Term: m.GetTerm(), PreVote: pre, Began: began, LastIndex: m.GetIndex(), LastTerm: m.GetLogTerm()}
		}
		c.poll.Answers = append(c.poll.Answers, Answer{From: m.GetTo()})
	}
	if c.poll == nil {
		return
	}
	switch {
	case c.state == raft.StateLeader:
		c.endPoll(ElectionWon, 0)
	case c.state == raft.StateFollower && (c.lead != 0 || c.term > c.poll.Term):
		c.endPoll(ElectionSuperseded, c.lead)
	case c.state == raft.StateFollower:
		c.endPoll(ElectionRefused, 0)
	}
}

// asks reports whether the voter has been asked already.
func (e *Election) asks(id uint64) bool {
	return slices.ContainsFunc(e.Answers, func(a Answer) bool { return a.From == id })
}

func (c *Core) endPoll(outcome ElectionOutcome, leader uint64) {
	p := c.poll
	c.poll = nil
	p.Outcome, p.Leader, p.Ended = outcome, leader, c.now
	slices.SortFunc(p.Answers, func(a, b Answer) int {
		if a.From < b.From {
			return -1
		}
		return 1
	})
	c.out.Elections = append(c.out.Elections, *p)
}
