// Changes a process' time of day by LD_PRELOAD: adds the nanoseconds in the file CLOCK_OFFSET (an int64_t, which may
// change at any time) to the system's time. libfaketime does this too, but it allocates when jemalloc, while it starts,
// asks for the time: the program hangs.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *offset;

__attribute__((constructor)) static void open_offset(void) {
    int file = open(getenv("CLOCK_OFFSET"), O_RDONLY);
    offset = mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
    if (offset == MAP_FAILED) abort();
    close(file);
}

static void add(struct timespec *time, int64_t nanoseconds) {
    int64_t sum = time->tv_sec * 1000000000LL + time->tv_nsec + nanoseconds;
    time->tv_sec = sum / 1000000000LL;
    time->tv_nsec = sum % 1000000000LL;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = syscall(SYS_clock_gettime, clock, time);
    if (result == 0 && offset && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) add(time, *offset);
    return result;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    (void)zone;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    *time = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
    return 0;
}

int timespec_get(struct timespec *time, int base) {
    return clock_gettime(CLOCK_REALTIME, time) == 0 ? base : 0;
}

time_t time(time_t *seconds) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (seconds) *seconds = now.tv_sec;
    return now.tv_sec;
}

// These wait until a time of day, so they need the system's time. glibc's second function does not call its first.
#define WAIT(name, condition_type, mutex_type)                                                             \
    int name(condition_type *restrict condition, mutex_type *restrict mutex, const struct timespec *restrict until) { \
        static int (*wait)(condition_type *, mutex_type *, const struct timespec *);                       \
        if (!wait) wait = dlsym(RTLD_NEXT, #name);                                                         \
        struct timespec real = *until;                                                                     \
        if (offset) add(&real, -*offset);                                                                  \
        return wait(condition, mutex, &real);                                                              \
    }

WAIT(pthread_cond_timedwait, pthread_cond_t, pthread_mutex_t)
WAIT(cnd_timedwait, cnd_t, mtx_t)
