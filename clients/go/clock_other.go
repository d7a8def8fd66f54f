//go:build !linux

package leasehold

import "time"

// monotonic stands still while some machines sleep; the wall clock, which does not, counts as well.
func monotonic() int64 { return time.Since(began).Milliseconds() }
