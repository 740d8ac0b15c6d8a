package config

import (
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// loader collects the candidates of one Load call. Sources may be read in any order: a candidate only replaces one of lower or equal rank.
type loader struct {
	table   []Option
	in      Input
	byKey   map[string]int // normal form of a name or alias -> index in table
	alias   map[string]string
	current []Setting
	rank    []int // precedence of current[i]; larger wins
	notices []string
	unknown []unknownOption
}

type unknownOption struct {
	written string // as the operator wrote it
	name    string // without prefix and dashes
	source  string
}

const (
	rankFile        = 2
	rankEnvironment = 10 // plus twice the index of the prefix
	rankCommandLine = 1000
)

// aliased lowers a rank so that an option's own name beats another spelling of it in the same source.
func (l *loader) aliased(rank int, key string) int {
	if _, ok := l.alias[key]; ok {
		return rank - 1
	}
	return rank
}

func newLoader(table []Option, in Input) *loader {
	l := &loader{table: table, in: in, byKey: map[string]int{}, alias: map[string]string{}}
	l.current = make([]Setting, len(table))
	l.rank = make([]int, len(table))
	for i := range table {
		o := &table[i]
		l.current[i] = Setting{Option: o, Text: o.Default, Source: "default"}
		for _, name := range append([]string{o.Name}, o.Aliases...) {
			key := normal(name)
			if _, twice := l.byKey[key]; twice {
				panic("config: option named twice: " + name)
			}
			l.byKey[key] = i
			if name != o.Name {
				l.alias[key] = name
			}
		}
	}
	return l
}

// set offers a value for option i. written is the name as the operator wrote it, for messages.
func (l *loader) set(i, rank int, origin Origin, text, written, source string) error {
	o := &l.table[i]
	text, err := checked(o, text)
	if err != nil {
		return fmt.Errorf("%s (%s): %w", written, source, err)
	}
	if o.EnvOnly && origin != FromEnvironment {
		return fmt.Errorf("%s (%s): set it in the environment as %s, not where others can read it", written, source,
			EnvironmentName(l.lastPrefix(), o.Name))
	}
	if rank < l.rank[i] {
		return nil
	}
	l.rank[i] = rank
	l.current[i] = Setting{Option: o, Text: text, Origin: origin, Source: source}
	return nil
}

func (l *loader) lastPrefix() string {
	if n := len(l.in.Prefixes); n > 0 {
		return l.in.Prefixes[n-1]
	}
	return ""
}

// noteAlias tells the operator once that a name other than the option's own was used.
func (l *loader) noteAlias(key string, i int, written string) {
	if _, ok := l.alias[key]; ok {
		l.notices = append(l.notices, fmt.Sprintf("%s is accepted as another spelling of %s", written, l.table[i].Name))
	}
}

func (l *loader) commandLine(args []string) error {
	for n := 0; n < len(args); n++ {
		arg := args[n]
		if !strings.HasPrefix(arg, "-") || arg == "-" || arg == "--" {
			return fmt.Errorf("unexpected argument %q: options are written --name value or --name=value", arg)
		}
		name, value, hasValue := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		i, ok := l.byKey[normal(name)]
		if !ok {
			l.unknown = append(l.unknown, unknownOption{written: "--" + name, name: name, source: "command line"})
			if !hasValue && n+1 < len(args) && !strings.HasPrefix(args[n+1], "-") {
				n++ // its value
			}
			continue
		}
		written := "--" + name
		l.noteAlias(normal(name), i, written)
		if !hasValue {
			value = "true"
			next := ""
			if n+1 < len(args) {
				next = args[n+1]
			}
			if l.table[i].Kind != Boolean {
				if n+1 >= len(args) {
					return fmt.Errorf("%s needs a value: write %s=VALUE", written, written)
				}
				value = next
				n++
			} else if t := strings.ToLower(next); t == "true" || t == "false" {
				value = next
				n++
			}
		}
		if err := l.set(i, l.aliased(rankCommandLine, normal(name)), FromCommandLine, value, written, "command line"); err != nil {
			return err
		}
	}
	return nil
}

func (l *loader) environment() error {
	for _, pair := range l.in.Environ {
		variable, value, ok := strings.Cut(pair, "=")
		if !ok || l.ignored(variable) {
			continue
		}
		for p, prefix := range l.in.Prefixes {
			name, has := strings.CutPrefix(variable, prefix)
			if !has || name == "" {
				continue
			}
			source := "environment " + variable
			i, known := l.byKey[normal(name)]
			if !known {
				if !isServiceLink(name) {
					l.unknown = append(l.unknown, unknownOption{written: variable, name: strings.ToLower(strings.ReplaceAll(name, "_", "-")), source: "environment"})
				}
				break
			}
			l.noteAlias(normal(name), i, variable)
			if err := l.set(i, l.aliased(rankEnvironment+2*p, normal(name)), FromEnvironment, value, variable, source); err != nil {
				return err
			}
			break
		}
	}
	return nil
}

func (l *loader) ignored(variable string) bool {
	for _, name := range l.in.IgnoredEnv {
		if start, open := strings.CutSuffix(name, "*"); name == variable || open && strings.HasPrefix(variable, start) {
			return true
		}
	}
	return false
}

// isServiceLink recognizes the variables that container platforms set for a service that happens to be named like a prefix, such as
// EVENTSTORE_PORT_2113_TCP_ADDR or EVENTSTORE_SERVICE_HOST.
func isServiceLink(name string) bool {
	return name == "PORT" || strings.HasPrefix(name, "SERVICE_HOST") || strings.HasPrefix(name, "SERVICE_PORT") ||
		(strings.HasPrefix(name, "PORT_") && (strings.Contains(name, "_TCP") || strings.Contains(name, "_UDP")))
}

func (l *loader) file() error {
	if l.in.ConfigName == "" {
		return nil
	}
	path := l.current[l.byKey[normal(l.in.ConfigName)]].Text
	if path == "" {
		return nil
	}
	data, err := l.in.ReadFile(path)
	if err != nil {
		return fmt.Errorf("configuration file %s cannot be read (%w): name a readable YAML file with --%s", path, err, l.in.ConfigName)
	}
	var root yaml.Node
	if err := yaml.Unmarshal(data, &root); err != nil {
		return fmt.Errorf("configuration file %s is not valid YAML: %s", path, oneLine(err))
	}
	if len(root.Content) == 0 {
		return nil // empty file
	}
	return l.yamlSection(path, root.Content[0])
}

func (l *loader) yamlSection(path string, node *yaml.Node) error {
	if node.Kind != yaml.MappingNode {
		return fmt.Errorf("configuration file %s, line %d: expected lines of the form Name: value", path, node.Line)
	}
	for n := 0; n+1 < len(node.Content); n += 2 {
		key, value := node.Content[n], node.Content[n+1]
		source := fmt.Sprintf("file %s", path)
		written := fmt.Sprintf("%s in line %d", key.Value, key.Line)
		i, ok := l.byKey[normal(key.Value)]
		if !ok {
			l.unknown = append(l.unknown, unknownOption{written: written, name: key.Value, source: source})
			continue
		}
		if normal(key.Value) == normal(l.in.ConfigName) {
			return fmt.Errorf("%s (%s): a configuration file cannot name another one", written, source)
		}
		l.noteAlias(normal(key.Value), i, key.Value)
		text := value.Value
		switch value.Kind {
		case yaml.ScalarNode:
			if value.Tag == "!!null" {
				continue
			}
		case yaml.SequenceNode:
			if l.table[i].Kind != List {
				return fmt.Errorf("%s (%s): takes one value, not a list", written, source)
			}
			items := make([]string, 0, len(value.Content))
			for _, item := range value.Content {
				items = append(items, item.Value)
			}
			text = strings.Join(items, ",")
		default:
			return fmt.Errorf("%s (%s): takes a plain value", written, source)
		}
		if err := l.set(i, l.aliased(rankFile, normal(key.Value)), FromFile, text, written, source); err != nil {
			return err
		}
	}
	return nil
}

func (l *loader) finish() (*Settings, error) {
	s := &Settings{list: l.current, byName: map[string]int{}, Notices: l.notices}
	for i := range l.table {
		s.byName[l.table[i].Name] = i
	}
	if len(l.unknown) > 0 {
		allowed := l.in.UnknownName != "" && s.Bool(l.in.UnknownName)
		for _, u := range l.unknown {
			text := fmt.Sprintf("unknown option %s (%s)", u.written, u.source)
			if !allowed {
				if near := l.nearest(u.name); near != "" {
					text += fmt.Sprintf(": did you mean %s?", near)
				} else {
					text += ": see --help for the options"
				}
				if l.in.UnknownName != "" {
					text += " (--" + l.in.UnknownName + " ignores such options)"
				}
				return nil, fmt.Errorf("%s", text)
			}
			s.Notices = append(s.Notices, text+" is ignored")
		}
	}
	for _, v := range s.list {
		if v.Option.NoEffect != "" && v.Origin != FromDefault {
			s.Notices = append(s.Notices, fmt.Sprintf("option %s (%s) has no effect: %s", v.Option.Name, v.Source, v.Option.NoEffect))
		}
	}
	return s, nil
}

// nearest names the known option closest to a misspelt one, or nothing if none is close.
func (l *loader) nearest(name string) string {
	best, bestDistance := "", 4
	for i := range l.table {
		limit := max(1, len(l.table[i].Name)/3)
		if d := distance(normal(name), normal(l.table[i].Name)); d < bestDistance && d <= limit {
			best, bestDistance = l.table[i].Name, d
		}
	}
	return best
}

// distance is the number of single-character edits between two texts.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}

// checked returns the canonical text of a value, or what is wrong with it.
func checked(o *Option, text string) (string, error) {
	text = strings.TrimSpace(text)
	switch o.Kind {
	case Integer:
		v, err := parseInt(text)
		if err != nil {
			return "", fmt.Errorf("%q is not a whole number", text)
		}
		if (o.Min != 0 || o.Max != 0) && (v < o.Min || v > o.Max) {
			return "", fmt.Errorf("%d is out of range: give a number from %d to %d", v, o.Min, o.Max)
		}
		text = strconv.FormatInt(v, 10)
	case Boolean:
		switch strings.ToLower(text) {
		case "true", "1", "yes", "on":
			text = "true"
		case "false", "0", "no", "off":
			text = "false"
		default:
			return "", fmt.Errorf("%q is neither true nor false", text)
		}
	case List:
		text = strings.Join(splitList(text), ",")
	}
	if o.Check != nil && text != "" {
		if err := o.Check(text); err != nil {
			return "", err
		}
	}
	return text, nil
}

func parseInt(text string) (int64, error) { return strconv.ParseInt(text, 10, 64) }

func splitList(text string) []string {
	var items []string
	for _, item := range strings.Split(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
