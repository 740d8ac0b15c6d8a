package clients

import (
	"bufio"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"baton/test/fleet"
)

// officialModule is the client whose own tests are run.
const officialModule = "github.com/kurrent-io/KurrentDB-Client-Go"

// officialTests are the tests of the client's package `test` that concern services this server has, and those
// that need no server. Left out: user management (one case of TestTLS reads the account of admin from its stream)
// and user certificates.
var officialTests = []string{
	"TestAppendEventsSuite", "TestReadStreamSuite", "TestReadAllSuite", "TestDeleteSuite", "TestSubscriptionSuite",
	"TestMultiAppendEventsSuite", "TestConnectionSuite", "TestTLS/(Default|DefaultsWithCertificate|WithoutCertificateAndVerify|testTLSWithoutCertificate|WithCertificate|WithCertificateFromAbsoluteFile|WithCertificateFromRelativeFile|WithInvalidCertificate)",
	"TestPersistentSubscriptionReadSuite", "TestPersistentSubscriptionSuite", "TestInsecureAuthenticationSuite", "TestSecureAuthenticationSuite",
	"TestProjectionSuite", "TestClusterSuite",
	"TestConnectionStringSuite", "TestPositionParsingSuite", "TestUUIDParsingSuite", "TestTypes", "TestVersionParsing.*",
}

// Goal: the official Go client's own test suite passes against our binary.
// Method: a scratch copy of its module with fresh node certificates from the CA it ships (the shipped ones have
// expired), our servers on the ports the suite has fixed, its program built once, one subtest for each of its cases.
func TestOfficialClientSuite(t *testing.T) {
	for _, port := range []int{2111, 2112, 2113, 2114, 2115} {
		l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", fleet.Host, port))
		if err != nil {
			t.Skipf("the suite has fixed ports and %d is in use", port)
		}
		l.Close()
	}
	scratch := copyModule(t)
	files := issueNodeCertificate(t, filepath.Join(scratch, "certs"))
	env := []string{"EVENTSTORE_DEFAULT_ADMIN_PASSWORD=changeit"}
	secureHTTP := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}

	start := func(o fleet.Options) *fleet.Fleet {
		t.Helper()
		o.Dir = t.TempDir()
		o.Env = env
		o.Args = append(o.Args, patient...)
		f, err := fleet.New(o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(f.Close)
		if err := f.Start(); err != nil {
			t.Fatal(err)
		}
		if err := f.AwaitRoles(2*time.Minute, o.ClusterSize-1, 0); err != nil {
			t.Fatalf("%v\n%s", err, f.Logs(30))
		}
		return f
	}
	insecure := start(fleet.Options{Nodes: 1, ClusterSize: 1, ClientPorts: []int{2114}})
	secure := start(fleet.Options{Nodes: 1, ClusterSize: 1, ClientPorts: []int{2115}, TLS: files, HTTP: secureHTTP, User: "admin", Password: "changeit",
		Args: []string{"--run-projections=All", "--start-standard-projections"}})
	cluster := start(fleet.Options{Nodes: 3, ClusterSize: 3, ClientPorts: []int{2111, 2112, 2113}, TLS: files, HTTP: secureHTTP, User: "admin", Password: "changeit"})

	program := buildOfficial(t, scratch)
	passed, failed, skipped := 0, 0, 0
	for _, test := range officialTests {
		pattern := "^" + strings.ReplaceAll(test, "/", "$/^") + "$"
		for _, c := range runOfficial(t, scratch, program, pattern) {
			t.Run(c.name, func(t *testing.T) {
				switch c.action {
				case "pass":
					passed++
				case "skip":
					skipped++
					t.Skip("the suite itself skips it: " + strings.TrimSpace(c.output))
				default:
					failed++
					t.Errorf("%s\n%s", c.action, c.output)
				}
			})
		}
		for _, n := range cluster.Nodes { // one test shuts the leader down; later ones want three nodes
			if !n.Running() {
				if err := n.Start(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if passed == 0 {
		t.Fatal("no test of the suite ran")
	}
	if failed > 0 {
		t.Logf("%s%s%s", insecure.Logs(10), secure.Logs(10), cluster.Logs(10))
	}
	fmt.Printf("=> official Go client's own suite (%s v1.1.1): %d passed, %d failed, %d skipped\n", officialModule, passed, failed, skipped)
}

type officialCase struct{ name, action, output string }

// buildOfficial builds the suite's program, once: to link it takes longer than most of its tests.
func buildOfficial(t *testing.T, dir string) (program string) {
	t.Helper()
	program = filepath.Join(dir, "suite.test")
	cmd := exec.Command("go", "test", "-c", "-o", program, "./test")
	cmd.Dir = dir
	cmd.Env = officialEnv()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the suite: %v\n%s", err, out)
	}
	return program
}

func officialEnv() []string {
	return append(os.Environ(), "GOFLAGS=-mod=mod", "GOTOOLCHAIN=local", "GOWORK=off")
}

// runOfficial runs the tests that match pattern, where `go test` would run them, and returns their leaves.
func runOfficial(t *testing.T, dir, program, pattern string) []officialCase {
	t.Helper()
	cmd := exec.Command("go", "tool", "test2json", "-t", program, "-test.v=test2json", "-test.timeout=10m", "-test.run="+pattern)
	cmd.Dir = filepath.Join(dir, "test")
	cmd.Env = officialEnv()
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var order []string
	cases := map[string]*officialCase{}
	parent := map[string]bool{}
	var loose strings.Builder
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var e struct{ Action, Test, Output string }
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue
		}
		if e.Test == "" {
			loose.WriteString(e.Output)
			continue
		}
		c := cases[e.Test]
		if c == nil {
			c = &officialCase{name: e.Test}
			cases[e.Test] = c
			order = append(order, e.Test)
			for i := strings.LastIndex(e.Test, "/"); i > 0; i = strings.LastIndex(e.Test[:i], "/") {
				parent[e.Test[:i]] = true
			}
		}
		switch e.Action {
		case "output":
			c.output += e.Output
		case "pass", "fail", "skip":
			c.action = e.Action
		}
	}
	runErr := cmd.Wait()
	var leaves []officialCase
	for _, name := range order {
		if c := cases[name]; !parent[name] {
			if c.action == "" {
				c.action = "did not end"
			}
			leaves = append(leaves, *c)
		}
	}
	if runErr != nil && len(leaves) == 0 {
		t.Fatalf("%s: %v\n%s", pattern, runErr, loose.String())
	}
	return leaves
}

// copyModule copies the client's module from the module cache into a scratch folder.
func copyModule(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", officialModule).Output()
	if err != nil {
		t.Fatal(err)
	}
	src, dst := strings.TrimSpace(string(out)), t.TempDir()
	err = filepath.WalkDir(src, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if rel == "docs" || rel == "samples" {
				return filepath.SkipDir
			}
			return os.MkdirAll(filepath.Join(dst, rel), 0o755)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dst, rel), b, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	return dst
}

// issueNodeCertificate signs a node certificate with the CA in certs, as the suite's nodes have one.
func issueNodeCertificate(t *testing.T, certs string) *fleet.TLS {
	t.Helper()
	caFile := filepath.Join(certs, "ca", "ca.crt")
	pair, err := tls.LoadX509KeyPair(caFile, filepath.Join(certs, "ca", "ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: "eventstoredb-node"},
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:    []string{"localhost"}, IPAddresses: []net.IP{net.ParseIP(fleet.Host)},
	}, ca, &key.PublicKey, pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := &fleet.TLS{
		CertFile: filepath.Join(dir, "node.crt"), KeyFile: filepath.Join(dir, "node.key"),
		RootsDir: filepath.Join(certs, "ca"), RootFile: caFile,
	}
	for name, block := range map[string]*pem.Block{
		files.CertFile: {Type: "CERTIFICATE", Bytes: der},
		files.KeyFile:  {Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)},
	} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return files
}
