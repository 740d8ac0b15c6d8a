package provider

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path"
	"strings"
	"time"
)

const (
	// metadataTime bounds all questions to a metadata service together.
	metadataTime = 300 * time.Millisecond
	// maxMetadata bounds one answer.
	maxMetadata = 4 << 10
	// metadataAddress is where providers answer machines of their own; it never
	// leaves the machine's own link.
	metadataAddress = "169.254.169.254:80"
)

// metadata asks the service of one provider; which one the firmware told.
type metadata struct {
	address string // host:port, metadataAddress but in tests
}

// locate returns where a machine of a provider stands: the availability zone,
// else the region. Providers that are not known answer nothing and are not
// asked.
func (m metadata) locate(ctx context.Context, provider string) (string, error) {
	ask := map[string]func(context.Context, *http.Client) (string, error){"AWS": m.aws, "Hetzner": m.hetzner, "Google Cloud": m.google}[provider]
	if ask == nil {
		return "", errors.New("its metadata service is not known")
	}
	ctx, cancel := context.WithTimeout(ctx, metadataTime)
	defer cancel()
	c := &http.Client{
		// No proxy, no other address, no redirect: what answers elsewhere knows nothing of this machine.
		Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, m.address)
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return ask(ctx, c)
}

func (m metadata) get(ctx context.Context, c *http.Client, method, path string, headers ...string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://169.254.169.254"+path, nil)
	if err != nil {
		return "", err
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxMetadata))
	if err != nil {
		return "", err
	}
	text := strings.TrimSpace(string(b))
	if res.StatusCode != http.StatusOK || !word(text) {
		return "", errors.New("no usable answer")
	}
	return text, nil
}

// word tells whether an answer may be shown as a place or used as a token.
func word(s string) bool {
	return s != "" && len(s) <= 512 && strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '<' }) < 0
}

// aws asks version 2 of the service: first for a token.
func (m metadata) aws(ctx context.Context, c *http.Client) (string, error) {
	token, err := m.get(ctx, c, "PUT", "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds", "60")
	if err != nil {
		return "", err
	}
	return m.get(ctx, c, "GET", "/latest/meta-data/placement/availability-zone", "X-aws-ec2-metadata-token", token)
}

func (m metadata) hetzner(ctx context.Context, c *http.Client) (string, error) {
	zone, err := m.get(ctx, c, "GET", "/hetzner/v1/metadata/availability-zone")
	if err != nil {
		return m.get(ctx, c, "GET", "/hetzner/v1/metadata/region")
	}
	return zone, nil
}

// google answers projects/NUMBER/zones/ZONE.
func (m metadata) google(ctx context.Context, c *http.Client) (string, error) {
	zone, err := m.get(ctx, c, "GET", "/computeMetadata/v1/instance/zone", "Metadata-Flavor", "Google")
	return path.Base(zone), err
}
