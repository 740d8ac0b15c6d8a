package rdb

import "fmt"

// Kinds of values, as the dump numbers them.
const (
	kindString          = 0
	kindList            = 1
	kindSet             = 2
	kindZset            = 3
	kindHash            = 4
	kindZset2           = 5
	kindModule2         = 7
	kindZipmap          = 9
	kindListZiplist     = 10
	kindSetIntset       = 11
	kindZsetZiplist     = 12
	kindHashZiplist     = 13
	kindQuicklist       = 14
	kindStream          = 15
	kindHashListpack    = 16
	kindZsetListpack    = 17
	kindQuicklist2      = 18
	kindStream2         = 19
	kindSetListpack     = 20
	kindStream3         = 21
	kindHashExpiring    = 24
	kindHashListpackExp = 25
)

// value passes over one value.
func (s *scanner) value(kind byte) error {
	switch kind {
	case kindString, kindZipmap, kindListZiplist, kindSetIntset, kindZsetZiplist, kindHashZiplist, kindHashListpack, kindZsetListpack, kindSetListpack:
		return s.str()
	case kindList, kindSet, kindQuicklist:
		return s.many(func() error { return s.str() })
	case kindHash:
		return s.many(func() error { return s.strs(2) })
	case kindZset:
		return s.many(func() error {
			if err := s.str(); err != nil {
				return err
			}
			n, err := s.byte() // length of the score's text; the last three stand for infinities
			if err != nil || n >= 253 {
				return err
			}
			return s.skip(uint64(n))
		})
	case kindZset2:
		return s.many(func() error {
			if err := s.str(); err != nil {
				return err
			}
			return s.skip(8)
		})
	case kindQuicklist2:
		return s.many(func() error {
			if _, err := s.length(); err != nil {
				return err
			}
			return s.str()
		})
	case kindHashExpiring:
		if err := s.skip(8); err != nil {
			return err
		}
		return s.many(func() error {
			if _, err := s.length(); err != nil {
				return err
			}
			return s.strs(2)
		})
	case kindHashListpackExp:
		if err := s.skip(8); err != nil {
			return err
		}
		return s.str()
	case kindStream, kindStream2, kindStream3:
		return s.stream(kind)
	case kindModule2:
		if _, err := s.length(); err != nil {
			return err
		}
		return s.module()
	}
	return fmt.Errorf("value of kind %d: %w", kind, ErrUnknown)
}

// many reads a count and calls f so many times.
func (s *scanner) many(f func() error) error {
	n, err := s.length()
	for ; err == nil && n > 0; n-- {
		err = f()
	}
	return err
}

// stream passes over a stream: its nodes, its last ids, its groups with their
// pending entries and consumers.
func (s *scanner) stream(kind byte) error {
	if err := s.many(func() error { return s.strs(2) }); err != nil {
		return err
	}
	fields, group, consumer := 3, 2, uint64(8)
	if kind >= kindStream2 {
		fields, group = 8, 3
	}
	if kind >= kindStream3 {
		consumer = 16
	}
	if err := s.lengths(fields); err != nil {
		return err
	}
	return s.many(func() error {
		if err := s.str(); err != nil {
			return err
		}
		if err := s.lengths(group); err != nil {
			return err
		}
		if err := s.many(func() error { // pending: id, time of delivery, count
			if err := s.skip(16 + 8); err != nil {
				return err
			}
			return s.lengths(1)
		}); err != nil {
			return err
		}
		return s.many(func() error {
			if err := s.str(); err != nil {
				return err
			}
			if err := s.skip(consumer); err != nil {
				return err
			}
			return s.many(func() error { return s.skip(16) })
		})
	})
}

// module passes over what a module wrote: tagged parts up to the tag 0.
func (s *scanner) module() error {
	for {
		tag, err := s.length()
		if err != nil || tag == 0 {
			return err
		}
		switch tag {
		case 1, 2:
			_, err = s.length()
		case 3:
			err = s.skip(4)
		case 4:
			err = s.skip(8)
		case 5:
			err = s.str()
		default:
			err = fmt.Errorf("module part %d: %w", tag, ErrUnknown)
		}
		if err != nil {
			return err
		}
	}
}
