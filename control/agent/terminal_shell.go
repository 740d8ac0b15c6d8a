package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"baton/control/engine"
	"baton/control/terminal/line"
)

const (
	// commandTime bounds one command, in particular those that wait.
	commandTime = time.Minute
	// judgeTime bounds asking the server about a command.
	judgeTime = 10 * time.Second
)

// engineShell runs an engine's commands as they are typed.
func (t *terminal) engineShell(c engine.Consoler, in engine.Instance) (why string) {
	con, err := c.Console(in)
	if err != nil {
		return "the engine's shell could not be opened: " + err.Error()
	}
	defer con.Close()
	s := &shell{t: t, con: con, in: in, ed: line.New(c.Conceal)}
	s.ed.Resize(t.columns)
	s.print(fmt.Sprintf("%s of cluster %s, %s. This terminal is recorded.\n%s", in.Node, in.Cluster, t.now().Role, s.help()))
	for {
		text, key := s.line(s.prompt)
		switch key {
		case line.Enter:
			if s.obey(strings.TrimSpace(text)) {
				return "left"
			}
		case line.End:
			return "left"
		case line.None:
			return t.endWhy()
		}
	}
}

// shell is a terminal on an engine's console.
type shell struct {
	t       *terminal
	con     engine.Console
	in      engine.Instance
	ed      *line.Editor
	pending []byte // typed and not looked at yet
}

func (s *shell) prompt() string {
	m := s.t.now()
	word := map[engine.CommandClass]string{engine.CommandWrite: "WRITE", engine.CommandAdmin: "ADMIN"}[m.Level]
	if word == "" {
		word = "read-only"
	}
	return fmt.Sprintf("%s (%s) %s> ", s.in.Node, m.Role, word)
}

func (s *shell) help() string {
	text := s.con.Help()
	if s.t.req.Kind == TerminalEngine && s.t.now().Level == engine.CommandRead {
		text += "\nThis terminal only reads."
	}
	return text + "\n:help shows this, :write NODE asks for the permission to write, :read-only gives it back, :quit leaves."
}

// print shows lines of its own.
func (s *shell) print(text string) {
	if text == "" {
		return
	}
	_, _ = s.t.Write([]byte(strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\r\n") + "\r\n")) // its end is noticed when reading
}

// line reads one line. Key is line.None when the terminal has ended.
func (s *shell) line(prompt func() string) (string, line.Key) {
	_, _ = s.t.Write(s.ed.Prompt(prompt()))
	for {
		select {
		case <-s.t.ending: // what was typed before is not carried out any more
			return "", line.None
		default:
		}
		if len(s.pending) == 0 {
			s.pending = s.t.take()
		}
		if len(s.pending) > 0 {
			show, key, text, rest := s.ed.Type(s.pending)
			s.pending = rest
			if _, err := s.t.Write(show); err != nil {
				return "", line.None
			}
			if key != line.None {
				return text, key
			}
			continue
		}
		select {
		case <-s.t.typed:
		case <-s.t.changed:
			s.news(prompt)
		case <-s.t.ending:
			return "", line.None
		case <-s.t.ctx.Done():
			return "", line.None
		}
	}
}

// news shows what changed meanwhile: the prompt, lines above it.
func (s *shell) news(prompt func() string) {
	say, columns, _ := s.t.news()
	out := s.ed.Reprompt(prompt())
	for _, text := range say {
		out = append(out, s.ed.Above("* "+strings.ReplaceAll(text, "\n", "\r\n* ")+"\r\n")...)
	}
	s.ed.Resize(columns)
	_, _ = s.t.Write(out)
}

// obey carries a line out; true when it leaves.
func (s *shell) obey(text string) (leave bool) {
	word, rest, _ := strings.Cut(text, " ")
	switch strings.ToLower(word) {
	case "":
	case ":quit", ":q", "exit", "quit":
		return true
	case ":help", "help", "?":
		s.print(s.help())
	case ":write":
		s.t.wish(strings.TrimSpace(rest), false)
		s.answered()
	case ":read-only":
		s.t.wish("", true)
		s.answered()
	default:
		if strings.HasPrefix(word, ":") {
			s.print("There is no " + word + ". " + s.help())
			break
		}
		s.command(text)
	}
	return false
}

// answered waits for what the control plane says to a wish, and shows it.
func (s *shell) answered() {
	timer := time.NewTimer(judgeTime)
	defer timer.Stop()
	for {
		select {
		case <-s.t.changed:
			say, columns, _ := s.t.news()
			s.ed.Resize(columns)
			for _, text := range say {
				s.print("* " + text)
			}
			if len(say) > 0 {
				return
			}
		case <-timer.C:
			s.print("The control plane did not answer.")
			return
		case <-s.t.ending:
			return
		}
	}
}

var ranks = map[engine.CommandClass]int{engine.CommandRead: 1, engine.CommandWrite: 2, engine.CommandAdmin: 3}

// command judges one command, has it confirmed and permitted where it needs
// that, and carries it out.
func (s *shell) command(text string) {
	words, err := s.con.Words(text)
	if err != nil {
		s.print("Not carried out: " + err.Error() + ".")
		return
	}
	if len(words) == 0 {
		return
	}
	var j engine.Judgement
	if !s.wait(judgeTime, func(ctx context.Context) (err error) { j, err = s.con.Judge(ctx, words); return err }) {
		return
	}
	mode := s.t.now()
	switch {
	case j.Class == engine.CommandRefused:
		s.t.tell(&j, true)
		s.print(fmt.Sprintf("Refused: %s.\nInstead, %s.", j.Why, j.Instead))
		return
	case ranks[j.Class] == 0 || ranks[j.Class] > ranks[mode.Level]:
		s.t.tell(&j, true)
		s.print("Not carried out: " + s.lacking(&j))
		return
	}
	if j.Danger != "" && !s.confirmed(&j) {
		return
	}
	if j.Class == engine.CommandRead {
		s.t.tell(&j, false)
	} else if !s.permitted(&j) {
		return
	}
	var answer string
	if s.wait(commandTime, func(ctx context.Context) (err error) { answer, err = s.con.Run(ctx, words); return err }) {
		s.print(answer)
	}
}

// lacking says what a command would need.
func (s *shell) lacking(j *engine.Judgement) string {
	if j.Class == engine.CommandAdmin {
		return fmt.Sprintf("it changes the server or all data at once, which needs an admin's terminal (baton terminal %s %s --admin).", s.in.Cluster, s.in.Node)
	}
	return fmt.Sprintf("it may change data and this terminal reads only. To be allowed to write, type :write %s.", s.in.Node)
}

// confirmed has the node's name typed.
func (s *shell) confirmed(j *engine.Judgement) bool {
	m := s.t.now()
	s.print(fmt.Sprintf("%s\n%s is a %s of %s.", j.Danger, s.in.Node, m.Role, s.in.Cluster))
	text, key := s.line(func() string { return "Type " + s.in.Node + " to go on: " })
	if key == line.Enter && strings.TrimSpace(text) == s.in.Node {
		return true
	}
	if key != line.None {
		s.print("Not carried out.")
		s.t.tell(&engine.Judgement{Class: j.Class, Summary: j.Summary}, true)
	}
	return false
}

// permitted asks the node whether it still is what the permission was given
// for, then the control plane, which puts it into the audit.
func (s *shell) permitted(j *engine.Judgement) bool {
	var role engine.Role
	if !s.wait(judgeTime, func(ctx context.Context) (err error) { role, err = s.con.Role(ctx); return err }) {
		return false
	}
	if m := s.t.now(); m.RoleFor != "" && role != m.RoleFor {
		s.t.tell(j, true)
		s.print(fmt.Sprintf("Not carried out: %s is %s at this moment; the permission to write was for a %s. Type :write %s to be given it anew.", s.in.Node, role, m.RoleFor, s.in.Node))
		return false
	}
	why, ok := s.t.ask(j)
	if !ok {
		s.print("Not carried out: " + why + ".")
	}
	return ok
}

// wait runs f. Ctrl-C ends its context, and so does the terminal's end. It is
// false when f failed, which has then been said.
func (s *shell) wait(limit time.Duration, f func(context.Context) error) bool {
	ctx, cancel := context.WithTimeout(s.t.ctx, limit)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	interrupted := false
	for {
		select {
		case err := <-done:
			switch {
			case err == nil:
				return true
			case interrupted:
				s.print("^C. The connection to the server was closed; what it had begun may still be carried out.")
			case errors.Is(err, context.DeadlineExceeded):
				s.print(fmt.Sprintf("No answer within %.0f s. The connection to the server was closed; what it had begun may still be carried out.", limit.Seconds()))
			default:
				s.print("Not done: " + inOneLine(err) + ".")
			}
			return false
		case <-s.t.typed:
			s.pending = append(s.pending, s.t.take()...)
			if i := bytes.LastIndexByte(s.pending, 3); i >= 0 {
				s.pending = append([]byte(nil), s.pending[i+1:]...)
				interrupted = true
				cancel()
			}
		case <-s.t.ending:
			cancel()
			<-done
			return false
		}
	}
}

func inOneLine(err error) string {
	var ae *engine.ActionError
	if !errors.As(err, &ae) {
		return strings.Join(strings.Fields(err.Error()), " ")
	}
	text := strings.TrimSuffix(ae.Detail, ".")
	if ae.Fix != "" {
		text += "; " + strings.TrimSuffix(ae.Fix, ".")
	}
	return text
}
