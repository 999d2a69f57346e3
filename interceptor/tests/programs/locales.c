// SPDX-License-Identifier: Apache-2.0
// Asks for the locale that the environment names, in its first thread or in another, and has the C library open more files.
#define _GNU_SOURCE
#include <errno.h>
#include <langinfo.h>
#include <libintl.h>
#include <locale.h>
#include <pthread.h>
#include <pwd.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

extern int __open_nocancel(const char *path, int flags, ...);

static void *ask(void *way) {
    const char *name = setlocale(LC_ALL, "");
    locale_t other = newlocale(LC_ALL_MASK, "", NULL);
    printf("%s %s %d\n", name ? name : "none", nl_langinfo(CODESET), other != NULL);
    return way;
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "thread") == 0) {
        pthread_t thread;
        pthread_create(&thread, NULL, ask, NULL);
        pthread_join(thread, NULL);
    } else {
        ask(NULL);
    }
    bindtextdomain("none", "/nowhere");
    textdomain("none");
    struct passwd *user = getpwuid(0);
    printf("%s %s\n", gettext("text"), user ? user->pw_name : "nobody");
    // As the C library's own code sees it: what it gives, and errno.
    const char *names[] = {"input", "missing", "/", "/dev/null", "", NULL};
    for (int i = 0; i < 6; i++) {
        errno = 0;
        int fd = __open_nocancel(names[i], 0);
        printf("%d %d\n", fd >= 0, errno);
    }
    errno = 7;
    printf("%d %d\n", __open_nocancel("made", 0101, 0600) >= 0, errno);
    // A child that shares our memory opens this.
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 9, "spawned", 0, 0);
    char *none[] = {"true", NULL};
    pid_t pid;
    int status = 0;
    if (posix_spawn(&pid, "/bin/true", &actions, NULL, none, none + 1) == 0)
        waitpid(pid, &status, 0);
    printf("%d\n", status);
}
