/* Sits between SQLite and the disk: a sync of the write-ahead log fails while a file says so. What was written is in the
 * file all the same, as it may be on a disk that failed. */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int is_log(int fd)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path);
    return length >= 4 && memcmp(path + length - 4, "-wal", 4) == 0;
}

static int fails(int fd)
{
    const char *folder = getenv("TOKEN_BROKER_TEST_FAULTS");
    char once[PATH_MAX], always[PATH_MAX];
    if (folder == NULL || !is_log(fd))
        return 0;
    snprintf(once, sizeof once, "%s/once", folder);
    snprintf(always, sizeof always, "%s/always", folder);
    if (unlink(once) != 0 && access(always, F_OK) != 0)
        return 0;
    errno = EIO;
    return 1;
}

int fsync(int fd)
{
    return fails(fd) ? -1 : (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return fails(fd) ? -1 : (int)syscall(SYS_fdatasync, fd);
}
