package agent

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	agentpb "baton/gen/agent"
	"baton/platform/identity"

	"google.golang.org/grpc"
)

// fakeLink signs whatever it is asked to.
type fakeLink struct {
	agentpb.AgentLinkClient
	ca  *identity.CA
	id  string
	got int
}

func (f *fakeLink) Renew(_ context.Context, req *agentpb.RenewRequest, _ ...grpc.CallOption) (*agentpb.JoinReply, error) {
	f.got++
	cert, err := f.ca.Sign(req.GetCsrDer(), identity.Identity{Kind: identity.KindAgent, ID: f.id})
	return &agentpb.JoinReply{AgentId: f.id, CertificatePem: cert, CaPem: f.ca.CertificatePEM()}, err
}

func TestCertificateIsRenewedInTimeAndOnlyThen(t *testing.T) {
	dir := t.TempDir()
	ca, err := identity.OpenCA(filepath.Join(dir, "ca"))
	if err != nil {
		t.Fatal(err)
	}
	key, keyPEM, err := identity.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := identity.NewRequest(key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Sign(csr, identity.Identity{Kind: identity.KindAgent, ID: "a1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := storeCertificate(dir, keyPEM, &agentpb.JoinReply{CertificatePem: cert, CaPem: ca.CertificatePEM()}); err != nil {
		t.Fatal(err)
	}
	if err := storeMember(dir, member{ID: "a1", Address: "127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	me, err := loadMember(dir)
	if err != nil || time.Until(me.until) < 300*24*time.Hour {
		t.Fatalf("%+v, %v", me, err)
	}
	a := &Agent{opt: Options{Dir: dir}, me: me, log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	link := &fakeLink{ca: ca, id: "a1"}
	if err := a.renew(context.Background(), link); err != nil || link.got != 0 {
		t.Errorf("a fresh certificate: %d requests, %v", link.got, err)
	}
	a.me.until = time.Now().Add(renewBefore - time.Hour)
	if err := a.renew(context.Background(), link); err != nil || link.got != 1 {
		t.Errorf("an old certificate: %d requests, %v", link.got, err)
	}
	now, err := os.ReadFile(filepath.Join(dir, "agent.crt"))
	if err != nil || bytes.Equal(now, cert) || time.Until(a.me.until) < 300*24*time.Hour {
		t.Errorf("not replaced: %v", err)
	}
	link.id, a.me.until = "someone-else", time.Now()
	if err := a.renew(context.Background(), link); err == nil {
		t.Error("another agent's certificate was taken")
	}
	if _, err := loadMember(dir); err != nil {
		t.Errorf("after that: %v", err)
	}
}

func TestAnOrderHeldUpOnItsWayIsRecognizedWithoutCommonClocks(t *testing.T) {
	base := time.Unix(1000, 0)
	const skew = -3 * time.Hour // this side's clock is behind
	var tr travelTime
	sent := func(after time.Duration) int64 { return base.Add(after).UnixNano() }
	at := func(after, travel time.Duration) time.Time { return base.Add(after + travel + skew) }
	if late := tr.add(at(0, 5*time.Millisecond), sent(0)); late != 0 {
		t.Errorf("first message: %s late", late)
	}
	if late := tr.add(at(time.Second, time.Millisecond), sent(time.Second)); late != 0 {
		t.Errorf("a quicker message: %s late", late)
	}
	if late := tr.add(at(2*time.Second, 400*time.Millisecond), sent(2*time.Second)); late != 399*time.Millisecond {
		t.Errorf("a message that was held up: %s late, want 399ms", late)
	}
}

func TestReportsOfDisksShowAPercentile(t *testing.T) {
	if percentile(nil, 0.99) != nil {
		t.Error("a percentile of nothing")
	}
	samples := make([]float64, 100)
	for i := range samples {
		samples[i] = float64(100 - i)
	}
	if p := percentile(samples, 0.99); *p != 100 {
		t.Errorf("p99 of 1..100 is %v", *p)
	}
	d := newDisks()
	dir := filepath.Join(t.TempDir(), "data")
	d.measure([]string{dir})
	if f := d.facts(dir); f == nil || f.TotalBytes <= 0 || f.FsyncP99Ms == nil || *f.GrowthBytes != 0 {
		t.Errorf("facts %+v", f)
	}
	if d.facts("/elsewhere") != nil {
		t.Error("facts of a directory that was not measured")
	}
}
