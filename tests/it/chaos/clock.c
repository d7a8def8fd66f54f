/* Moves the wall clock of a process that it is loaded into (LD_PRELOAD): by the milliseconds that stand in the file
 * TEST_CLOCK_FILE names, read at most every 10 ms. The monotonic clock stays right, as on a host whose clock is set.
 * Raw system calls only, because the memory allocator of the process may ask for the time before it is ready. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long long offset_ms(void) {
    static volatile long long known, looked_at;
    struct timespec now;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    long long ms = now.tv_sec * 1000LL + now.tv_nsec / 1000000;
    if (looked_at && ms - looked_at < 10) return known;
    looked_at = ms;
    const char *path = getenv("TEST_CLOCK_FILE");
    if (!path) return known;
    int file = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (file < 0) return known;
    char text[32];
    long length = syscall(SYS_read, file, text, sizeof text - 1);
    syscall(SYS_close, file);
    if (length > 0) {
        text[length] = 0;
        known = atoll(text);
    }
    return known;
}

static int moved(clockid_t clock, struct timespec *at) {
    int failed = (int)syscall(SYS_clock_gettime, clock, at);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        long long ns = at->tv_sec * 1000000000LL + at->tv_nsec + offset_ms() * 1000000LL;
        at->tv_sec = ns / 1000000000LL;
        at->tv_nsec = ns % 1000000000LL;
    }
    return failed;
}

int clock_gettime(clockid_t clock, struct timespec *at) { return moved(clock, at); }

int gettimeofday(struct timeval *at, void *zone) {
    (void)zone;
    struct timespec now;
    if (moved(CLOCK_REALTIME, &now)) return -1;
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    moved(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
