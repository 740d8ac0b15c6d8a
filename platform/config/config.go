// Package config reads options in their three forms and keeps, for each, the effective value and where it came from.
//
// One option has one name, written --node-priority on the command line, NodePriority in a YAML file and PREFIX_NODE_PRIORITY in the environment.
// Precedence, low to high: built-in default, YAML file, environment prefixes in the order given, command line. Loading reads nothing but its Input
// and writes nothing.
package config

import (
	"fmt"
	"slices"
	"strings"
)

// Kind says how the text of an option is checked.
type Kind int

const (
	// Text is any text.
	Text Kind = iota
	// Integer is a decimal number within [Option.Min, Option.Max].
	Integer
	// Boolean is true or false; alone on the command line it means true.
	Boolean
	// List is a comma separated list; in YAML it may be a sequence.
	List
)

// Option describes one option.
type Option struct {
	Name    string // kebab case, for example "node-priority"
	Kind    Kind
	Default string
	Help    string // one line for --help

	Min, Max int64 // Integer only; both 0 means unbounded

	// Aliases are further kebab-case names in all forms, read with a notice: old spellings and published misspellings.
	Aliases []string

	// NoEffect, when not empty, says why the option changes nothing here. Setting it is accepted with a notice.
	NoEffect string

	// Secret values are never printed. EnvOnly values are refused in files and on the command line.
	Secret, EnvOnly bool

	// Check refuses a value that has the right kind but no meaning. It may be nil. Its error says what is wrong and how to mend it.
	Check func(text string) error
}

// Origin is the class of source a value came from, in order of precedence.
type Origin int

const (
	FromDefault     Origin = iota // nothing else named the option
	FromFile                      // the YAML file
	FromEnvironment               // a variable
	FromCommandLine               // an argument
)

// Setting is one option with its effective value.
type Setting struct {
	Option *Option
	Text   string
	Origin Origin
	Source string // for people: "default", "file /etc/x.yaml", "environment BATON_DB", "command line"
}

// Shown is the value for people: secrets are masked.
func (s Setting) Shown() string {
	if s.Option.Secret && s.Text != "" {
		return "********"
	}
	return s.Text
}

// Input is everything Load reads.
type Input struct {
	Args        []string                     // command line after the command's name
	Environ     []string                     // NAME=value pairs
	Prefixes    []string                     // environment prefixes, lowest precedence first, for example "EVENTSTORE_"
	IgnoredEnv  []string                     // variables that bear a prefix but belong to something else; a trailing * stands for any rest
	ReadFile    func(string) ([]byte, error) // reads the YAML file named by option "config"
	ConfigName  string                       // name of the option that names the YAML file; empty: no file
	UnknownName string                       // name of the Boolean option that allows unknown options
}

// Settings holds every option of a table, in the table's order.
type Settings struct {
	list    []Setting
	byName  map[string]int
	Notices []string // one line each, to be shown to the operator at start
}

// All returns the settings in table order.
func (s *Settings) All() []Setting { return s.list }

// Get returns one setting. Asking for an option that is not in the table is a programming error and panics.
func (s *Settings) Get(name string) Setting {
	i, ok := s.byName[name]
	if !ok {
		panic("config: no option " + name)
	}
	return s.list[i]
}

// String returns the text of an option.
func (s *Settings) String(name string) string { return s.Get(name).Text }

// Bool returns a Boolean option.
func (s *Settings) Bool(name string) bool { return s.Get(name).Text == "true" }

// Int returns an Integer option.
func (s *Settings) Int(name string) int64 {
	v, _ := parseInt(s.Get(name).Text)
	return v
}

// List returns the items of a List option, trimmed, without empty ones.
func (s *Settings) List(name string) []string { return splitList(s.Get(name).Text) }

// IsSet says whether an option came from anywhere but its default.
func (s *Settings) IsSet(name string) bool { return s.Get(name).Origin != FromDefault }

// WhatIf prints every option with its value and source, one a line, aligned.
func (s *Settings) WhatIf() string {
	width, valueWidth := 0, 0
	for _, v := range s.list {
		width = max(width, len(v.Option.Name))
		if n := len(v.Shown()); n <= 40 {
			valueWidth = max(valueWidth, n)
		}
	}
	var b strings.Builder
	for _, v := range s.list {
		shown := v.Shown()
		if shown == "" {
			shown = "-"
		}
		fmt.Fprintf(&b, "%-*s  %-*s  (%s)\n", width, v.Option.Name, valueWidth, shown, v.Source)
	}
	return b.String()
}

// Load merges the sources. Errors are one line that says what is wrong and how to mend it; the first one found is returned.
func Load(table []Option, in Input) (*Settings, error) {
	l := newLoader(table, in)
	if err := l.commandLine(in.Args); err != nil {
		return nil, err
	}
	if err := l.environment(); err != nil {
		return nil, err
	}
	if err := l.file(); err != nil {
		return nil, err
	}
	return l.finish()
}

// normal is the form in which names are compared: lower case, without dashes and underscores.
func normal(name string) string {
	return strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(name))
}

// EnvironmentName is the variable of an option under a prefix.
func EnvironmentName(prefix, option string) string {
	return prefix + strings.ToUpper(strings.ReplaceAll(option, "-", "_"))
}

// YAMLName is the option's key in a YAML file.
func YAMLName(option string) string {
	var b strings.Builder
	for _, part := range strings.Split(option, "-") {
		if part != "" {
			b.WriteString(strings.ToUpper(part[:1]) + part[1:])
		}
	}
	return b.String()
}

// Usage lists the options of a table for --help: those with effect first, then the accepted ones without.
func Usage(table []Option) string {
	width := 0
	for _, o := range table {
		width = max(width, len(o.Name))
	}
	var b strings.Builder
	var without []string
	for _, o := range table {
		switch {
		case o.NoEffect != "":
			without = append(without, "--"+o.Name)
			continue
		case o.EnvOnly:
			fmt.Fprintf(&b, "  %-*s  %s (environment only)\n", width+2, o.Name, o.Help)
			continue
		}
		text := o.Help
		if o.Default != "" && o.Default != "false" {
			text += " (default " + o.Default + ")"
		}
		fmt.Fprintf(&b, "  --%-*s  %s\n", width, o.Name, text)
	}
	if len(without) > 0 {
		slices.Sort(without)
		b.WriteString("\nAccepted for compatibility, without effect:\n")
		for len(without) > 0 {
			n := min(4, len(without))
			b.WriteString("  " + strings.Join(without[:n], " ") + "\n")
			without = without[n:]
		}
	}
	return b.String()
}
