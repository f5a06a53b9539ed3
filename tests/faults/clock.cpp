// A clock that jumps with every reading: for programs that are started with this library before
// their own. What counts up evenly (CLOCK_MONOTONIC) is left as it is.

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

extern "C" int clock_gettime(clockid_t clock, timespec *at) noexcept {
    // A day ahead and back, before 1970, the year 2200; then the truth.
    static const long jumps[] = {86400, -86400, -3000000000, 5500000000, 0};
    static unsigned readings;
    long found = syscall(SYS_clock_gettime, clock, at);
    if (found == 0 && clock == CLOCK_REALTIME)
        at->tv_sec += jumps[__atomic_fetch_add(&readings, 1, __ATOMIC_RELAXED) % 5];
    return static_cast<int>(found);
}
