// SPDX-License-Identifier: Apache-2.0
// Executes programs in every way: execs WAY [MORE…]. The child prints its arguments and what it finds in its environment.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <pthread.h>

extern char **environ;
static char *self;
static char *child_argv[] = {"child", "show", "2", "3", "4", "5", "6", "7", "8", "9", NULL};
static char *child_envp[] = {"PATH=/usr/bin:/bin", "MARK=own", NULL};

static int show(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        printf("%s ", argv[i]);
    printf("| %s | %s | %s\n", getenv("LD_PRELOAD"), getenv("GGTRACE_SESSION"), getenv("MARK"));
    return 0;
}

static int report(int result)
{
    printf("result %d errno %d\n", result, errno);
    return 42;
}

static int wait_for(pid_t pid)
{
    int status;
    if (waitpid(pid, &status, 0) != pid)
        return 99;
    printf("child %s %d\n", WIFEXITED(status) ? "exit" : "signal", WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    return 0;
}

static int spawn(const char *path, posix_spawn_file_actions_t *actions, posix_spawnattr_t *attr, char **argv, char **envp)
{
    pid_t pid = -1;
    int result = posix_spawn(&pid, path, actions, attr, argv, envp);
    if (result != 0) {
        printf("spawn %d\n", result);
        return 1;
    }
    return wait_for(pid);
}

static void on_signal(int number)
{
    (void)number;
    puts("a handler ran");
}

static void *spawner(void *count)
{
    for (int i = 0; i < *(int *)count; i++) {
        pid_t pid;
        int status;
        char *argv[] = {"true", NULL};
        if (posix_spawnp(&pid, "true", NULL, NULL, argv, child_envp) != 0 || waitpid(pid, &status, 0) != pid || status != 0)
            return "failed";
    }
    return NULL;
}

int main(int argc, char **argv)
{
    const char *way = argc > 1 ? argv[1] : "";
    setvbuf(stdout, NULL, _IOLBF, 0);
    self = argv[0];
    if (!strcmp(way, "show"))
        return show(argc, argv);
    if (argc > 2 && !strcmp(argv[2], "clear"))
        clearenv();
    if (argc > 2 && !strcmp(argv[2], "foreign"))
        setenv("LD_PRELOAD", argv[3], 1);
    if (!strcmp(way, "execve"))
        return report(execve(self, child_argv, child_envp));
    if (!strcmp(way, "execv"))
        return report(execv(self, child_argv));
    if (!strcmp(way, "execvp"))
        return report(execvp(self, child_argv));
    if (!strcmp(way, "execl"))
        return report(execl(self, "child", "show", "2", "3", "4", "5", "6", "7", "8", "9", (char *)NULL));
    if (!strcmp(way, "execlp"))
        return report(execlp(self, "child", "show", "2", "3", "4", "5", "6", "7", "8", "9", (char *)NULL));
    if (!strcmp(way, "execle"))
        return report(execle(self, "child", "show", "2", "3", "4", "5", "6", "7", "8", "9", (char *)NULL, child_envp));
    if (!strcmp(way, "execle-short"))
        return report(execle(self, "child", "show", (char *)NULL, child_envp));
    if (!strcmp(way, "execvpe"))
        return report(execvpe(self, child_argv, child_envp));
    if (!strcmp(way, "fexecve"))
        return report(fexecve(open(self, O_RDONLY | O_CLOEXEC), child_argv, child_envp));
#ifdef __GLIBC__
    if (!strcmp(way, "execveat"))
        return report(execveat(AT_FDCWD, self, child_argv, child_envp, 0));
    if (!strcmp(way, "execveat-dir"))
        return report(execveat(open(argv[2], O_PATH), argv[3], child_argv, child_envp, 0));
#endif
    if (!strcmp(way, "search"))
        return report(execvp(argv[2], argv + 2));
    if (!strcmp(way, "path"))
        return report(execv(argv[2], argv + 2));
    if (!strcmp(way, "vfork")) {
        // The child's hook runs in this process's memory and on this stack.
        volatile int canary = 12345;
        pid_t pid = vfork();
        if (pid == 0) {
            execve(self, child_argv, child_envp);
            _exit(9);
        }
        printf("canary %d\n", canary);
        return wait_for(pid);
    }
    if (!strcmp(way, "environment")) {
        // More than fits the stack.
        int count = atoi(argv[2]);
        char **many = calloc(count + 3, sizeof *many);
        for (int i = 0; i < count; i++)
            asprintf(&many[i], "V%d=%d", i, i);
        many[count] = "MARK=many";
        return report(execve(self, child_argv, many));
    }
    if (!strcmp(way, "spawn"))
        return spawn(self, NULL, NULL, child_argv, child_envp);
    if (!strcmp(way, "spawnp")) {
        pid_t pid;
        int result = posix_spawnp(&pid, argv[2], NULL, NULL, argv + 2, environ);
        printf("spawnp %d\n", result);
        return result ? 1 : wait_for(pid);
    }
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attr);
    if (!strcmp(way, "spawn-dup2")) {
        // Standard output and error go to a file that is open as another descriptor, as ninja and make do it.
        int fd = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        posix_spawn_file_actions_addclose(&actions, 0);
        posix_spawn_file_actions_adddup2(&actions, fd, 20);
        posix_spawn_file_actions_adddup2(&actions, 20, 1);
        posix_spawn_file_actions_adddup2(&actions, 1, 2);
        posix_spawn_file_actions_addclose(&actions, 20);
        return spawn(self, &actions, NULL, child_argv, child_envp);
    }
    if (!strcmp(way, "spawn-open")) {
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
        posix_spawn_file_actions_addopen(&actions, 1, argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0644);
        return spawn(self, &actions, NULL, child_argv, child_envp);
    }
    if (!strcmp(way, "spawn-group")) {
        posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP);
        pid_t pid;
        int status;
        int result = posix_spawn(&pid, self, NULL, &attr, child_argv, child_envp);
        printf("spawn %d, of its group %d\n", result, waitpid(-pid, &status, 0) == pid);
        return 0;
    }
    if (!strcmp(way, "spawn-state")) {
        // All that a child may be given and yet not be the C library's.
        sigset_t set;
        signal(SIGUSR1, on_signal);
        signal(SIGHUP, SIG_IGN);
        signal(SIGQUIT, SIG_IGN);
        sigemptyset(&set);
        sigaddset(&set, SIGQUIT);
        posix_spawnattr_setsigdefault(&attr, &set);
        sigaddset(&set, SIGUSR2);
        sigprocmask(SIG_BLOCK, &set, NULL);
        sigemptyset(&set);
        sigaddset(&set, SIGWINCH);
        posix_spawnattr_setsigmask(&attr, &set);
        posix_spawnattr_setflags(&attr,
            POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_RESETIDS);
        int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
        dup3(fd, 20, O_CLOEXEC);
        dup3(fd, 21, O_CLOEXEC);
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
        posix_spawn_file_actions_adddup2(&actions, fd, 7);
        posix_spawn_file_actions_adddup2(&actions, fd, 8);
        posix_spawn_file_actions_adddup2(&actions, 20, 20);
        posix_spawn_file_actions_addclose(&actions, 8);
        int result = spawn(argv[2], &actions, &attr, argv + 2, environ);
        sigpending(&set);
        printf("pending %d\n", sigismember(&set, SIGQUIT));
        sigprocmask(SIG_SETMASK, NULL, &set);
        printf("blocked %d %d %d\n", sigismember(&set, SIGUSR2), sigismember(&set, SIGUSR1), sigismember(&set, SIGWINCH));
        return result;
    }
    if (!strcmp(way, "spawn-many")) {
        int count = atoi(argv[2]), same = 0;
        pid_t *pids = calloc(count, sizeof *pids);
        for (int i = 0; i < count; i++)
            if (posix_spawn(&pids[i], self, NULL, NULL, child_argv, child_envp) != 0)
                return 1;
        for (int i = 0; i < count; i++) {
            int status;
            same += waitpid(pids[i], &status, 0) == pids[i] && WIFEXITED(status) && WEXITSTATUS(status) == 3;
        }
        printf("exit 3: %d\n", same);
        return 0;
    }
    if (!strcmp(way, "spawn-kill")) {
        // The handler is ours; the child must die.
        pid_t pid;
        signal(SIGTERM, on_signal);
        if (posix_spawn(&pid, self, NULL, NULL, child_argv, child_envp) != 0)
            return 1;
        kill(pid, SIGTERM);
        return wait_for(pid);
    }
#ifdef __GLIBC__
    if (!strcmp(way, "spawn-chdir")) {
        posix_spawn_file_actions_addchdir_np(&actions, argv[2]);
        posix_spawn_file_actions_addclosefrom_np(&actions, 3);
        return spawn(argv[3], &actions, NULL, child_argv, child_envp);
    }
#endif
    if (!strcmp(way, "threads")) {
        pthread_t threads[8];
        int count = 25, failed = 0;
        for (int i = 0; i < 8; i++)
            pthread_create(&threads[i], NULL, spawner, &count);
        for (int i = 0; i < 8; i++) {
            void *result;
            pthread_join(threads[i], &result);
            failed += result != NULL;
        }
        printf("failed %d\n", failed);
        return 0;
    }
    if (!strcmp(way, "shell")) {
        // By system() and by popen(), with whatever is left of the environment; it must be the same afterwards.
        char **before = environ;
        char command[4096];
        snprintf(command, sizeof command, "%s show shell; exit 3", self);
        printf("system %d\n", WEXITSTATUS(system(command)));
        FILE *pipe = popen(command, "r");
        char line[4096];
        while (fgets(line, sizeof line, pipe))
            printf("popen: %s", line);
        printf("pclose %d same %d\n", WEXITSTATUS(pclose(pipe)), before == environ);
        return 0;
    }
    return 100;
}
