// SPDX-License-Identifier: Apache-2.0
// Opens a file in every way: opens WAY FILE [OTHER]. Prints what it reads, cut after 40 bytes.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int content(int fd)
{
    char text[41] = "";
    if (fd < 0) {
        printf("errno %d\n", errno);
        return 1;
    }
    ssize_t length = read(fd, text, 40);
    printf("fd %d: %.*s\n", fd, (int)(length < 0 ? 0 : strcspn(text, "\n")), text);
    return 0;
}

static int stream(FILE *file)
{
    char text[41] = "";
    if (!file) {
        printf("errno %d\n", errno);
        return 1;
    }
    if (fgets(text, 40, file))
        text[strcspn(text, "\n")] = 0;
    printf("stream: %s\n", text);
    return 0;
}

int main(int argc, char **argv)
{
    const char *way = argv[1], *path = argv[2];
    // Not a constant, so that the fortified functions are called.
    volatile int rdonly = O_RDONLY;
    int flags = rdonly;
    if (!strcmp(way, "open"))
        return content(open(path, O_RDONLY));
    if (!strcmp(way, "open64"))
        return content(open64(path, O_RDONLY));
    if (!strcmp(way, "openat"))
        return content(openat(AT_FDCWD, path, O_RDONLY));
    if (!strcmp(way, "openat-dir"))
        return content(openat(open(argv[3], O_RDONLY | O_DIRECTORY), path, O_RDONLY));
#ifdef __GLIBC__
    if (!strcmp(way, "__open_2"))
        return content(open(path, flags));
    if (!strcmp(way, "__openat_2"))
        return content(openat(AT_FDCWD, path, flags));
#endif
    if (!strcmp(way, "fopen"))
        return stream(fopen(path, "r"));
    if (!strcmp(way, "fopen64"))
        return stream(fopen64(path, "rb"));
    if (!strcmp(way, "freopen"))
        return stream(freopen(path, "r", stdin));
    if (!strcmp(way, "dlopen")) {
        printf("dlopen %s\n", dlopen(path, RTLD_NOW) ? "ok" : "failed");
        return 0;
    }
    if (!strcmp(way, "path"))
        return open(path, O_PATH) < 0;
    if (!strcmp(way, "truncate"))
        return open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644) < 0;
    if (!strcmp(way, "creat"))
        return creat(path, 0600) < 0;
    if (!strcmp(way, "fopen-w"))
        return fopen(path, "w") == NULL;
    if (!strcmp(way, "exclusive"))
        return open(path, O_WRONLY | O_CREAT | O_EXCL, 0644) < 0;
    if (!strcmp(way, "append"))
        return write(open(path, O_WRONLY | O_APPEND), "more\n", 5) != 5;
    if (!strcmp(way, "fopen-a")) {
        FILE *file = fopen(path, "a");
        return fputs("more\n", file) < 0 || fclose(file) != 0;
    }
    if (!strcmp(way, "update"))
        return content(open(path, O_RDWR));
    if (!strcmp(way, "rename"))
        return rename(path, argv[3]) != 0;
    if (!strcmp(way, "renameat")) {
        int dir = open(argv[4], O_PATH | O_DIRECTORY);
        return renameat(dir, path, dir, argv[3]) != 0;
    }
#ifdef __GLIBC__
    if (!strcmp(way, "exchange"))
        return renameat2(AT_FDCWD, path, AT_FDCWD, argv[3], RENAME_EXCHANGE) != 0;
#endif
    if (!strcmp(way, "link"))
        return link(path, argv[3]) != 0;
    if (!strcmp(way, "linkat"))
        return linkat(AT_FDCWD, path, AT_FDCWD, argv[3], 0) != 0;
    if (!strcmp(way, "errno")) {
        // A hook that succeeds leaves errno as it was.
        errno = 77;
        int fd = open(path, O_RDONLY);
        printf("fd %d errno %d\n", fd >= 0, errno);
        return 0;
    }
    return 100;
}
