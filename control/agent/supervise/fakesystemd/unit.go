package fakesystemd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// unit is what the fake takes from a unit's file.
type unit struct {
	pre         [][]string
	start       []string
	dir, output string
}

// taken are the settings that the fake reads over.
var taken = map[string]bool{"Description": true, "StartLimitIntervalSec": true, "TimeoutStopSec": true, "OOMScoreAdjust": true,
	"LimitNOFILE": true, "UMask": true, "NoNewPrivileges": true, "StandardError": true, "StandardInput": true}

// wanted are settings that must have this value.
var wanted = map[string]string{"Type": "exec", "Restart": "no", "KillMode": "control-group"}

// load reads a unit as it was at the last daemon-reload.
func (f *fake) load(name string) (unit, error) {
	var u unit
	b, err := os.ReadFile(filepath.Join(f.dir, "loaded", name))
	if err != nil {
		return u, err
	}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") || strings.HasPrefix(line, "[") {
			continue
		}
		key, value, _ := strings.Cut(line, "=")
		switch {
		case key == "ExecStartPre":
			u.pre = append(u.pre, split(value))
		case key == "ExecStart":
			u.start = split(value)
		case key == "WorkingDirectory":
			u.dir = strings.ReplaceAll(value, "%%", "%")
		case key == "StandardOutput":
			u.output = strings.ReplaceAll(strings.TrimPrefix(value, "append:"), "%%", "%")
		case wanted[key] == value && value != "", taken[key]:
		default:
			return u, fmt.Errorf("this fake does not know the setting %s", line)
		}
	}
	if len(u.start) == 0 || u.output == "" {
		return u, fmt.Errorf("unit %s says not what to start, or where its output goes", name)
	}
	return u, nil
}

// split takes a command line apart as systemd does: double quotes and
// backslashes, and no specifiers or variables but their escapes.
func split(s string) []string {
	var out []string
	var word strings.Builder
	inWord, quoted := false, false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\' && i+1 < len(s):
			i++
			word.WriteByte(s[i])
			inWord = true
		case c == '"':
			quoted, inWord = !quoted, true
		case c == ' ' && !quoted:
			if inWord {
				out = append(out, word.String())
				word.Reset()
			}
			inWord = false
		default:
			if (c == '%' || c == '$') && i+1 < len(s) && s[i+1] == c {
				i++
			}
			word.WriteByte(c)
			inWord = true
		}
	}
	if inWord {
		out = append(out, word.String())
	}
	return out
}
