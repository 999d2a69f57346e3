// SPDX-License-Identifier: Apache-2.0
// Measures for bench-interceptor: `spawn COUNT PROGRAM` prints the microseconds of one spawn, `open COUNT FILE` the nanoseconds of one open and
// close: processor time, children included, so that a busy machine disturbs little. The best of thirty rounds counts.
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

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

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    int spawn = !strcmp(argv[1], "spawn"), count = atoi(argv[2]);
    double best = 1e18;
    for (int round = 0; round < 30; round++) {
        double start = now();
        for (int i = 0; i < count / 30; i++) {
            if (spawn) {
                char *child[] = {argv[3], NULL};
                pid_t pid;
                if (posix_spawn(&pid, argv[3], NULL, NULL, child, environ) != 0 || waitpid(pid, NULL, 0) != pid)
                    return 1;
            } else {
                int fd = open(argv[3], O_RDONLY);
                if (fd < 0)
                    return 1;
                close(fd);
            }
        }
        double each = (now() - start) / (count / 30);
        if (each < best)
            best = each;
    }
    printf("%.3f\n", spawn ? best / 1000 : best);
    return 0;
}
