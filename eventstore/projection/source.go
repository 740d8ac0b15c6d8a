package projection

import (
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"regexp"

	"github.com/dop251/goja"
	"github.com/dop251/goja/ast"
	"github.com/dop251/goja/file"
	"github.com/dop251/goja/parser"
)

const (
	// maxSource is the length of a script in bytes. Parsing recurses; this and maxNesting keep it on the stack.
	maxSource = 256 << 10
	// maxNesting is how many brackets may stand open.
	maxNesting = 500
	// maxParts is how many expressions one template is evaluated with; longer ones are nested, see [sieve.template].
	maxParts = 8
	// mostParts is how many a template may have at all.
	mostParts = 1000
)

// parse compiles a script and refuses what could not be bounded when it runs.
func parse(name, source string) (program *goja.Program, fault *Fault) {
	refuse := func(format string, args ...any) (*goja.Program, *Fault) {
		return nil, &Fault{Projection: name, Kind: Invalid, Reason: cut(fmt.Sprintf(format, args...))}
	}
	defer func() {
		if broken := recover(); broken != nil {
			program, fault = refuse("the script cannot be read: %v", broken)
			fault.Kind = Broken
		}
	}()
	if len(source) > maxSource {
		return refuse("the script has %d bytes; at most %d are allowed", len(source), maxSource)
	}
	if nesting(source) > maxNesting {
		return refuse("more than %d brackets stand open in the script", maxNesting)
	}
	tree, err := parser.ParseFile(nil, name, source, 0, parser.WithDisableSourceMaps)
	if err != nil {
		return nil, syntax(name, err)
	}
	s := sieve{file: tree.File}
	s.walk(reflect.ValueOf(tree.Body))
	if s.reason != "" {
		p := tree.File.Position(s.at)
		return nil, &Fault{Projection: name, Kind: Invalid, Reason: s.reason, Line: p.Line, Column: p.Column,
			Location: fmt.Sprintf("line %d, column %d", p.Line, p.Column)}
	}
	program, err = goja.CompileAST(tree, false)
	if err != nil {
		return nil, syntax(name, err)
	}
	return program, nil
}

func syntax(name string, err error) *Fault {
	f := &Fault{Projection: name, Kind: Invalid, Reason: cut("the script cannot be read: " + err.Error())}
	var (
		list     parser.ErrorList
		compiled *goja.CompilerSyntaxError
		position file.Position
	)
	switch {
	case errors.As(err, &list) && len(list) > 0:
		position = list[0].Position
		f.Reason = cut("the script cannot be read: " + list[0].Message)
	case errors.As(err, &compiled) && compiled.File != nil:
		position = compiled.File.Position(compiled.Offset)
		f.Reason = cut("the script cannot be read: " + compiled.Message)
	}
	if position.Line > 0 {
		f.Line, f.Column = position.Line, position.Column
		f.Location = fmt.Sprintf("line %d, column %d", position.Line, position.Column)
	}
	return f
}

// nesting counts brackets wherever they stand, in texts and comments too: it may only count too many.
func nesting(source string) int {
	deepest, depth := 0, 0
	for i := 0; i < len(source); i++ {
		switch source[i] {
		case '(', '[', '{':
			depth++
			deepest = max(deepest, depth)
		case ')', ']', '}':
			depth = max(depth-1, 0)
		}
	}
	return deepest
}

// sieve goes through a script and notes the first thing that is refused.
type sieve struct {
	file   *file.File
	reason string
	at     int
}

func (s *sieve) refuse(at file.Idx, reason string) {
	if s.reason == "" {
		s.reason, s.at = reason, int(at)-s.file.Base()
	}
}

func (s *sieve) walk(v reflect.Value) {
	switch v.Kind() {
	case reflect.Interface, reflect.Pointer:
		if v.IsNil() {
			return
		}
		if v.Kind() == reflect.Pointer && v.CanInterface() {
			if skip := s.node(v.Interface()); skip {
				return
			}
		}
		s.walk(v.Elem())
	case reflect.Slice:
		for i := range v.Len() {
			s.walk(v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				s.walk(v.Field(i))
			}
		}
	}
}

const (
	noBigInts = "whole numbers of any length (123n) are not for projections: JSON has none, and computing with them cannot be bounded; use numbers or strings"
	noAsync   = "async functions are not for projections: a handler ends before the next event, and nothing would wait for it"
	noWith    = "the statement with is not for projections"
)

func (s *sieve) node(n any) (skip bool) {
	switch n := n.(type) {
	case *file.File, *big.Int:
		return true
	case *ast.NumberLiteral:
		if _, big := n.Value.(*big.Int); big {
			s.refuse(n.Idx, noBigInts)
		}
		return true
	case *ast.FunctionLiteral:
		if n.Async {
			s.refuse(n.Function, noAsync)
		}
	case *ast.ArrowFunctionLiteral:
		if n.Async {
			s.refuse(n.Start, noAsync)
		}
	case *ast.WithStatement:
		s.refuse(n.With, noWith)
	case *ast.TemplateLiteral:
		s.template(n)
	}
	return false
}

// template nests a long template: evaluating one is a single step of the interpreter, which is stopped only between steps, and with thousands of parts a step could
// make a text thousands of times as long as any there was.
func (s *sieve) template(t *ast.TemplateLiteral) {
	if t.Tag != nil {
		return
	}
	if len(t.Expressions) > mostParts {
		s.refuse(t.OpenQuote, fmt.Sprintf("a template has more than %d expressions", mostParts))
		return
	}
	for len(t.Expressions) > maxParts {
		first := &ast.TemplateLiteral{OpenQuote: t.OpenQuote, CloseQuote: t.CloseQuote,
			Elements: t.Elements[: maxParts+1 : maxParts+1], Expressions: t.Expressions[:maxParts:maxParts]}
		nothing := &ast.TemplateElement{Idx: t.Elements[maxParts].Idx, Valid: true}
		t.Elements = append([]*ast.TemplateElement{nothing, nothing}, t.Elements[maxParts+1:]...)
		t.Expressions = append([]ast.Expression{first}, t.Expressions[maxParts:]...)
	}
}

// unkeepable finds scripts that may make objects which JSON cannot tell from others: with accessors, hidden fields, or frozen.
var unkeepable = regexp.MustCompile(`\b(defineProperty|defineProperties|__define[GS]etter__|setPrototypeOf|__proto__|freeze|seal|preventExtensions|[gs]et\s+[\w$\["'])`)
