package provider

import (
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// Boot is what a new machine does at its first start: fetch this program, join
// and run the agent as a systemd unit.
type Boot struct {
	// Program is the URL of the program, Sum its SHA-256 in hexadecimal: whoever
	// answers there, only that program is run.
	Program, Sum string
	Token        string // one-use join token
	Name         string
}

// maxBootToken bounds a join token in bytes.
const maxBootToken = 4096

var (
	bootSum   = regexp.MustCompile(`^[0-9a-f]{64}$`)
	bootToken = regexp.MustCompile(`^[A-Za-z0-9._~:/+=@,\[\]-]+$`)
)

// bootScript is run once, as root. What it needs is in files beside it.
const bootScript = `#!/bin/sh
set -eu
umask 077
cd /opt/baton
trap 'rm -f /opt/baton/token' EXIT
n=0
until curl -fsSL --retry 3 -o program "$(cat url)" || wget -qO program "$(cat url)"; do
	n=$((n+1)); [ $n -lt 30 ]; sleep 2
done
echo "$(cat sum)  program" | sha256sum -c --status -
chmod 755 program
mv program baton
./baton agent join --data /opt/baton/agent --name "$(cat name)" <token
./baton agent install --data /opt/baton/agent --start
`

// CloudInit is the user data for the first-boot tool cloud-init. Errors: a
// value that is not what it should be.
func CloudInit(b Boot) (string, error) {
	u, err := url.Parse(b.Program)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || strings.ContainsAny(b.Program, "\r\n"):
		return "", fmt.Errorf("%q is not where a program can be fetched", b.Program)
	case !bootSum.MatchString(b.Sum):
		return "", fmt.Errorf("the program's checksum is not SHA-256 in hexadecimal")
	case !bootToken.MatchString(b.Token) || len(b.Token) > maxBootToken:
		return "", fmt.Errorf("the join token holds what a token does not hold")
	case b.Name == "" || !remoteWord.MatchString(b.Name):
		return "", fmt.Errorf("name %q: %w", b.Name, ErrSSHInput)
	}
	type file struct {
		Path        string `json:"path"`
		Permissions string `json:"permissions"`
		Content     string `json:"content"`
	}
	put := func(name, content string) file { return file{"/opt/baton/" + name, "0600", content + "\n"} }
	text, err := json.MarshalIndent(map[string]any{ // JSON is YAML, and quotes everything
		"write_files": []file{put("url", b.Program), put("sum", b.Sum), put("token", b.Token), put("name", b.Name), {"/opt/baton/first-boot", "0700", bootScript}},
		"runcmd":      [][]string{{"/opt/baton/first-boot"}},
	}, "", "  ")
	if err != nil {
		return "", err
	}
	return "#cloud-config\n" + string(text) + "\n", nil
}
