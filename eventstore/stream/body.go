package stream

// An event's body is the wire form of RecordedEvent from field 6 on, so that a
// reader copies it into a response without looking inside:
//
//	6 metadata  {"type": T}
//	6 metadata  {"content-type": "application/json" or "application/octet-stream"}
//	7 custom_metadata   absent when empty
//	8 data              absent when empty
//
// The third metadata entry, "created", is the record's stamp; the reader's edge
// adds it.

const (
	tagMetadata       = 0x32 // field 6, length-delimited
	tagCustomMetadata = 0x3a // field 7
	tagData           = 0x42 // field 8

	keyType = "\x0a\x04type\x12" // key "type" and the tag of the value
)

// The whole content-type entries, constant for each of the two values.
const (
	entryJSON  = "\x32\x20\x0a\x0ccontent-type\x12\x10application/json"
	entryBytes = "\x32\x28\x0a\x0ccontent-type\x12\x18application/octet-stream"
)

// varintLen is the number of bytes of v as a base-128 number.
func varintLen(v int) int {
	n := 1
	for v >= 0x80 {
		v >>= 7
		n++
	}
	return n
}

func appendVarint(b []byte, v int) []byte {
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

// typeEntryLen is the length of the value of the "type" entry.
func typeEntryLen(typeLen int) int { return len(keyType) + varintLen(typeLen) + typeLen }

// typeOffset is where the type's name begins in the body.
func typeOffset(typeLen int) int {
	return 1 + varintLen(typeEntryLen(typeLen)) + len(keyType) + varintLen(typeLen)
}

func bytesFieldLen(n int) int {
	if n == 0 {
		return 0
	}
	return 1 + varintLen(n) + n
}

func bodyLen(typeLen, metaLen, dataLen int, json bool) int {
	ct := len(entryBytes)
	if json {
		ct = len(entryJSON)
	}
	return typeOffset(typeLen) + typeLen + ct + bytesFieldLen(metaLen) + bytesFieldLen(dataLen)
}

func appendBody(b []byte, typ string, json bool, meta, data []byte) []byte {
	b = append(b, tagMetadata)
	b = appendVarint(b, typeEntryLen(len(typ)))
	b = append(b, keyType...)
	b = appendVarint(b, len(typ))
	b = append(b, typ...)
	if json {
		b = append(b, entryJSON...)
	} else {
		b = append(b, entryBytes...)
	}
	if len(meta) > 0 {
		b = append(b, tagCustomMetadata)
		b = appendVarint(b, len(meta))
		b = append(b, meta...)
	}
	if len(data) > 0 {
		b = append(b, tagData)
		b = appendVarint(b, len(data))
		b = append(b, data...)
	}
	return b
}

// validBody reports whether body is exactly what appendBody makes of the given
// lengths; content is not looked at beyond the fixed parts.
func validBody(body []byte, typeLen, metaLen, dataLen int, json bool) bool {
	if typeLen < 0 || metaLen < 0 || dataLen < 0 ||
		bodyLen(typeLen, metaLen, dataLen, json) != len(body) {
		return false
	}
	var want [32]byte
	head := append(want[:0], tagMetadata)
	head = appendVarint(head, typeEntryLen(typeLen))
	head = append(head, keyType...)
	head = appendVarint(head, typeLen)
	if string(body[:len(head)]) != string(head) {
		return false
	}
	rest := body[len(head)+typeLen:]
	ct := entryBytes
	if json {
		ct = entryJSON
	}
	if string(rest[:len(ct)]) != ct {
		return false
	}
	rest = rest[len(ct):]
	for _, f := range [2]struct {
		tag byte
		n   int
	}{{tagCustomMetadata, metaLen}, {tagData, dataLen}} {
		if f.n == 0 {
			continue
		}
		h := appendVarint(append(want[:0], f.tag), f.n)
		if string(rest[:len(h)]) != string(h) {
			return false
		}
		rest = rest[len(h)+f.n:]
	}
	return len(rest) == 0
}
