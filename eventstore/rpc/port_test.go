package rpc_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"baton/eventstore/rpc"
	"baton/eventstore/users"
	"baton/gen/eventstore/client"
	"baton/gen/eventstore/features"
	"baton/gen/eventstore/gossip"
	"baton/gen/eventstore/operations"
	"baton/gen/eventstore/streams"
)

func TestOnePortSpeaksGRPCAndHTTP(t *testing.T) {
	t.Parallel()
	s := newHouse(t, houseOptions{}).leader()
	mustWrite(t, s, "s", event("t", "1"))
	for path, want := range map[string]int{
		"/health/live": 204, "/health/live?liveCode=200": 200, "/health/live?liveCode=x": 400, "/health/ready": 200, "/ping": 200, "/info": 200, "/gossip": 200,
		"/stats": 200, "/metrics": 200, "/cluster": 200, "/info/options": 200, "/peer/hello": 200, "/nowhere": 404, "/cluster/promote": 404,
	} {
		if code, body := s.get(t, path); code != want {
			t.Errorf("%s: %d %s, want %d", path, code, body, want)
		}
	}
	if _, body := s.get(t, "/metrics"); !strings.Contains(body, `baton_role{role="Leader"} 1`) || !strings.Contains(body, `baton_appends_total{outcome="done"} 1`) {
		t.Errorf("metrics lack role or appends:\n%s", body)
	}
	var gossiped struct{ Members []map[string]any }
	_, body := s.get(t, "/gossip")
	if err := json.Unmarshal([]byte(body), &gossiped); err != nil || len(gossiped.Members) != 1 {
		t.Fatal(body, err)
	}
	for _, field := range []string{"instanceId", "timeStamp", "state", "isAlive", "internalTcpIp", "internalTcpPort", "internalSecureTcpPort", "externalTcpIp", "externalTcpPort",
		"externalSecureTcpPort", "internalHttpEndPointIp", "internalHttpEndPointPort", "httpEndPointIp", "httpEndPointPort", "lastCommitPosition", "writerCheckpoint",
		"chaserCheckpoint", "epochPosition", "epochNumber", "epochId", "nodePriority", "isReadOnlyReplica", "esVersion"} {
		if _, ok := gossiped.Members[0][field]; !ok {
			t.Errorf("gossip lacks %s", field)
		}
	}
}

func TestNonsenseOnThePortClosesThatConnectionOnly(t *testing.T) {
	t.Parallel()
	s := newHouse(t, houseOptions{}).leader()
	for _, nonsense := range []string{"\x00\x01\x02\x03\x04\x05", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + strings.Repeat("\xff", 64), "PRI garbage garbage garbage",
		"GET / HTTP/1.1\r\n" + strings.Repeat("x", 40<<10), "\x16\x03\x01\x02\x00\x01\x00\x01"} {
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		_, _ = io.WriteString(conn, nonsense)
		_ = conn.(*net.TCPConn).CloseWrite()
		// Whatever is answered, the connection ends.
		if _, err := io.Copy(io.Discard, conn); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%.20q: %v", nonsense, err)
		}
		conn.Close()
		mustWrite(t, s, "s", event("t", "1"))
	}
}

func TestOperatorsRoutesRefuseInWords(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseOptions{nodes: 3, size: 3})
	s := h.leader()
	post := func(path, kind, body string) (int, map[string]any) {
		t.Helper()
		resp, err := http.Post("http://"+s.addr+path, kind, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var answer map[string]any
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		return resp.StatusCode, answer
	}
	cases := []struct {
		path, kind, body string
		status           int
		code             string
	}{
		{"/cluster/promote", "application/json", `{"node":"nobody"}`, 404, "unknown-node"},
		{"/cluster/promote", "application/json", `{"node":"` + s.node.Self().Name + `"}`, 409, "already-leader"},
		{"/cluster/promote", "application/json", `{"node":"n1","unknown":1}`, 400, "bad-request"},
		{"/cluster/promote", "application/json", `{"node":"n1"} {}`, 400, "bad-request"},
		{"/cluster/promote", "application/json", `{"node":`, 400, "bad-request"},
		{"/cluster/promote", "application/json", `{"node":"n1","as":"king"}`, 400, "bad-request"},
		{"/cluster/promote", "application/json", `{"node":"n1","timeoutMs":-1}`, 400, "bad-request"},
		{"/cluster/promote", "application/json", `{}`, 400, "bad-request"},
		{"/cluster/promote", "text/plain", `{"node":"n1"}`, 415, "bad-request"},
		{"/cluster/promote", "application/json", `{"node":"` + strings.Repeat("x", 70<<10) + `"}`, 413, "bad-request"},
		{"/cluster/size", "application/json", `{"size":4}`, 400, "bad-size"},
		{"/cluster/members", "application/json", `{"peerAddress":"x"}`, 400, "bad-request"},
		{"/admin/node/priority/x", "", ``, 400, "bad-request"},
	}
	for _, c := range cases {
		code, answer := post(c.path, c.kind, c.body)
		if code != c.status || answer["code"] != c.code || answer["fix"] == "" || answer["title"] == "" {
			t.Errorf("%s %.40s: %d %v, want %d %s", c.path, c.body, code, answer, c.status, c.code)
		}
	}
	other := h.byRole("Follower")
	code, answer := post("/cluster/promote", "application/json", `{"node":"`+other.node.Self().Name+`"}`)
	if code != 200 || answer["outcome"] != "done" || answer["leader"] != other.node.Self().ID.String() {
		t.Errorf("promote: %d %v", code, answer)
	}
	// A page of another site cannot make the browser stop the node.
	req, _ := http.NewRequest("POST", "http://"+s.addr+"/admin/shutdown", nil)
	req.Header.Set("Origin", "http://evil.example")
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 403 || len(s.asked) != 0 {
		t.Errorf("cross-site shutdown: %d", resp.StatusCode)
	}
	if code, _ := post("/admin/shutdown", "", ""); code != 200 {
		t.Errorf("shutdown: %d", code)
	}
	select { // asked for after the answer: the node could not give it later
	case <-s.asked:
	case <-time.After(30 * time.Second):
		t.Error("nobody was asked to shut down")
	}
}

// certificate makes a certificate for localhost signed by itself.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "node"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}

func basicAuth(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func TestSecureNodeTellsCallersApart(t *testing.T) {
	t.Parallel()
	cert, roots := certificate(t)
	s := newHouse(t, houseOptions{nodes: 1, size: 1,
		secure: &rpc.AccessOptions{AnonymousGossip: true, PasswordCost: cheap, First: users.First{AdminPassword: "right", OpsPassword: "too"}},
		tls:    &tls.Config{Certificates: []tls.Certificate{cert}},
		dial:   []grpc.DialOption{grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: roots}))},
	}).leader()
	ctx := testContext(t)
	as := func(header string) context.Context {
		if header == "" {
			return ctx
		}
		return metadata.AppendToOutgoingContext(ctx, "authorization", header)
	}
	admin, ops := basicAuth("admin", "right"), basicAuth("ops", "too")
	all := ask(func(o *streams.ReadReq_Options) { o.StreamOption = allFromStart() })
	one := ask(func(o *streams.ReadReq_Options) { o.StreamOption = fromStart("s") })
	for _, c := range []struct {
		header string
		req    *streams.ReadReq
		want   codes.Code
	}{
		{"", one, codes.PermissionDenied}, {"", all, codes.PermissionDenied}, {admin, one, codes.OK}, {admin, all, codes.OK},
		{ops, one, codes.OK}, {ops, all, codes.PermissionDenied}, {basicAuth("admin", "wrong"), one, codes.Unauthenticated}, {"Bearer x", one, codes.Unauthenticated},
	} {
		if _, err := s.read(as(c.header), c.req); status.Code(err) != c.want {
			t.Errorf("%q: %v, want %v", c.header, err, c.want)
		}
	}
	if _, err := s.write(as(admin), "s", nil, event("t", "1")); err != nil {
		t.Error(err)
	}
	if _, err := s.write(ctx, "s", nil, event("t", "1")); status.Code(err) != codes.PermissionDenied {
		t.Error(err)
	}
	if _, err := gossip.NewGossipClient(s.conn).Read(ctx, &client.Empty{}); err != nil {
		t.Error(err)
	}
	if _, err := features.NewServerFeaturesClient(s.conn).GetSupportedMethods(ctx, &client.Empty{}); err != nil {
		t.Error(err)
	}
	if _, err := operations.NewOperationsClient(s.conn).Shutdown(ctx, &client.Empty{}); status.Code(err) != codes.PermissionDenied {
		t.Error(err)
	}
	eventually(t, "the users are listed", func() error {
		list, err := s.read(as(admin), ask(func(o *streams.ReadReq_Options) { o.StreamOption = fromStart("$users") }))
		if err == nil && data(list) != "admin ops " {
			err = fmt.Errorf("read %v", list)
		}
		return err
	})
	// HTTP: 1.1 and 2, from clients that offer both as curl does.
	for _, two := range []bool{false, true} {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: two}
		httpClient := &http.Client{Transport: transport, Timeout: time.Minute}
		for _, c := range []struct {
			path, header string
			want         int
		}{{"/health/live", "", 204}, {"/gossip", "", 200}, {"/info", "", 200}, {"/stats", "", 401}, {"/stats", admin, 200}, {"/stats", basicAuth("admin", "no"), 401}, {"/cluster", ops, 200}} {
			req, err := http.NewRequest("GET", "https://"+s.addr+c.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if c.header != "" {
				req.Header.Set("Authorization", c.header)
			}
			resp, err := httpClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != c.want || (resp.ProtoMajor == 2) != two {
				t.Errorf("%s (%s): %d over %s, want %d", c.path, c.header, resp.StatusCode, resp.Proto, c.want)
			}
		}
		transport.CloseIdleConnections()
	}
	// A gRPC client that offers http/1.1 too is served as well.
	mixed, err := grpc.NewClient(s.addr, grpc.WithTransportCredentials(mixedCredentials{credentials.NewTLS(&tls.Config{RootCAs: roots, ServerName: "127.0.0.1", NextProtos: []string{"h2", "http/1.1"}})}))
	if err != nil {
		t.Fatal(err)
	}
	defer mixed.Close()
	if _, err := features.NewServerFeaturesClient(mixed).GetSupportedMethods(ctx, &client.Empty{}); err != nil {
		t.Error(err)
	}
	list, err := (&served{conn: mixed}).read(as(admin), one)
	if err != nil || data(list) != "1 " {
		t.Errorf("read by way of the other server: %v %v", list, err)
	}
}

// mixedCredentials exists to name what it is for; credentials.NewTLS keeps the protocols it is given.
type mixedCredentials struct {
	credentials.TransportCredentials
}

func TestPingsOfIdleClientsAreWelcome(t *testing.T) {
	t.Parallel()
	s := newHouse(t, houseOptions{}).leader()
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(conn, bufio.NewReader(conn))
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	// Three pings two and a half seconds apart, without a call: each is answered, and no GOAWAY comes.
	pings := time.NewTicker(2500 * time.Millisecond)
	defer pings.Stop()
	for n := range byte(3) {
		<-pings.C
		mark := [8]byte{7, n}
		if err := framer.WritePing(false, mark); err != nil {
			t.Fatal(err)
		}
		for {
			frame, err := framer.ReadFrame()
			if err != nil {
				t.Fatal(err)
			}
			if away, ok := frame.(*http2.GoAwayFrame); ok {
				t.Fatalf("the server said go away: %v %s", away.ErrCode, away.DebugData())
			}
			if ping, ok := frame.(*http2.PingFrame); ok && ping.IsAck() && bytes.Equal(ping.Data[:], mark[:]) {
				break
			}
		}
	}
}
