// Package house reads the project's own sources and checks the house rules that a compiler does
// not: which package may import which (with the reason), what pure packages may not call, that
// every package says what it is, and that files stay small enough to read.
package house

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// Package is one folder of the main module that holds Go files.
type Package struct {
	Path  string // import path without the module's name: "eventstore/log"
	Files []File // sorted by name; generated and test files included
}

// File is one parsed source file.
type File struct {
	Name    string // path from the project's root
	Test    bool   // ends in _test.go
	Lines   int
	AST     *ast.File
	Imports []string // import paths as written
}

// Load parses every package of the module rooted at root, skipping nested modules, generated code under gen/,
// node_modules and hidden folders.
func Load(root string) ([]Package, *token.FileSet, error) {
	fset := token.NewFileSet()
	byDir := map[string]*Package{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if os.IsNotExist(err) {
				return nil // something was moved while we walked
			}
			return err
		}
		rel, _ := filepath.Rel(root, path)
		if d.IsDir() {
			name := d.Name()
			if rel != "." && (strings.HasPrefix(name, ".") || name == "node_modules" || name == "testdata" || rel == "gen" || rel == "tmpdeps" || rel == "bin" || rel == "artifacts") {
				return filepath.SkipDir
			}
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil && rel != "." {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") {
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(fset, path, src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir := filepath.ToSlash(filepath.Dir(rel))
		p := byDir[dir]
		if p == nil {
			p = &Package{Path: dir}
			byDir[dir] = p
		}
		file := File{Name: filepath.ToSlash(rel), Test: strings.HasSuffix(rel, "_test.go"), Lines: strings.Count(string(src), "\n"), AST: f}
		for _, im := range f.Imports {
			file.Imports = append(file.Imports, strings.Trim(im.Path.Value, `"`))
		}
		p.Files = append(p.Files, file)
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read sources: %w", err)
	}
	var all []Package
	for _, p := range byDir {
		all = append(all, *p)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Path < all[j].Path })
	return all, fset, nil
}

// under reports whether path is prefix or lies below it.
func under(path, prefix string) bool {
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}
