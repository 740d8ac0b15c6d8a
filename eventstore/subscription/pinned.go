package subscription

import "github.com/cespare/xxhash/v2"

// bucketCount is in how many parts pinned strategies divide the keys.
const bucketCount = 1024

func bucketOf(key string) int { return int(xxhash.Sum64String(key) % bucketCount) }

// pins says which consumer has which part of the keys. A part changes hands only when nothing of it is in flight, so that its events are not handled by
// two consumers at a time.
type pins struct {
	parts [bucketCount]part
}

type part struct {
	owner    *Consumer // whose it is from the next free moment on
	busy     *Consumer // who holds events of it
	inFlight int
}

// holder is who may get an event of the part; nil while another one still holds some.
func (p *pins) holder(bucket int) *Consumer {
	b := &p.parts[bucket]
	if b.inFlight > 0 && b.busy != b.owner {
		return nil
	}
	return b.owner
}

func (p *pins) sent(bucket int, c *Consumer) {
	b := &p.parts[bucket]
	b.busy = c
	b.inFlight++
}

func (p *pins) released(bucket int) {
	b := &p.parts[bucket]
	if b.inFlight--; b.inFlight == 0 {
		b.busy = nil
	}
}

// joined gives the new consumer its share: parts nobody has, then parts of those who have more than theirs.
func (p *pins) joined(c *Consumer, all []*Consumer) {
	share := bucketCount / len(all)
	for i := range p.parts {
		if c.buckets >= share && len(all) > 1 {
			return
		}
		b := &p.parts[i]
		switch {
		case b.owner == nil:
		case b.owner.buckets > share:
			b.owner.buckets--
		default:
			continue
		}
		b.owner = c
		c.buckets++
	}
}

// left gives the parts of a consumer that is gone to those who have the fewest.
func (p *pins) left(c *Consumer, all []*Consumer) {
	for i := range p.parts {
		b := &p.parts[i]
		if b.owner != c {
			continue
		}
		b.owner = nil
		for _, other := range all {
			if b.owner == nil || other.buckets < b.owner.buckets {
				b.owner = other
			}
		}
		if b.owner != nil {
			b.owner.buckets++
		}
	}
	c.buckets = 0
}
