package h2

import (
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

const (
	// maxHeaderBytes bounds a header block, packed and unpacked.
	maxHeaderBytes = 32 << 10
	// tableBytes is the size of the table clients may index their headers in.
	tableBytes = 4096
)

// request is what the headers of a call say.
type request struct {
	method, path, contentType string
	encoding                  string // of its messages; "" for none
	timeout                   time.Duration
	md                        metadata.MD
	size                      int // of names and values
	bad                       string
}

// field takes one header; it is the hpack decoder's emit function.
func (r *request) field(f hpack.HeaderField) {
	if r.size += len(f.Name) + len(f.Value) + 32; r.size > maxHeaderBytes {
		return // refused when the block has been read
	}
	switch f.Name {
	case ":method":
		r.method = f.Value
	case ":path":
		r.path = f.Value
	case ":scheme", "te", "grpc-accept-encoding", "grpc-message-type":
	case ":authority":
		r.add(f.Name, f.Value)
	case "content-type":
		r.contentType = f.Value
		r.add(f.Name, f.Value)
	case "grpc-encoding":
		if f.Value != "identity" {
			r.encoding = f.Value
		}
	case "grpc-timeout":
		d, ok := parseTimeout(f.Value)
		if !ok {
			r.bad = "malformed grpc-timeout: " + strconv.Quote(f.Value)
			return
		}
		r.timeout = d
	default:
		if strings.HasPrefix(f.Name, ":") || f.Name != strings.ToLower(f.Name) {
			r.bad = "malformed header " + strconv.Quote(f.Name)
			return
		}
		value := f.Value
		if strings.HasSuffix(f.Name, "-bin") {
			b, err := decodeBinary(value)
			if err != nil {
				r.bad = "malformed binary header " + strconv.Quote(f.Name)
				return
			}
			value = string(b)
		}
		r.add(f.Name, value)
	}
}

func (r *request) add(name, value string) {
	if r.md == nil {
		r.md = make(metadata.MD, 8)
	}
	r.md[name] = append(r.md[name], value)
}

// decodeBinary reads base64 with or without padding.
func decodeBinary(s string) ([]byte, error) {
	return base64.RawStdEncoding.DecodeString(strings.TrimRight(s, "="))
}

// parseTimeout reads at most eight digits and a unit.
func parseTimeout(s string) (time.Duration, bool) {
	if len(s) < 2 || len(s) > 9 {
		return 0, false
	}
	n, err := strconv.ParseUint(s[:len(s)-1], 10, 32)
	if err != nil {
		return 0, false
	}
	var unit time.Duration
	switch s[len(s)-1] {
	case 'H':
		unit = time.Hour
	case 'M':
		unit = time.Minute
	case 'S':
		unit = time.Second
	case 'm':
		unit = time.Millisecond
	case 'u':
		unit = time.Microsecond
	case 'n':
		unit = time.Nanosecond
	default:
		return 0, false
	}
	if max := time.Duration(1<<63 - 1); time.Duration(n) > max/unit {
		return max, true
	}
	return time.Duration(n) * unit, true
}

// Fields of answers: static table entries, else literals without indexing.
var (
	statusOK        = []byte{0x88} // :status: 200
	contentTypeGRPC = append([]byte{0x0f, 0x10, 16}, "application/grpc"...)
	grpcStatusOK    = append(append([]byte{0x00, 11}, "grpc-status"...), 1, '0')
)

// appendField adds a literal header that no table remembers.
func appendField(b []byte, name, value string) []byte {
	b = append(b, 0x00)
	b = appendString(b, name)
	return appendString(b, value)
}

// appendString adds a string without Huffman coding, its length as a 7-bit prefixed integer.
func appendString(b []byte, s string) []byte {
	n := len(s)
	if n < 127 {
		b = append(b, byte(n))
		return append(b, s...)
	}
	b = append(b, 127)
	for n -= 127; n >= 128; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	b = append(b, byte(n))
	return append(b, s...)
}

// appendMD adds custom metadata; names gRPC keeps for itself are left out.
func appendMD(b []byte, md metadata.MD) []byte {
	for name, values := range md {
		if strings.HasPrefix(name, ":") || strings.HasPrefix(name, "grpc-") || name == "content-type" || name == "te" {
			continue
		}
		for _, v := range values {
			if strings.HasSuffix(name, "-bin") {
				v = base64.RawStdEncoding.EncodeToString([]byte(v))
			}
			b = appendField(b, name, v)
		}
	}
	return b
}

// appendStatus adds the fields that tell how a call ended.
func appendStatus(b []byte, st *status.Status) []byte {
	if st.Code() == 0 {
		return append(b, grpcStatusOK...)
	}
	b = appendField(b, "grpc-status", strconv.Itoa(int(st.Code())))
	b = appendField(b, "grpc-message", percent(st.Message()))
	if p := st.Proto(); len(p.GetDetails()) > 0 {
		if raw, err := proto.Marshal(p); err == nil {
			b = appendField(b, "grpc-status-details-bin", base64.RawStdEncoding.EncodeToString(raw))
		}
	}
	return b
}

// percent encodes what a header may not hold.
func percent(s string) string {
	const hex = "0123456789ABCDEF"
	for i := 0; ; i++ {
		if i == len(s) {
			return s
		}
		if c := s[i]; c < ' ' || c > '~' || c == '%' {
			break
		}
	}
	b := make([]byte, 0, len(s)+16)
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '%' {
			b = append(b, '%', hex[c>>4], hex[c&15])
		} else {
			b = append(b, c)
		}
	}
	return string(b)
}
