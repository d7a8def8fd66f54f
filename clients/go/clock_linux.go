package leasehold

import (
	"syscall"
	"time"
	"unsafe"
)

// clockBoottime goes on while the machine sleeps, unlike the clock of package time.
const clockBoottime = 7

func monotonic() int64 {
	var ts syscall.Timespec
	if _, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockBoottime, uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		return time.Since(began).Milliseconds()
	}
	return ts.Nano() / int64(time.Millisecond)
}
