package fleet

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
)

// Ports are picked below the range from which the kernel picks ports for outgoing connections, so that none of those
// takes a port between its choice and a node's start, or while a node is down.
const (
	firstPort = 15_000
	lastPort  = 31_999
	portTries = 2_000
)

// reserved are the lock files of the ports this process chose, open until it ends: another test process takes none of
// them.
var reserved struct {
	sync.Mutex
	files []*os.File
}

// FreePorts returns n distinct loopback ports. Nothing listens on them, and no other process that asks here gets them
// while this one lives.
func FreePorts(n int) ([]int, error) {
	dir := filepath.Join(os.TempDir(), "baton-test-ports")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	reserved.Lock()
	defer reserved.Unlock()
	var ports []int
	for range portTries {
		if len(ports) == n {
			return ports, nil
		}
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		f, err := os.OpenFile(filepath.Join(dir, strconv.Itoa(port)), os.O_CREATE|os.O_RDWR, 0o666)
		if err != nil {
			continue
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil || !free(port) {
			f.Close()
			continue
		}
		reserved.files = append(reserved.files, f)
		ports = append(ports, port)
	}
	return nil, fmt.Errorf("no %d free ports from %d to %d on %s", n, firstPort, lastPort, Host)
}

func free(port int) bool {
	l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", Host, port))
	if err != nil {
		return false
	}
	l.Close()
	return true
}
