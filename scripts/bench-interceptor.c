// SPDX-License-Identifier: Apache-2.0
// Measures for bench-interceptor: `WHAT COUNT FILE` prints the nanoseconds of one open (and close), stat, lookup of what is not there, or realpath,
// or the microseconds of one spawn of a program: processor time, children included, so that a busy machine disturbs little. The best of sixty
// rounds counts. `logged …` makes a log and runs a command in a session with it.
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
enum { ROUNDS = 60 };

static double spent(int who)
{
    struct rusage usage;
    getrusage(who, &usage);
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e9 + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e3;
}

static double now(void)
{
    return spent(RUSAGE_SELF) + spent(RUSAGE_CHILDREN);
}

static int spawn(char **argv)
{
    pid_t pid;
    int status;
    return posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ) || waitpid(pid, &status, 0) != pid || status;
}

// The header of a log as wire/src/log.rs has it; its path.
static char *make_log(void)
{
    static char path[64];
    int fd = memfd_create("log", 0);
    unsigned long long header[2] = {0, (1ull << 36) / 16384 - 1};
    memcpy(header, "GGLOG\0\0\1", 8);
    if (fd < 0 || ftruncate(fd, 1ll << 36) || pwrite(fd, header, sizeof header, 0) != sizeof header)
        exit(1);
    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)getpid(), fd);
    return path;
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    if (!strcmp(argv[1], "logged")) {
        // logged LIBRARY BEFORE AFTER COMMAND…: with a session whose log is between the two.
        char session[8192];
        snprintf(session, sizeof session, "%s%s%s", argv[3], make_log(), argv[4]);
        setenv("GGTRACE_SESSION", session, 1);
        setenv("LD_PRELOAD", argv[2], 1);
        return spawn(argv + 5);
    }
    int count = atoi(argv[2]) / ROUNDS;
    char *what = argv[1], *file = argv[3];
    int spawns = !strcmp(what, "spawn");
    double best = 1e18;
    for (int round = 0; round < ROUNDS; round++) {
        double start = now();
        for (int i = 0; i < count; i++) {
            char resolved[PATH_MAX];
            struct stat status;
            if (spawns) {
                char *child[] = {file, NULL};
                if (spawn(child))
                    return 1;
            } else if (!strcmp(what, "open")) {
                int fd = open(file, O_RDONLY);
                if (fd < 0)
                    return 1;
                close(fd);
            } else if (!strcmp(what, "stat")) {
                if (stat(file, &status))
                    return 1;
            } else if (!strcmp(what, "miss")) {
                if (!access(file, F_OK))
                    return 1;
            } else if (!realpath(file, resolved)) {
                return 1;
            }
        }
        double each = (now() - start) / count;
        if (each < best)
            best = each;
    }
    printf("%.3f\n", spawns ? best / 1000 : best);
    return 0;
}
