// Records what a process changes in the files below a directory, in order, and what it fsyncs: a test then knows
// what a power cut at any moment would leave. Preloaded into the bridge by the tests.
//
// Each change and its record are made under one lock, which the test takes to kill the process: no change lacks its
// record. The system is called directly, since dlsym allocates, and an allocator that starts calls this library.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

// As in recording.rs.
enum kind { CREATE = 1, WRITE, RESIZE, RENAME, UNLINK, MAKE_DIRECTORY, SYNC };

struct head {
    uint64_t kind, inode, at, length;
};

static const char *directory;
static int records = -1;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void begin(void) {
    directory = getenv("POWER_DIRECTORY");
    records = syscall(SYS_openat, AT_FDCWD, getenv("POWER_RECORDS"), O_WRONLY | O_APPEND | O_CLOEXEC);
    if (!directory || records < 0) abort();
}

static void lock(void) {
    pthread_mutex_lock(&turn);
    while (syscall(SYS_flock, records, LOCK_EX) != 0)
        if (errno != EINTR) abort();
}

// Keeps errno.
static void unlock(void) {
    int error = errno;
    syscall(SYS_flock, records, LOCK_UN);
    pthread_mutex_unlock(&turn);
    errno = error;
}

static void record(enum kind kind, uint64_t inode, uint64_t at, const void *data, size_t length) {
    struct head head = {kind, inode, at, length};
    struct iovec parts[] = {{&head, sizeof head}, {(void *)data, length}};
    if (syscall(SYS_writev, records, parts, 2) != (long)(sizeof head + length)) abort();
}

// The path below the directory, "" for the directory itself, or NULL.
static const char *below(const char *path) {
    size_t length = directory ? strlen(directory) : 0;
    if (records < 0 || strncmp(path, directory, length) != 0) return NULL;
    return path[length] == '/' ? path + length + 1 : path[length] == 0 ? path + length : NULL;
}

// The same of an open file.
static const char *path_of(int file, char path[PATH_MAX]) {
    if (records < 0) return NULL;
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    long length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
    return below(path);
}

static int is_recorded(int file) {
    char path[PATH_MAX];
    int error = errno, is_below = path_of(file, path) != NULL;
    errno = error;
    return is_below;
}

static struct stat look_at(int file) {
    struct stat seen;
    if (fstat(file, &seen) != 0) abort();
    return seen;
}

static int open_at(int at, const char *path, int flags, mode_t mode) {
    if (records < 0 || !(flags & (O_CREAT | O_TRUNC))) return syscall(SYS_openat, at, path, flags, mode);
    lock();
    int is_new = syscall(SYS_faccessat, at, path, F_OK) != 0;
    int file = syscall(SYS_openat, at, path, flags, mode), error = errno;
    char whole[PATH_MAX];
    const char *name = file < 0 ? NULL : path_of(file, whole);
    if (name && is_new) record(CREATE, look_at(file).st_ino, 0, name, strlen(name));
    if (name && flags & O_TRUNC) record(RESIZE, look_at(file).st_ino, 0, NULL, 0);
    errno = error;
    unlock();
    return file;
}

#define MODE(flags)                                     \
    mode_t mode = 0;                                    \
    if ((flags) & (O_CREAT | __O_TMPFILE)) {            \
        va_list more;                                   \
        va_start(more, flags);                          \
        mode = va_arg(more, mode_t);                    \
        va_end(more);                                   \
    }

int open(const char *path, int flags, ...) {
    MODE(flags);
    return open_at(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    MODE(flags);
    return open_at(AT_FDCWD, path, flags | O_LARGEFILE, mode);
}

int openat(int at, const char *path, int flags, ...) {
    MODE(flags);
    return open_at(at, path, flags, mode);
}

int openat64(int at, const char *path, int flags, ...) {
    MODE(flags);
    return open_at(at, path, flags | O_LARGEFILE, mode);
}

static ssize_t write_at(int file, const void *data, size_t length, off_t at) {
    lock();
    ssize_t written = syscall(SYS_pwrite64, file, data, length, at);
    if (written > 0) record(WRITE, look_at(file).st_ino, at, data, written);
    unlock();
    return written;
}

ssize_t pwrite(int file, const void *data, size_t length, off_t at) {
    if (!is_recorded(file)) return syscall(SYS_pwrite64, file, data, length, at);
    return write_at(file, data, length, at);
}

ssize_t pwrite64(int file, const void *data, size_t length, off_t at) { return pwrite(file, data, length, at); }

ssize_t write(int file, const void *data, size_t length) {
    if (!is_recorded(file)) return syscall(SYS_write, file, data, length);
    lock();
    ssize_t written = syscall(SYS_write, file, data, length);
    if (written > 0) record(WRITE, look_at(file).st_ino, lseek(file, 0, SEEK_CUR) - written, data, written);
    unlock();
    return written;
}

ssize_t writev(int file, const struct iovec *parts, int count) {
    if (!is_recorded(file)) return syscall(SYS_writev, file, parts, count);
    return count > 0 ? write(file, parts->iov_base, parts->iov_len) : 0;
}

int ftruncate(int file, off_t length) {
    if (!is_recorded(file)) return syscall(SYS_ftruncate, file, length);
    lock();
    int result = syscall(SYS_ftruncate, file, length);
    if (result == 0) record(RESIZE, look_at(file).st_ino, length, NULL, 0);
    unlock();
    return result;
}

int ftruncate64(int file, off_t length) { return ftruncate(file, length); }

int rename(const char *from, const char *to) {
    const char *old = below(from), *new = below(to);
    if (!old && !new) return syscall(SYS_rename, from, to);
    if (!old || !new) abort();
    lock();
    int result = syscall(SYS_rename, from, to);
    char both[2 * PATH_MAX];
    // Two texts with a zero between.
    int length = snprintf(both, sizeof both, "%s%c%s", old, 0, new);
    if (result == 0) record(RENAME, 0, 0, both, length);
    unlock();
    return result;
}

int unlink(const char *path) {
    const char *name = below(path);
    if (!name) return syscall(SYS_unlink, path);
    lock();
    int result = syscall(SYS_unlink, path);
    if (result == 0) record(UNLINK, 0, 0, name, strlen(name));
    unlock();
    return result;
}

int mkdir(const char *path, mode_t mode) {
    const char *name = below(path);
    if (!name) return syscall(SYS_mkdir, path, mode);
    lock();
    int result = syscall(SYS_mkdir, path, mode);
    struct stat seen;
    if (result == 0 && stat(path, &seen) != 0) abort();
    if (result == 0) record(MAKE_DIRECTORY, seen.st_ino, 0, name, strlen(name));
    unlock();
    return result;
}

// What is written while an fsync runs may miss it: its record says where the records ended when it began.
static int sync_by(long call, int file) {
    if (!is_recorded(file)) return syscall(call, file);
    uint64_t before = look_at(records).st_size;
    int result = syscall(call, file);
    lock();
    if (result == 0) record(SYNC, look_at(file).st_ino, before, NULL, 0);
    unlock();
    return result;
}

int fsync(int file) { return sync_by(SYS_fsync, file); }
int fdatasync(int file) { return sync_by(SYS_fdatasync, file); }
