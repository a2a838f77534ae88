// Stands between SQLite and the system's fsync while a file says so: "fail" has each one fail with
// EIO, "hang" has them wait until the file is gone. The name of what was fsynced is added to another file,
// where there is one. Preloaded into the bridge by the tests.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int says(const char *word) {
    const char *path = getenv("FSYNC_FAULT_FILE");
    char text[8] = {0};
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return 0;
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    return length > 0 && strcmp(text, word) == 0;
}

static void note(int file) {
    const char *path = getenv("FSYNC_LOG_FILE");
    char link[32], name[4096];
    int log = path ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (log < 0) return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, name, sizeof name - 1);
    if (length < 0) abort();
    name[length++] = '\n';
    if (write(log, name, length) != length) abort();
    close(log);
}

static int sync_by(const char *name, int file) {
    while (says("hang")) nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    if (says("fail")) {
        errno = EIO;
        return -1;
    }
    int result = ((int (*)(int))dlsym(RTLD_NEXT, name))(file);
    if (result == 0) note(file);
    return result;
}

int fsync(int file) { return sync_by("fsync", file); }
int fdatasync(int file) { return sync_by("fdatasync", file); }
