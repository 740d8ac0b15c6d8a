package house

import (
	"fmt"
	"go/ast"
	"go/token"
	"strings"
)

// Pure lists the packages that decide: the same input must give the same output on every node and in every replay.
var Pure = []string{
	"eventstore/stream",
	"eventstore/access",
	"eventstore/membership",
	"eventstore/subscription",
	"platform/trace",
	"control/health",
	"control/plan",
	"control/operation",
	"control/lease",
	"control/failover",
	"control/mend",
	"control/engine",
	"control/proxy/resp",
	"control/proxy/session",
	"control/alert",
	"control/terminal/line",
}

// pureImports are the only packages a pure package may import, besides other pure ones: the parts of the standard
// library without I/O, clock, randomness or locks, and leaf libraries that compute.
var pureImports = map[string]bool{
	"bytes": true, "cmp": true, "context": true /* in signatures of interfaces */, "encoding/base64": true, "encoding/binary": true, "encoding/hex": true,
	"encoding/json": true, "errors": true, "fmt": true, "hash": true, "hash/crc32": true, "crypto/sha256": true,
	"iter": true, "maps": true, "math": true, "math/bits": true, "regexp": true, "slices": true, "sort": true,
	"strconv": true, "strings": true, "time": true, "unicode": true, "unicode/utf8": true, "container/heap": true,
	"container/list": true, "net/netip": true, "unsafe": true, "reflect": true, "bufio": true, "io": true,
	"encoding": true, "text/tabwriter": true, "unique": true,
	"hash/maphash":                 true, // its seed places entries in tables; what is decided may not depend on it
	"github.com/cespare/xxhash/v2": true, "google.golang.org/protobuf/encoding/protowire": true,
}

// pureTime are the only names of package time that do not read or wait for the clock.
var clockNames = map[string]bool{
	"Now": true, "Since": true, "Until": true, "Sleep": true, "After": true, "AfterFunc": true, "Tick": true,
	"NewTimer": true, "NewTicker": true,
}

// CheckPure returns one line for each import or call that makes a pure package impure. Tests are free.
func CheckPure(pkgs []Package, fset *token.FileSet, pure []string) []string {
	isPure := map[string]bool{}
	for _, p := range pure {
		isPure[p] = true
	}
	var bad []string
	for _, p := range pkgs {
		if !isPure[p.Path] {
			continue
		}
		for _, f := range p.Files {
			if f.Test {
				continue
			}
			for _, im := range f.Imports {
				if ours, ok := strings.CutPrefix(im, Module+"/"); ok {
					if !isPure[ours] {
						bad = append(bad, fmt.Sprintf("%s imports %s: a pure package imports only pure packages", f.Name, im))
					}
				} else if !pureImports[im] {
					bad = append(bad, fmt.Sprintf("%s imports %s: a pure package has no I/O, network, clock, randomness or locks (if %s has none, add it to pureImports)", f.Name, im, im))
				}
			}
			bad = append(bad, impureNodes(f, fset)...)
		}
	}
	return bad
}

func impureNodes(f File, fset *token.FileSet) []string {
	var bad []string
	say := func(n ast.Node, what string) {
		bad = append(bad, fmt.Sprintf("%s:%d: %s in a pure package: state and input go in, new state and effects come out", f.Name, fset.Position(n.Pos()).Line, what))
	}
	ast.Inspect(f.AST, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			say(n, "goroutine")
		case *ast.SelectStmt:
			say(n, "select")
		case *ast.ChanType:
			say(n, "channel")
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && clockNames[n.Sel.Name] {
				say(n, "time."+n.Sel.Name)
			}
		}
		return true
	})
	return bad
}
