package proxy

import "syscall"

// stopSignal freezes a process.
const stopSignal = syscall.SIGSTOP
