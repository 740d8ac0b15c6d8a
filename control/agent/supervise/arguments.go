package supervise

import (
	"fmt"
	"slices"
)

// SetArguments changes what a process is started with from its next start on;
// a running one keeps its present arguments.
func (s *Supervisor) SetArguments(name string, args []string) error {
	s.mu.Lock()
	p := s.procs[name]
	s.mu.Unlock()
	if p == nil {
		return fmt.Errorf("arguments of %s: %w", name, ErrUnknown)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	rec := p.rec
	rec.Spec.Args = slices.Clone(args)
	if err := rec.Spec.Check(); err != nil {
		return err
	}
	if err := writeJSON(s.path(name+".spec.json"), rec); err != nil {
		return fmt.Errorf("store process %s: %w", name, err)
	}
	p.rec = rec
	return nil
}
