package peer

import (
	"encoding/json"
	"io"
	"net"
	"testing"
	"time"

	"baton/eventstore/membership"
)

func newImpatient(t *testing.T, id membership.MemberID, lost chan<- struct{}) (*Network, string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	n := New(Options{Listener: listener, Silence: 300 * time.Millisecond, Handler: Handler{
		Hello:   func() Hello { return Hello{ClusterID: "c", From: id, FromAddr: address} },
		Welcome: func(h Hello) Welcome { return Judge(h, id, "c", false) },
		Status:  func(membership.MemberID, []byte) {},
		Lost: func(membership.MemberID, bool) {
			select {
			case lost <- struct{}{}:
			default:
			}
		},
	}})
	t.Cleanup(n.Close)
	return n, address
}

// broadcast sends status until the test ends.
func broadcast(t *testing.T, n *Network) {
	stop, done := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(stop); <-done })
	go func() {
		defer close(done)
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-stop:
				return
			case <-ticker.C:
				n.Broadcast([]byte("status"))
			}
		}
	}()
}

// Goal (P11): a peer that takes everything and answers nothing, as one behind a
// cut line seems to, is noticed and dialed again.
func TestLinkToASilentPeerIsGivenUp(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	dials := make(chan struct{}, 16)
	go func() {
		for {
			raw, err := silent.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = raw.Close() }()
				if _, _, err := (&frameReader{r: raw, limit: maxHelloBytes}).next(); err != nil {
					return
				}
				welcome, _ := json.Marshal(Welcome{Protocol: protocolVersion, ClusterID: "c", Self: 2})
				_, _ = raw.Write(appendFrame(nil, frameWelcome, welcome))
				dials <- struct{}{}
				_, _ = io.Copy(io.Discard, raw)
			}()
		}
	}()
	n, _ := newImpatient(t, 1, make(chan struct{}, 1))
	n.SetTargets([]Target{{ID: 2, Address: silent.Addr().String()}})
	broadcast(t, n)
	for range 2 {
		select {
		case <-dials:
		case <-time.After(time.Minute):
			t.Fatal("the link was kept")
		}
	}
}

// Goal: status and its answers alone keep a link open.
// Method: four silences long nothing else is sent. A machine that stands still for a silence breaks a link too, so
// one try in ten must do; a link that status does not keep open is lost in each.
func TestLinkWithNothingButStatusStaysOpen(t *testing.T) {
	t.Parallel()
	lost := make(chan struct{}, 1)
	a, _ := newImpatient(t, 1, lost)
	_, address := newImpatient(t, 2, make(chan struct{}, 1))
	a.SetTargets([]Target{{ID: 2, Address: address}})
	broadcast(t, a)
	for range 10 {
		eventually(t, "a link", func() bool { return a.Up(2) })
		select {
		case <-lost:
		case <-time.After(1200 * time.Millisecond):
			return
		}
	}
	t.Error("the link was lost each time")
}
