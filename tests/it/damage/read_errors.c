// An LD_PRELOAD library that fails reads of spool files with EIO. The rules are in the file that READ_ERRORS names, and
// can change at any moment. As on a disk, a read that begins before an unreadable sector returns the bytes before it.
// Opening and looking up the files and their directory fails with ENOMEM.

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

// If a file's name begins with `name`, reads of its bytes from `first` to `end` succeed `skip` times and then fail
// `times` times.
struct rule {
    char name[24];
    int64_t kind, first, end, skip, times, reads;
};

enum { RULES = 8 };
enum { FILE_READ, LOG_READ, LOOKUP };
static struct rule *rules;

__attribute__((constructor)) static void open_rules(void) {
    int file = open(getenv("READ_ERRORS"), O_RDWR | O_CLOEXEC);
    rules = mmap(NULL, RULES * sizeof *rules, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (rules == MAP_FAILED) abort();
    close(file);
}

static int applies(struct rule *rule, const char *name, int kind) {
    return rule->name[0] && !strncmp(name, rule->name, strlen(rule->name)) && rule->kind == kind;
}

static int fails(struct rule *rule) {
    int64_t before = __atomic_fetch_add(&rule->reads, 1, __ATOMIC_SEQ_CST);
    return before >= rule->skip && before - rule->skip < rule->times;
}

// Stores the name of a spool file without its directory. Returns 0 if it is another file.
static int name_of(int file, char *name, size_t size) {
    char link[32], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    char *last = strrchr(path, '/');
    if (!last || strncmp(last, "/spool-", 7)) return 0;
    snprintf(name, size, "%s", last + 1);
    return 1;
}

static int is_log(const char *name) {
    size_t length = strlen(name);
    return length > 4 && !strcmp(name + length - 4, "-wal");
}

// Returns how many bytes can be read; -1 if the first one can't.
static ssize_t readable(int file, int64_t at, size_t length) {
    char name[256];
    int errors = errno;
    int is_known = rules && name_of(file, name, sizeof name);
    errno = errors;
    if (!is_known) return length;
    if (at < 0) at = lseek(file, 0, SEEK_CUR);
    for (int i = 0; i < RULES; i++) {
        struct rule *rule = &rules[i];
        if (!applies(rule, name, is_log(name) ? LOG_READ : FILE_READ)) continue;
        if (at >= rule->end || at + (int64_t)length <= rule->first) continue;
        if (at < rule->first) {
            length = rule->first - at;
            continue;
        }
        if (fails(rule)) return -1;
    }
    return length;
}

static ssize_t failed(void) {
    errno = EIO;
    return -1;
}

ssize_t read(int file, void *to, size_t length) {
    ssize_t most = readable(file, -1, length);
    return most < 0 ? failed() : syscall(SYS_read, file, to, most);
}

ssize_t pread64(int file, void *to, size_t length, off64_t at) {
    ssize_t most = readable(file, at, length);
    return most < 0 ? failed() : syscall(SYS_pread64, file, to, most, at);
}

ssize_t pread(int file, void *to, size_t length, off_t at) { return pread64(file, to, length, at); }

// Returns whether a lookup of a file or the directory fails, and sets errno.
static int is_hidden(const char *path) {
    const char *last = path ? strrchr(path, '/') : NULL;
    for (int i = 0; rules && last && i < RULES; i++) {
        if (applies(&rules[i], last + 1, LOOKUP) && fails(&rules[i])) {
            errno = ENOMEM;
            return 1;
        }
    }
    return 0;
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return is_hidden(path) ? -1 : syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return open64(path, flags, mode);
}

DIR *opendir(const char *path) {
    DIR *(*next)(const char *) = dlsym(RTLD_NEXT, "opendir");
    return is_hidden(path) ? NULL : next(path);
}

int statx(int directory, const char *restrict path, int flags, unsigned mask, struct statx *restrict to) {
    return is_hidden(path) ? -1 : syscall(SYS_statx, directory, path, flags, mask, to);
}
