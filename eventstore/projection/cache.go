package projection

import (
	"bytes"
	"container/list"

	"github.com/dop251/goja"
)

// kept is a state in both forms.
type kept struct {
	text  []byte
	value goja.Value
}

// of is the value if it is that of text.
func (k kept) of(text []byte) goja.Value {
	if k.value == nil || len(text) == 0 || !bytes.Equal(k.text, text) {
		return nil
	}
	return k.value
}

// cache keeps the parsed states of the partitions used last, so that they are not read for each event.
type cache struct {
	most, mostBytes int
	bytes           int
	order           *list.List // of *cached, the one used last in front
	by              map[string]*list.Element
}

type cached struct {
	partition string
	kept
}

func (c *cache) init(most, mostBytes int) {
	c.most, c.mostBytes = most, mostBytes
	c.clear()
}

func (c *cache) clear() {
	c.order, c.by, c.bytes = list.New(), map[string]*list.Element{}, 0
}

// take is the value of a partition's state, if it is kept and is that of text. What is taken may be changed and is not kept until it is put again.
func (c *cache) take(partition string, text []byte) goja.Value {
	at, ok := c.by[partition]
	if !ok {
		return nil
	}
	v := at.Value.(*cached).of(text)
	at.Value.(*cached).value = nil
	return v
}

func (c *cache) put(partition string, k kept) {
	if at, ok := c.by[partition]; ok {
		entry := at.Value.(*cached)
		c.bytes += len(k.text) - len(entry.text)
		entry.kept = k
		c.order.MoveToFront(at)
	} else {
		c.by[partition] = c.order.PushFront(&cached{partition, k})
		c.bytes += len(k.text)
	}
	for c.order.Len() > c.most || c.bytes > c.mostBytes && c.order.Len() > 0 {
		last := c.order.Back()
		entry := last.Value.(*cached)
		c.order.Remove(last)
		delete(c.by, entry.partition)
		c.bytes -= len(entry.text)
	}
}
