/* Loaded into the program with LD_PRELOAD: every call that changes a file below FAULT_ROOT is counted, and the one with the number
 * FAULT_AT fails once as FAULT_KIND says. FAULT_LOG receives a line for each counted call. What is not below FAULT_ROOT (the terminal,
 * libraries) is left alone. With FAULT_CALLS=read it is calls that read which are counted, and the file may vanish, shrink or change under
 * the reader. FAULT_CLOCK lets the wall clock jump by years, to before 1970 too. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static long calls, ticks;

static int of_reads(void) {
    const char *which = getenv("FAULT_CALLS");
    return which && !strcmp(which, "read");
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int below(const char *path) {
    const char *root = getenv("FAULT_ROOT");
    if (!root || !path) return 0;
    char whole[PATH_MAX * 2];
    if (path[0] != '/') {
        char here[PATH_MAX];
        if (!getcwd(here, sizeof here)) return 0;
        snprintf(whole, sizeof whole, "%s/%s", here, path);
        path = whole;
    }
    return strncmp(path, root, strlen(root)) == 0;
}

static int of_fd(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    if (n <= 0) return 0;
    path[n] = 0;
    return below(path);
}

/* The error that this call is to fail with; 0 to let it pass, -1 for half of a write. */
static int fails(const char *call, const char *path) {
    long at = __sync_add_and_fetch(&calls, 1);
    const char *log = getenv("FAULT_LOG");
    if (log) {
        int fd = REAL(open)(log, O_WRONLY | O_CREAT | O_APPEND, 0644);
        if (fd >= 0) {
            dprintf(fd, "%s\t%s\n", call, path);
            close(fd);
        }
    }
    const char *wanted = getenv("FAULT_AT"), *kind = getenv("FAULT_KIND");
    if (!wanted || !kind || atol(wanted) != at) return 0;
    if (!strcmp(kind, "ENOSPC")) return ENOSPC;
    if (!strcmp(kind, "EIO")) return EIO;
    if (!strcmp(kind, "EROFS")) return EROFS;
    if (!strcmp(kind, "EDQUOT")) return EDQUOT;
    if (!strcmp(kind, "EINTR")) return EINTR;
    if (!strcmp(kind, "SHORT")) return -1;
    struct stat is;
    if (!strcmp(kind, "VANISH")) unlink(path);
    if (!strcmp(kind, "SHRINK") && stat(path, &is) == 0 && truncate(path, is.st_size / 2)) return EIO;
    if (!strcmp(kind, "CHANGE") && stat(path, &is) == 0) {
        int fd = REAL(open)(path, O_WRONLY);
        unsigned char noise[16] = {0xa5, 0, 0xff, 7, 0x80, 3, 0x7f, 1, 0xa5, 0, 0xff, 7, 0x80, 3, 0x7f, 1};
        for (int i = 1; i < 8; i++)
            if (REAL(pwrite64)(fd, noise, sizeof noise, is.st_size * i / 8) < 0) break;
        close(fd);
    }
    return 0;
}

#define FAIL_PATH(call, path)                              \
    if (!of_reads() && below(path)) {                                     \
        int error = fails(call, path);                     \
        if (error > 0) { errno = error; return -1; }       \
    }
#define FAIL_FD(call, fd)                                  \
    char path[PATH_MAX];                                   \
    if (!of_reads() && of_fd(fd, path)) {                  \
        int error = fails(call, path);                     \
        if (error > 0) { errno = error; return -1; }       \
    }

#define OPEN(name)                                                                   \
    int name(const char *path, int flags, ...) {                                     \
        va_list list;                                                                \
        va_start(list, flags);                                                       \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0;      \
        va_end(list);                                                                \
        if (flags & (O_CREAT | O_WRONLY | O_RDWR)) FAIL_PATH("open", path)           \
        return REAL(name)(path, flags, mode);                                        \
    }
OPEN(open)
OPEN(open64)

#define WRITE(name)                                                                  \
    ssize_t name(int fd, const void *bytes, size_t size) {                           \
        char path[PATH_MAX];                                                         \
        if (!of_reads() && of_fd(fd, path)) {                                        \
            int error = fails("write", path);                                        \
            if (error > 0) { errno = error; return -1; }                             \
            if (error < 0 && size > 1) size /= 2;                                    \
        }                                                                            \
        return REAL(name)(fd, bytes, size);                                          \
    }
WRITE(write)

ssize_t writev(int fd, const struct iovec *parts, int n) {
    FAIL_FD("write", fd)
    return REAL(writev)(fd, parts, n);
}
ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t at) {
    FAIL_FD("write", fd)
    return REAL(pwrite64)(fd, bytes, size, at);
}
ssize_t copy_file_range(int in, off64_t *a, int fd, off64_t *b, size_t size, unsigned flags) {
    FAIL_FD("write", fd)
    return REAL(copy_file_range)(in, a, fd, b, size, flags);
}
int fsync(int fd) {
    FAIL_FD("fsync", fd)
    return REAL(fsync)(fd);
}
int fdatasync(int fd) {
    FAIL_FD("fsync", fd)
    return REAL(fdatasync)(fd);
}
int ftruncate64(int fd, off64_t size) {
    FAIL_FD("truncate", fd)
    return REAL(ftruncate64)(fd, size);
}
int rename(const char *from, const char *to) {
    FAIL_PATH("rename", to)
    return REAL(rename)(from, to);
}
int mkdir(const char *at, mode_t mode) {
    FAIL_PATH("mkdir", at)
    return REAL(mkdir)(at, mode);
}
int unlink(const char *at) {
    FAIL_PATH("remove", at)
    return REAL(unlink)(at);
}
int rmdir(const char *at) {
    FAIL_PATH("remove", at)
    return REAL(rmdir)(at);
}
int unlinkat(int folder, const char *name, int flags) {
    FAIL_FD("remove", folder)
    return REAL(unlinkat)(folder, name, flags);
}
int linkat(int a, const char *from, int b, const char *to, int flags) {
    FAIL_PATH("link", to)
    return REAL(linkat)(a, from, b, to, flags);
}

#define READ(name, more, ...)                                                        \
    ssize_t name(int fd, void *bytes, size_t size more) {                            \
        char path[PATH_MAX];                                                         \
        if (of_reads() && of_fd(fd, path)) {                                         \
            int error = fails("read", path);                                         \
            if (error > 0) { errno = error; return -1; }                             \
            if (error < 0 && size > 1) size /= 2;                                    \
        }                                                                            \
        return REAL(name)(fd, bytes, size __VA_ARGS__);                              \
    }
#define AT , off64_t at
READ(read, )
READ(pread64, AT, , at)

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = REAL(clock_gettime)(clock, time);
    if (clock == CLOCK_REALTIME && getenv("FAULT_CLOCK")) {
        static const long years[] = {0, 30, -90, 3, -3, 0, -50};
        time->tv_sec += 31557600L * years[__sync_fetch_and_add(&ticks, 1) % 7];
    }
    return result;
}
