package main

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"baton/control/api"
)

// shellWords splits a line as a shell would, as far as the dashboard's quoting goes: single quotes, and \' between them.
func shellWords(line string) (words []string) {
	word, in, quoted := "", false, false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\'':
			quoted, in = !quoted, true
		case c == '\\' && !quoted:
			i++
			word, in = word+line[i:i+1], true
		case c == ' ' && !quoted:
			if in {
				words = append(words, word)
			}
			word, in = "", false
		default:
			word, in = word+string(c), true
		}
	}
	if in {
		words = append(words, word)
	}
	return words
}

// parses tells why a command line would not reach its command.
func parses(line string) error {
	words := shellWords(line)
	root := rootCommand()
	cmd, rest, err := root.Find(words[1:])
	if err != nil {
		return err
	}
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	if cmd.Args == nil {
		return cobra.NoArgs(cmd, cmd.Flags().Args())
	}
	return cmd.ValidateArgs(cmd.Flags().Args())
}

// Goal: what the dashboard offers to copy is understood by this program. Method: its lines stand in a file that its own
// tests keep up to date; each is parsed by the real commands, and none is carried out.
func TestLinesOfTheDashboardAreCommandsWithTheirFlags(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "web", "src", "lib", "cli.lines.txt"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if len(lines) < 20 {
		t.Fatalf("only %d lines", len(lines))
	}
	for _, l := range lines {
		if err := parses(l); err != nil {
			t.Errorf("%s: %v", l, err)
		}
	}
	for _, wrong := range []string{"baton nothing", "baton promote demo", "baton promote demo n --no-such-flag", "baton maintenance c n --for 3m"} {
		if parses(wrong) == nil {
			t.Errorf("%s is taken for a command", wrong)
		}
	}
	if got := shellWords(`baton x 'it'\''s; rm $(y)' ''`); len(got) != 4 || got[2] != "it's; rm $(y)" || got[3] != "" {
		t.Errorf("split into %q", got)
	}
}

// mentioned finds commands in sentences: the word after "baton ", and the next one in case it is a subcommand.
var mentioned = regexp.MustCompile(`\bbaton ([a-z]+(?:-[a-z]+)*)(?: ([a-z]+))?`)

// notCommands are words that follow "baton" in what is no command: "baton grant" names a kind of key.
var notCommands = map[string]bool{"grant": true}

// Goal: a fix that names a command names one that there is. Method: every string in the sources that speak to people.
func TestCommandsNamedInSentencesExist(t *testing.T) {
	root := rootCommand()
	check := func(where, text string) {
		for _, m := range mentioned.FindAllStringSubmatch(text, -1) {
			if notCommands[m[1]] {
				continue
			}
			cmd, _, err := root.Find([]string{m[1]})
			if err != nil || cmd == root {
				t.Errorf("%s names %q, and there is no command %s", where, m[0], m[1])
			} else if !cmd.Runnable() && cmd.HasSubCommands() {
				if sub, _, err := root.Find([]string{m[1], m[2]}); err != nil || sub == cmd {
					t.Errorf("%s names %q, and %s has no command %s", where, m[0], m[1], m[2])
				}
			}
		}
	}
	for _, dir := range []string{"../../control", "."} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() && strings.HasSuffix(path, "test") {
				return fs.SkipDir // suites and fakes speak to nobody
			}
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
					if text, err := strconv.Unquote(l.Value); err == nil {
						check(path, text)
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Goal: the dashboard is built for the API as it is. Method: the document in web/ is the server's, and the types made
// from it are current where the generator is installed.
func TestTheDashboardsDocumentAndTypesAreCurrent(t *testing.T) {
	want, err := api.Document()
	if err != nil {
		t.Fatal(err)
	}
	web := filepath.Join("..", "..", "web")
	have, err := os.ReadFile(filepath.Join(web, "openapi.json"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(bytes.TrimSpace(have), bytes.TrimSpace(want)) {
		t.Fatal("web/openapi.json is not the server's document: go run ./cmd/baton openapi > web/openapi.json && cd web && npm run generate")
	}
	generator := filepath.Join(web, "node_modules", ".bin", "openapi-typescript")
	if _, err := os.Stat(generator); err != nil {
		t.Skip("web/node_modules is missing (make web): whether web/src/api/schema.ts is current was not looked at")
	}
	out := filepath.Join(t.TempDir(), "schema.ts")
	cmd := exec.Command(filepath.Join("node_modules", ".bin", "openapi-typescript"), "openapi.json", "-o", out)
	cmd.Dir = web
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	a, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(web, "src", "api", "schema.ts"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Error("web/src/api/schema.ts is not what openapi.json gives: cd web && npm run generate")
	}
}
