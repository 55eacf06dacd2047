/* Counts a process's steps in one folder of the file system: makes it die before the n-th, or writes
 * down which they were. Puts its clock on, too. Preloaded by world.rs. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static atomic_long steps;

static int ours(const char *path) {
    const char *root = getenv("HIKAE_TEST_ROOT");
    return root && path && strncmp(path, root, strlen(root)) == 0;
}

static void step(const char *what, const char *path, const char *to) {
    if (!ours(path)) return;
    const char *die_at = getenv("HIKAE_TEST_DIE_AT"), *log = getenv("HIKAE_TEST_STEPS");
    long nth = atomic_fetch_add(&steps, 1) + 1;
    if (die_at && nth >= atol(die_at)) {
        syscall(SYS_kill, getpid(), SIGKILL);
        for (;;) pause();
    }
    if (log) {
        char line[3 * PATH_MAX];
        int len = snprintf(line, sizeof line, "%s\t%s\t%s\n", what, path, to ? to : "");
        int fd = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT, 0600);
        if (fd >= 0 && len > 0) syscall(SYS_write, fd, line, (size_t)len);
        if (fd >= 0) syscall(SYS_close, fd);
    }
}

static const char *path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    path[len > 0 ? len : 0] = 0;
    return path;
}

#define REAL(name) __typeof__(name) *real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

int open64(const char *path, int flags, ...) {
    REAL(open64);
    mode_t mode = 0;
    if (flags & O_CREAT) {
        va_list more;
        va_start(more, flags);
        mode = va_arg(more, mode_t);
        va_end(more);
        step("create", path, NULL);
    }
    return real(path, flags, mode);
}

ssize_t write(int fd, const void *bytes, size_t len) {
    char path[PATH_MAX];
    REAL(write);
    step("write", path_of(fd, path), NULL);
    return real(fd, bytes, len);
}

int fsync(int fd) {
    char path[PATH_MAX];
    REAL(fsync);
    step("sync", path_of(fd, path), NULL);
    return real(fd);
}

int linkat(int from, const char *path, int to, const char *as, int flags) {
    REAL(linkat);
    step("link", path, as);
    return real(from, path, to, as, flags);
}

int link(const char *path, const char *as) {
    REAL(link);
    step("link", path, as);
    return real(path, as);
}

int rename(const char *path, const char *as) {
    REAL(rename);
    step("rename", path, as);
    return real(path, as);
}

int unlink(const char *path) {
    REAL(unlink);
    step("unlink", path, NULL);
    return real(path);
}

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    step("mkdir", path, NULL);
    return real(path, mode);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = (int)syscall(SYS_clock_gettime, clock, now);
    const char *ahead = getenv("HIKAE_TEST_AHEAD_S");
    if (!failed && ahead && clock == CLOCK_REALTIME) now->tv_sec += atol(ahead);
    return failed;
}
