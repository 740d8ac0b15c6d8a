package rpc

import (
	"encoding/binary"
	"math"
	"time"
	"unicode/utf8"

	"baton/eventstore/stream"
	group "baton/eventstore/subscription"
	"baton/eventstore/subscriptions"
	"baton/gen/eventstore/client"
	"baton/gen/eventstore/persistent"
)

// tagEventRetries is ReadEvent.retry_count.
const tagEventRetries = 5 << 3

// appendRetries ends a ReadEvent.
func appendRetries(b []byte, retries int) []byte {
	return binary.AppendUvarint(append(b, tagEventRetries), uint64(retries))
}

// groupKey reads who is meant by a stream, or all, and a group's name.
func groupKey(id *client.StreamIdentifier, all *client.Empty, group string) (subscriptions.Key, error) {
	k := subscriptions.Key{Stream: string(id.GetStreamName()), Group: group}
	switch {
	case all != nil:
		k.Stream = stream.AllStream
	case k.Stream == "":
		return k, badRequest("the request names neither a stream nor all")
	case !utf8.ValidString(k.Stream):
		return k, badRequest("the stream's name is not UTF-8")
	}
	if group == "" {
		return k, badRequest("the request names no group")
	}
	return k, nil
}

func parseList(req *persistent.ListReq) (k subscriptions.Key, err error) {
	switch o := req.GetOptions().GetListOption().(type) {
	case *persistent.ListReq_Options_ListAllSubscriptions:
		return k, nil
	case *persistent.ListReq_Options_ListForStream:
		k, err = groupKey(o.ListForStream.GetStream(), o.ListForStream.GetAll(), "any")
		k.Group = ""
		return k, err
	}
	return k, badRequest("the request asks neither for all groups nor for those of a stream")
}

// revisionStart reads a revision of which the largest number stands for the end.
func revisionStart(revision uint64) (subscriptions.From, error) {
	switch {
	case revision == math.MaxUint64:
		return subscriptions.From{End: true}, nil
	case revision > math.MaxInt64:
		return subscriptions.From{}, badRequest("revision %d is out of range", revision)
	}
	return subscriptions.From{At: revision}, nil
}

func positionStart(p interface {
	GetCommitPosition() uint64
	GetPreparePosition() uint64
}) (subscriptions.From, error) {
	commit, prepare := p.GetCommitPosition(), p.GetPreparePosition()
	switch {
	case commit == math.MaxUint64 && prepare == math.MaxUint64:
		return subscriptions.From{End: true}, nil
	case prepare > commit:
		return subscriptions.From{}, badRequest("the commit position %d is below the prepare position %d", commit, prepare)
	case commit > math.MaxInt64:
		return subscriptions.From{}, badRequest("position %d is out of range", commit)
	}
	return subscriptions.From{At: commit}, nil
}

var errNoStart = badRequest("the request does not say where the group begins")

func parseCreate(req *persistent.CreateReq) (k subscriptions.Key, c subscriptions.Config, err error) {
	o := req.GetOptions()
	if o == nil || o.Settings == nil {
		return k, c, badRequest("the request has no options, or no settings")
	}
	var all *client.Empty
	id := o.GetStreamIdentifier()
	switch from := o.StreamOption.(type) {
	case *persistent.CreateReq_Options_Stream:
		id = from.Stream.GetStreamIdentifier()
		switch r := from.Stream.GetRevisionOption().(type) {
		case *persistent.CreateReq_StreamOptions_Revision:
			c.From, err = revisionStart(r.Revision)
		case *persistent.CreateReq_StreamOptions_Start:
		case *persistent.CreateReq_StreamOptions_End:
			c.From.End = true
		default:
			err = errNoStart
		}
	case *persistent.CreateReq_Options_All:
		all = &client.Empty{}
		switch r := from.All.GetAllOption().(type) {
		case *persistent.CreateReq_AllOptions_Position:
			c.From, err = positionStart(r.Position)
		case *persistent.CreateReq_AllOptions_Start:
		case *persistent.CreateReq_AllOptions_End:
			c.From.End = true
		default:
			err = errNoStart
		}
		if f, ok := from.All.GetFilterOption().(*persistent.CreateReq_AllOptions_Filter); ok && err == nil {
			c.Filter, err = parseGroupFilter(f.Filter)
		}
	default: // the old form
		c.From, err = revisionStart(o.Settings.GetRevision())
	}
	if err != nil {
		return k, c, err
	}
	if k, err = groupKey(id, all, o.GetGroupName()); err != nil {
		return k, c, err
	}
	if all == nil && k.Stream == stream.AllStream {
		return k, c, badRequest("a group of all streams is asked for with the option \"all\"")
	}
	c.Settings = createSettings(o.Settings)
	return k, c, nil
}

func parseGroupFilter(o *persistent.CreateReq_AllOptions_FilterOptions) (*subscriptions.Filter, error) {
	f := &subscriptions.Filter{}
	var e *persistent.CreateReq_AllOptions_FilterOptions_Expression
	switch by := o.GetFilter().(type) {
	case *persistent.CreateReq_AllOptions_FilterOptions_StreamIdentifier:
		e = by.StreamIdentifier
	case *persistent.CreateReq_AllOptions_FilterOptions_EventType:
		e, f.ByType = by.EventType, true
	default:
		return nil, badRequest("the filter names neither streams nor event types")
	}
	f.Regex, f.Prefixes = e.GetRegex(), e.GetPrefix()
	return f, nil
}

func parseUpdate(req *persistent.UpdateReq) (k subscriptions.Key, c subscriptions.Config, err error) {
	o := req.GetOptions()
	if o == nil || o.Settings == nil {
		return k, c, badRequest("the request has no options, or no settings")
	}
	var all *client.Empty
	id := o.GetStreamIdentifier()
	switch from := o.StreamOption.(type) {
	case *persistent.UpdateReq_Options_Stream:
		id = from.Stream.GetStreamIdentifier()
		switch r := from.Stream.GetRevisionOption().(type) {
		case *persistent.UpdateReq_StreamOptions_Revision:
			c.From, err = revisionStart(r.Revision)
		case *persistent.UpdateReq_StreamOptions_Start:
		case *persistent.UpdateReq_StreamOptions_End:
			c.From.End = true
		default:
			err = errNoStart
		}
	case *persistent.UpdateReq_Options_All:
		all = &client.Empty{}
		switch r := from.All.GetAllOption().(type) {
		case *persistent.UpdateReq_AllOptions_Position:
			c.From, err = positionStart(r.Position)
		case *persistent.UpdateReq_AllOptions_Start:
		case *persistent.UpdateReq_AllOptions_End:
			c.From.End = true
		default:
			err = errNoStart
		}
	default:
		c.From, err = revisionStart(o.Settings.GetRevision())
	}
	if err != nil {
		return k, c, err
	}
	if k, err = groupKey(id, all, o.GetGroupName()); err != nil {
		return k, c, err
	}
	c.Settings = updateSettings(o.Settings)
	return k, c, nil
}

// counts are the settings that both requests have under the same names.
type counts interface {
	GetResolveLinks() bool
	GetExtraStatistics() bool
	GetMaxRetryCount() int32
	GetMinCheckpointCount() int32
	GetMaxCheckpointCount() int32
	GetMaxSubscriberCount() int32
	GetLiveBufferSize() int32
	GetReadBatchSize() int32
	GetHistoryBufferSize() int32
	GetMessageTimeoutTicks() int64
	GetMessageTimeoutMs() int32
	GetCheckpointAfterTicks() int64
	GetCheckpointAfterMs() int32
}

// span is a time given in one of two units; the other is 0.
func span(ticks int64, ms int32) time.Duration {
	const tick = time.Second / TicksPerSecond
	const most = math.MaxInt64 / int64(tick)
	ticks = min(max(ticks, -most), most)
	return time.Duration(ticks)*tick + time.Duration(ms)*time.Millisecond
}

func commonSettings(s counts) group.Settings {
	return group.Settings{
		ResolveLinks: s.GetResolveLinks(), ExtraStatistics: s.GetExtraStatistics(), MaxRetryCount: int(s.GetMaxRetryCount()),
		MinCheckpointCount: int(s.GetMinCheckpointCount()), MaxCheckpointCount: int(s.GetMaxCheckpointCount()), MaxSubscribers: int(s.GetMaxSubscriberCount()),
		LiveBuffer: int(s.GetLiveBufferSize()), ReadBatch: int(s.GetReadBatchSize()), HistoryBuffer: int(s.GetHistoryBufferSize()),
		MessageTimeout: span(s.GetMessageTimeoutTicks(), s.GetMessageTimeoutMs()), CheckpointAfter: span(s.GetCheckpointAfterTicks(), s.GetCheckpointAfterMs()),
	}
}

func createSettings(s *persistent.CreateReq_Settings) group.Settings {
	c := commonSettings(s)
	if c.Strategy = group.Strategy(s.GetConsumerStrategy()); c.Strategy == "" {
		c.Strategy = group.Strategy(s.GetNamedConsumerStrategy().String()) // the numbers go by the same names
	}
	return c
}

func updateSettings(s *persistent.UpdateReq_Settings) group.Settings {
	c := commonSettings(s)
	// The first number is also what clients send for a strategy that has none: what it means is left to the group.
	if n := s.GetNamedConsumerStrategy(); n != persistent.UpdateReq_DispatchToSingle {
		c.Strategy = group.Strategy(n.String())
	}
	return c
}

func parseConsume(req *persistent.ReadReq) (w wishes, err error) {
	o := req.GetOptions()
	if o == nil {
		return w, badRequest("the first message of the call has no options")
	}
	if w.key, err = groupKey(o.GetStreamIdentifier(), o.GetAll(), o.GetGroupName()); err != nil {
		return w, err
	}
	w.slots = int(o.GetBufferSize())
	if w.slots < 0 || w.slots > group.MaxSlots {
		return w, badRequest("a buffer of %d events is not possible; it holds 1 to %d", w.slots, group.MaxSlots)
	}
	_, w.textIDs = o.GetUuidOption().GetContent().(*persistent.ReadReq_Options_UUIDOption_String_)
	return w, nil
}

// maxAnswerIDs bounds the ids of one acknowledgement.
const maxAnswerIDs = group.MaxSlots

// eventIDs reads ids in either form.
func eventIDs(into [][16]byte, list []*client.UUID) ([][16]byte, error) {
	if len(list) > maxAnswerIDs {
		return nil, badRequest("one message names %d events; at most %d are possible", len(list), maxAnswerIDs)
	}
	for _, u := range list {
		var id [16]byte
		switch v := u.GetValue().(type) {
		case *client.UUID_Structured_:
			binary.BigEndian.PutUint64(id[:8], uint64(v.Structured.GetMostSignificantBits()))
			binary.BigEndian.PutUint64(id[8:], uint64(v.Structured.GetLeastSignificantBits()))
		case *client.UUID_String_:
			var err error
			if id, err = parseUUID([]byte(v.String_)); err != nil {
				return nil, err
			}
		default:
			return nil, badRequest("an event's id is missing")
		}
		into = append(into, id)
	}
	return into, nil
}
