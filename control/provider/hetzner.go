package provider

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"
)

const (
	// hetznerTime bounds one request.
	hetznerTime = 30 * time.Second
	// hetznerLabel bears the key of a machine.
	hetznerLabel = "baton-key"
	// hetznerImage is what machines are made from when nobody chose.
	hetznerImage = "debian-12"
)

var hetznerKey = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,61}[A-Za-z0-9]$`)

// Hetzner makes machines at Hetzner Cloud.
type Hetzner struct{ c *hcloud.Client }

// NewHetzner reaches an account by its API token; endpoint "" is the provider's
// own address.
func NewHetzner(token, endpoint, version string) *Hetzner {
	o := []hcloud.ClientOption{hcloud.WithToken(token), hcloud.WithApplication("baton", version), hcloud.WithHTTPClient(&http.Client{Timeout: hetznerTime}),
		hcloud.WithRetryOpts(hcloud.RetryOpts{BackoffFunc: hcloud.ConstantBackoff(200 * time.Millisecond), MaxRetries: 3})}
	if endpoint != "" {
		o = append(o, hcloud.WithEndpoint(strings.TrimRight(endpoint, "/")))
	}
	return &Hetzner{hcloud.NewClient(o...)}
}

// About implements Provider.
func (*Hetzner) About() About {
	return About{Name: "hetzner", Title: "Hetzner Cloud", Does: "makes machines that join by themselves, and deletes them", CanMake: true}
}

// asked translates the provider's errors; the token is in none of them.
func asked(what string, err error) error {
	if err == nil {
		return nil
	}
	var e hcloud.Error
	text := err.Error()
	if errors.As(err, &e) {
		text = e.Message
	}
	kind := errors.New("Hetzner Cloud")
	switch {
	case hcloud.IsError(err, hcloud.ErrorCodeUnauthorized, hcloud.ErrorCodeForbidden):
		kind = ErrCredentials
	case hcloud.IsError(err, hcloud.ErrorCodeNotFound):
		kind = ErrNoMachine
	case hcloud.IsError(err, hcloud.ErrorCodeResourceLimitExceeded, hcloud.ErrorCodeResourceUnavailable, hcloud.ErrorCodePlacementError):
		kind = ErrLimit
	case hcloud.IsError(err, hcloud.ErrorCodeInvalidInput, hcloud.ErrorCodeUniquenessError, hcloud.ErrorCodeInvalidServerType):
		kind = ErrInput
	}
	return fmt.Errorf("%s: %w: %s", what, kind, text)
}

// Locations implements Maker.
func (h *Hetzner) Locations(ctx context.Context) ([]Place, error) {
	list, err := h.c.Location.All(ctx)
	if err != nil {
		return nil, asked("list locations", err)
	}
	var out []Place
	for _, l := range list {
		out = append(out, Place{Name: l.Name, Title: l.City, Country: l.Country})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out, nil
}

// Sizes implements Maker.
func (h *Hetzner) Sizes(ctx context.Context, location string) ([]Size, error) {
	list, err := h.c.ServerType.All(ctx)
	if err != nil {
		return nil, asked("list server types", err)
	}
	type priced struct {
		Size
		price float64
	}
	var found []priced
	for _, t := range list {
		p := priced{Size: Size{Name: t.Name, Title: t.Description, Arch: map[hcloud.Architecture]string{hcloud.ArchitectureX86: "amd64", hcloud.ArchitectureARM: "arm64"}[t.Architecture],
			Cores: t.Cores, MemoryBytes: int64(float64(t.Memory) * (1 << 30)), DiskBytes: int64(t.Disk) << 30}}
		here := location == ""
		for _, x := range t.Pricings {
			if x.Location == nil || location != "" && x.Location.Name != location {
				continue
			}
			here = true
			if n, err := strconv.ParseFloat(x.Monthly.Gross, 64); err == nil && (p.price == 0 || n < p.price) {
				p.price, p.MonthlyPrice = n, fmt.Sprintf("%.2f %s", n, x.Monthly.Currency)
			}
		}
		if here {
			found = append(found, p)
		}
	}
	slices.SortFunc(found, func(a, b priced) int {
		switch {
		case a.price < b.price:
			return -1
		case a.price > b.price:
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	out := make([]Size, len(found))
	for i, p := range found {
		out[i] = p.Size
	}
	return out, nil
}

// find is the machine that bears a key, nil for none.
func (h *Hetzner) find(ctx context.Context, key string) (*hcloud.Server, error) {
	if !hetznerKey.MatchString(key) {
		return nil, fmt.Errorf("key %q cannot be a label: %w", key, ErrInput)
	}
	list, err := h.c.Server.AllWithOpts(ctx, hcloud.ServerListOpts{ListOpts: hcloud.ListOpts{LabelSelector: hetznerLabel + "==" + key}})
	if err != nil || len(list) == 0 {
		return nil, asked("look for the machine", err)
	}
	return list[0], nil
}

// Make implements Maker.
func (h *Hetzner) Make(ctx context.Context, m NewMachine) (Machine, error) {
	if s, err := h.find(ctx, m.Key); err != nil || s != nil {
		return machineOf(s), err
	}
	if m.Image == "" {
		m.Image = hetznerImage
	}
	r, _, err := h.c.Server.Create(ctx, hcloud.ServerCreateOpts{Name: m.Name, ServerType: &hcloud.ServerType{Name: m.Size}, Image: &hcloud.Image{Name: m.Image},
		Location: &hcloud.Location{Name: m.Location}, UserData: m.UserData, Labels: map[string]string{hetznerLabel: m.Key, "managed-by": "baton"}})
	if err != nil {
		return Machine{}, asked("make the machine", err)
	}
	return machineOf(r.Server), nil
}

// Look implements Maker.
func (h *Hetzner) Look(ctx context.Context, id string) (Machine, error) {
	s, err := h.get(ctx, id)
	return machineOf(s), err
}

func (h *Hetzner) get(ctx context.Context, id string) (*hcloud.Server, error) {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("machine %q: %w", id, ErrNoMachine)
	}
	s, _, err := h.c.Server.GetByID(ctx, n)
	if err == nil && s == nil {
		return nil, fmt.Errorf("machine %s: %w", id, ErrNoMachine)
	}
	return s, asked("look at the machine", err)
}

// Remove implements Maker.
func (h *Hetzner) Remove(ctx context.Context, id, key string) error {
	s, err := h.get(ctx, id)
	switch {
	case errors.Is(err, ErrNoMachine):
		return nil
	case err != nil:
		return err
	case s.Labels[hetznerLabel] != key:
		return fmt.Errorf("machine %s (%s): %w", id, s.Name, ErrNotOurs)
	}
	_, _, err = h.c.Server.DeleteWithResult(ctx, s)
	if err = asked("delete the machine", err); errors.Is(err, ErrNoMachine) {
		return nil
	}
	return err
}

func machineOf(s *hcloud.Server) Machine {
	if s == nil {
		return Machine{}
	}
	m := Machine{ID: strconv.FormatInt(s.ID, 10), Name: s.Name, Key: s.Labels[hetznerLabel], State: string(s.Status), Running: s.Status == hcloud.ServerStatusRunning, MadeAt: s.Created}
	if ip := s.PublicNet.IPv4.IP; ip != nil && !ip.IsUnspecified() {
		m.Address = ip.String()
	} else if ip := s.PublicNet.IPv6.IP; len(ip) == net.IPv6len {
		m.Address = ip.String()
	}
	if s.Location != nil {
		m.Location = s.Location.Name
	}
	if s.ServerType != nil {
		m.Size = s.ServerType.Name
	}
	return m
}
