package node

// Leading reports whether this node leads and serves now, and in which term.
func (n *Node) Leading() (term uint64, ok bool) {
	r := n.replica.Load()
	if r == nil {
		return 0, false
	}
	status := r.Status()
	return status.Term, status.IsLeader()
}

// Changed returns a channel that is closed at the next change of leader, term,
// roster or of what another node reports.
func (n *Node) Changed() <-chan struct{} {
	n.changeMu.Lock()
	defer n.changeMu.Unlock()
	return n.changed
}
