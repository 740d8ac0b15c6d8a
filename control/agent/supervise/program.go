package supervise

// Program is the path of a process's program; ok is false for a process that
// is not known.
func (s *Supervisor) Program(name string) (path string, ok bool) {
	s.mu.Lock()
	p := s.procs[name]
	s.mu.Unlock()
	if p == nil {
		return "", false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rec.Spec.Path, true
}
