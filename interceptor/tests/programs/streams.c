// SPDX-License-Identifier: Apache-2.0
// Reads from standard input and prints, in all ways in which the C library does and in which it may go wrong.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void *print(void *text) {
    return write(1, text, strlen(text)) < 0 ? NULL : text;
}

static void *wait_for_input(void *pipe) {
    char byte;
    read(*(int *)pipe, &byte, 1);
    return NULL;
}

static void nothing(int signal) {
    (void)signal;
}

int main(int argc, char **argv) {
    if (argc > 1)
        return system(argv[1]);
    char text[5000];
    int first = getchar(), second = getchar();
    printf("%d %d\n", first, second);
    fflush(stdout);
    if (fork() == 0) {
        dprintf(1, "child %zd\n", read(0, text, 1));
        _exit(0);
    }
    wait(NULL);
    errno = 7;
    ssize_t none = write(1, NULL, 0), bad = write(1, (void *)16, 3);
    int failed = errno;
    errno = 7;
    ssize_t closed = write(99, "x", 1), gone = read(99, text, 1);
    printf("%zd %zd %d %zd %zd %d\n", none, bad, failed, closed, gone, errno);
    fflush(stdout);
    fputs("error\n", stderr);
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\n';
    (void)!write(1, text, sizeof text);
    if (vfork() == 0) {
        (void)!write(1, "vfork\n", 6);
        _exit(0);
    }
    wait(NULL);
    // Interrupted, and cancelled.
    int ends[2];
    (void)!pipe(ends);
    struct sigaction action = {.sa_handler = nothing};
    sigaction(SIGALRM, &action, NULL);
    ualarm(20000, 0);
    ssize_t interrupted = read(ends[0], text, 1);
    printf("%zd %d\n", interrupted, errno);
    fflush(stdout);
    pthread_t thread;
    pthread_create(&thread, NULL, print, "thread\n");
    pthread_join(thread, NULL);
    void *end;
    pthread_create(&thread, NULL, wait_for_input, &ends[0]);
    usleep(20000);
    pthread_cancel(thread);
    pthread_join(thread, &end);
    printf("%d\n", end == PTHREAD_CANCELED);
    return 0;
}
