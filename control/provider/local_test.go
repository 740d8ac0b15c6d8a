package provider

import (
	"os"
	"path/filepath"
	"testing"
)

func root(t *testing.T, files map[string]string) string {
	dir := t.TempDir()
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestPlaceComesFromFirstBootRecordThenFirmwareThenNothing(t *testing.T) {
	for _, c := range []struct {
		name               string
		files              map[string]string
		provider, location string
	}{
		{"record", map[string]string{"run/cloud-init/instance-data.json": `{"v1":{"cloud_name":"hetzner","region":"eu-central","availability_zone":"fsn1-dc14"}}`}, "hetzner", "fsn1-dc14"},
		{"region only", map[string]string{"run/cloud-init/instance-data.json": `{"v1":{"cloud_name":"aws","region":"eu-west-1"}}`}, "aws", "eu-west-1"},
		{"damaged record", map[string]string{"run/cloud-init/instance-data.json": `{`, "sys/class/dmi/id/sys_vendor": "Hetzner\n"}, "Hetzner", "local"},
		{"firmware", map[string]string{"sys/class/dmi/id/sys_vendor": "Amazon EC2\n"}, "AWS", "local"},
		{"nothing", nil, "own machine", "local"},
	} {
		f := newLocal(root(t, c.files), Named{}).static
		if f.Provider != c.provider || f.Location != c.location {
			t.Errorf("%s: %q %q, want %q %q", c.name, f.Provider, f.Location, c.provider, c.location)
		}
	}
	f := newLocal(root(t, nil), Named{Name: "h1", Provider: "rack", Location: "cellar"}).static
	if f.Name != "h1" || f.Provider != "rack" || f.Location != "cellar" {
		t.Errorf("given names do not win: %+v", f)
	}
}

func TestThisMachineIsReadable(t *testing.T) {
	f := NewLocal(Named{}).Read()
	if f.Cores < 1 || f.MemoryBytes <= 0 || f.OS == "" || f.Kernel == "" || f.Clock.IsZero() {
		t.Errorf("facts are missing: %+v", f)
	}
	d, err := Disk(filepath.Join(t.TempDir(), "not", "there", "yet"))
	if err != nil || d.TotalBytes <= 0 || d.FreeBytes <= 0 {
		t.Errorf("disk: %+v, %v", d, err)
	}
}
