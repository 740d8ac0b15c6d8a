package agent

import (
	"encoding/json"
	"fmt"

	"github.com/fxamacker/cbor/v2"

	agentpb "baton/gen/agent"
)

// Reports travel in CBOR (RFC 8949) with the names of their JSON form: reading
// them is most of what a control node does for many hosts, and takes a fraction
// of the time. Numbers that JSON carries as text are numbers; times keep their
// nanoseconds; names that the reader does not know are left out.
var (
	reportForm = must(cbor.EncOptions{Time: cbor.TimeRFC3339Nano}.EncMode())
	reportRead = must(cbor.DecOptions{MaxArrayElements: 1 << 20, MaxMapPairs: 1 << 20}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// EncodeReport gives a report the form that a control node reads.
func EncodeReport(r *Report, inCBOR bool) (*agentpb.Report, error) {
	if inCBOR {
		b, err := reportForm.Marshal(r)
		return &agentpb.Report{Cbor: b}, err
	}
	b, err := json.Marshal(r)
	return &agentpb.Report{Json: b}, err
}

// DecodeReport reads a report in either form.
func DecodeReport(m *agentpb.Report) (r Report, err error) {
	if b := m.GetCbor(); len(b) > 0 {
		err = reportRead.Unmarshal(b, &r)
	} else {
		err = json.Unmarshal(m.GetJson(), &r)
	}
	if err != nil {
		return Report{}, fmt.Errorf("read a report: %w", err)
	}
	return r, nil
}
