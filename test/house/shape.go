package house

import (
	"fmt"
	"go/ast"
	"go/token"
	"strings"
)

// MaxLines is the longest a source file may be: beyond it another noun is hiding inside.
const MaxLines = 700

// CheckDocs returns one line for each package without a package comment that begins as godoc wants it. Packages
// that hold only tests are free.
func CheckDocs(pkgs []Package) []string {
	var bad []string
	for _, p := range pkgs {
		product, documented := false, false
		for _, f := range p.Files {
			if f.Test {
				continue
			}
			product = true
			if f.AST.Doc == nil {
				continue
			}
			text := f.AST.Doc.Text()
			documented = documented || strings.HasPrefix(text, "Package "+f.AST.Name.Name+" ") ||
				(f.AST.Name.Name == "main" && strings.HasPrefix(text, "Command "))
		}
		if product && !documented {
			bad = append(bad, fmt.Sprintf("%s: no package comment that says what it holds true (\"Package x ...\" or \"Command x ...\")", p.Path))
		}
	}
	return bad
}

// CheckExported returns one line for each exported declaration without a comment.
func CheckExported(pkgs []Package, fset *token.FileSet) []string {
	var bad []string
	say := func(f File, n ast.Node, name string) {
		bad = append(bad, fmt.Sprintf("%s:%d: exported %s has no comment", f.Name, fset.Position(n.Pos()).Line, name))
	}
	for _, p := range pkgs {
		for _, f := range p.Files {
			if f.Test || f.AST.Name.Name == "main" || ast.IsGenerated(f.AST) {
				continue
			}
			for _, d := range f.AST.Decls {
				switch d := d.(type) {
				case *ast.FuncDecl:
					if d.Name.IsExported() && d.Doc == nil && (d.Recv == nil || receiverExported(d.Recv)) && !obviousMethods[d.Name.Name] {
						say(f, d, d.Name.Name)
					}
				case *ast.GenDecl:
					if d.Tok == token.IMPORT {
						continue
					}
					for _, s := range d.Specs {
						switch s := s.(type) {
						case *ast.TypeSpec:
							if s.Name.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
								say(f, s, s.Name.Name)
							}
						case *ast.ValueSpec:
							if d.Doc == nil && s.Doc == nil && s.Comment == nil && s.Names[0].IsExported() {
								say(f, s, s.Names[0].Name)
							}
						}
					}
				}
			}
		}
	}
	return bad
}

// obviousMethods satisfy interfaces of the standard library whose meaning needs no words.
var obviousMethods = map[string]bool{
	"Error": true, "Unwrap": true, "String": true, "Is": true, "As": true, "Len": true, "Less": true, "Swap": true,
	"Close": true, "Read": true, "Write": true, "MarshalJSON": true, "UnmarshalJSON": true, "ServeHTTP": true,
	"MarshalText": true, "UnmarshalText": true,
}

func receiverExported(r *ast.FieldList) bool {
	t := r.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return false
		}
	}
}

// CheckSize returns one line for each file longer than MaxLines.
func CheckSize(pkgs []Package) []string {
	var bad []string
	for _, p := range pkgs {
		for _, f := range p.Files {
			if f.Lines > MaxLines && !ast.IsGenerated(f.AST) {
				bad = append(bad, fmt.Sprintf("%s has %d lines, more than %d: which noun is hiding in it?", f.Name, f.Lines, MaxLines))
			}
		}
	}
	return bad
}

// vagueNames say nothing about what a package holds.
var vagueNames = map[string]bool{"util": true, "utils": true, "common": true, "helpers": true, "types": true, "models": true, "misc": true}

// CheckNames returns one line for each package whose name says nothing.
func CheckNames(pkgs []Package) []string {
	var bad []string
	for _, p := range pkgs {
		name := p.Path[strings.LastIndex(p.Path, "/")+1:]
		if vagueNames[name] {
			bad = append(bad, fmt.Sprintf("%s: the name %q says nothing: put the code where it is used, or name the noun", p.Path, name))
		}
	}
	return bad
}

// CheckSleeps returns one line for each time.Sleep: neither users nor tests wait a fixed time, they wait for a condition.
func CheckSleeps(pkgs []Package, fset *token.FileSet, allowed map[string]string) []string {
	var bad []string
	for _, p := range pkgs {
		for _, f := range p.Files {
			if _, ok := allowed[f.Name]; ok {
				continue
			}
			ast.Inspect(f.AST, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == "Sleep" {
					if x, ok := s.X.(*ast.Ident); ok && x.Name == "time" {
						bad = append(bad, fmt.Sprintf("%s:%d: time.Sleep: wait for the condition with a deadline (a ticker inside a poll is fine)", f.Name, fset.Position(n.Pos()).Line))
					}
				}
				return true
			})
		}
	}
	return bad
}
