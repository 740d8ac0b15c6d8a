package house

import (
	"go/parser"
	"go/token"
	"strings"
	"testing"
)

const root = "../.."

func load(t *testing.T) ([]Package, *token.FileSet) {
	t.Helper()
	pkgs, fset, err := Load(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(pkgs) < 3 {
		t.Fatalf("found only %d packages under %s", len(pkgs), root)
	}
	return pkgs, fset
}

func none(t *testing.T, bad []string) {
	t.Helper()
	for _, b := range bad {
		t.Error(b)
	}
}

func TestImportsPointDown(t *testing.T) {
	pkgs, _ := load(t)
	none(t, CheckImports(pkgs, Rules))
}

func TestPurePackagesStayPure(t *testing.T) {
	pkgs, fset := load(t)
	none(t, CheckPure(pkgs, fset, Pure))
}

func TestPackagesSayWhatTheyAre(t *testing.T) {
	pkgs, _ := load(t)
	none(t, CheckDocs(pkgs))
}

func TestExportedNamesHaveComments(t *testing.T) {
	pkgs, fset := load(t)
	none(t, CheckExported(pkgs, fset))
}

func TestFilesStayReadable(t *testing.T) {
	pkgs, _ := load(t)
	none(t, CheckSize(pkgs))
}

func TestPackageNamesSaySomething(t *testing.T) {
	pkgs, _ := load(t)
	none(t, CheckNames(pkgs))
}

// sleepAllowed names the files that may sleep, each with the reason.
var sleepAllowed = map[string]string{}

func TestNobodySleeps(t *testing.T) {
	pkgs, fset := load(t)
	none(t, CheckSleeps(pkgs, fset, sleepAllowed))
}

// fabricate makes one package of one file, so that each check can be shown to find what it looks for.
func fabricate(t *testing.T, path, src string) ([]Package, *token.FileSet) {
	t.Helper()
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, path+"/x.go", src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	file := File{Name: path + "/x.go", AST: f, Lines: strings.Count(src, "\n")}
	for _, im := range f.Imports {
		file.Imports = append(file.Imports, strings.Trim(im.Path.Value, `"`))
	}
	return []Package{{Path: path, Files: []File{file}}}, fset
}

// Goal: no check is blind. Method: one planted offence each.
func TestChecksFindPlantedOffences(t *testing.T) {
	cases := []struct {
		name, path, src, want string
		check                 func([]Package, *token.FileSet) []string
	}{
		{"floor", "eventstore/node", `package node; import _ "baton/control/plan"`, "never imports the first floor",
			func(p []Package, _ *token.FileSet) []string { return CheckImports(p, Rules) }},
		{"control to store", "control/journal", `package journal; import _ "baton/eventstore/node"`, "wired in cmd",
			func(p []Package, _ *token.FileSet) []string { return CheckImports(p, Rules) }},
		{"generated", "eventstore/reader", `package reader; import _ "baton/gen/x"`, "edges",
			func(p []Package, _ *token.FileSet) []string { return CheckImports(p, Rules) }},
		{"client", "cmd/baton", `package main; import _ "github.com/kurrent-io/KurrentDB-Client-Go/kurrentdb"`, "one binary",
			func(p []Package, _ *token.FileSet) []string { return CheckImports(p, Rules) }},
		{"pure import", "eventstore/stream", `package stream; import _ "os"`, "no I/O",
			func(p []Package, f *token.FileSet) []string { return CheckPure(p, f, Pure) }},
		{"pure clock", "control/plan", `package plan; import "time"; func f() { _ = time.Now() }`, "time.Now",
			func(p []Package, f *token.FileSet) []string { return CheckPure(p, f, Pure) }},
		{"pure goroutine", "control/plan", `package plan; func f() { go f() }`, "goroutine",
			func(p []Package, f *token.FileSet) []string { return CheckPure(p, f, Pure) }},
		{"doc", "a", `package a`, "no package comment",
			func(p []Package, _ *token.FileSet) []string { return CheckDocs(p) }},
		{"exported", "a", `package a; func F() {}`, "has no comment", CheckExported},
		{"size", "a", "package a\n" + strings.Repeat("\n", MaxLines+1), "noun",
			func(p []Package, _ *token.FileSet) []string { return CheckSize(p) }},
		{"name", "eventstore/util", `package util`, "says nothing",
			func(p []Package, _ *token.FileSet) []string { return CheckNames(p) }},
		{"sleep", "a", `package a; import "time"; func f() { time.Sleep(1) }`, "time.Sleep",
			func(p []Package, f *token.FileSet) []string { return CheckSleeps(p, f, nil) }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			pkgs, fset := fabricate(t, c.path, c.src)
			got := strings.Join(c.check(pkgs, fset), "\n")
			if !strings.Contains(got, c.want) {
				t.Fatalf("got %q, want something with %q", got, c.want)
			}
		})
	}
}
