/* Shifts the wall clock of a process: preloaded, it adds the seconds in the file SHIFTED_CLOCK, which may change.

   Shifted are the functions by which C, C++ and Rust ask for the time of day, and deadlines of condition variables
   that are told as such; monotonic clocks are left alone. Waits under way when the shift changes go on as they are. */

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

static const int64_t none;
static volatile const int64_t *shift = &none;

__attribute__((constructor)) static void open_shift(void)
{
    const char *path = getenv("SHIFTED_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0 || (shift = mmap(NULL, sizeof *shift, PROT_READ, MAP_SHARED, file, 0)) == MAP_FAILED)
        abort();
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += *shift;
    return failed;
}

int timespec_get(struct timespec *now, int base)
{
    return base == TIME_UTC && !clock_gettime(CLOCK_REALTIME, now) ? base : 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec fine;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &fine);
    now->tv_sec = fine.tv_sec;
    now->tv_usec = fine.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *to)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (to)
        *to = now.tv_sec;
    return now.tv_sec;
}

static struct timespec real(const struct timespec *until)
{
    struct timespec shifted = *until;
    if (shifted.tv_sec > 1000000000) /* no host has been up for 30 years: this is a time of day, not a monotonic one */
        shifted.tv_sec -= *shift;
    return shifted;
}

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until)
{
    static int (*wait)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    struct timespec deadline = real(until);
    if (!wait && !(wait = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2"))) /* x86: not the oldest */
        wait = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    return wait(condition, mutex, &deadline);
}

int cnd_timedwait(cnd_t *restrict condition, mtx_t *restrict mutex, const struct timespec *restrict until)
{
    static int (*wait)(cnd_t *, mtx_t *, const struct timespec *);
    struct timespec deadline = real(until);
    if (!wait)
        wait = dlsym(RTLD_NEXT, "cnd_timedwait");
    return wait(condition, mutex, &deadline);
}
