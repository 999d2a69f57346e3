// SPDX-License-Identifier: Apache-2.0
// Uses paths in many ways, and says what it is told: what it would say below a real root directory, but for one: a relative link that
// climbs higher than the root has become an absolute one (/etc/relative).
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void said(const char *what, const char *text) { printf("%s: %s\n", what, text ? text : strerror(errno)); }

static void reads(const char *path) {
    char text[64] = "";
    FILE *file = fopen(path, "r");
    if (file && fgets(text, sizeof text, file)) text[strcspn(text, "\n")] = 0;
    printf("read %s: %s\n", path, file ? text : strerror(errno));
    if (file) fclose(file);
}

static void links(const char *path) {
    char text[PATH_MAX];
    ssize_t length = readlink(path, text, sizeof text - 1);
    if (length >= 0) text[length] = 0;
    printf("link %s: %s\n", path, length >= 0 ? text : strerror(errno));
}

static void real(const char *path) {
    char *text = realpath(path, NULL);
    printf("real %s: %s\n", path, text ? text : strerror(errno));
    free(text);
}

static int waits(pid_t child) {
    int status = 0;
    waitpid(child, &status, 0);
    return WEXITSTATUS(status);
}

int main(int argc, char **argv) {
    char buffer[PATH_MAX];
    setvbuf(stdout, NULL, _IONBF, 0);
    if (argc > 1) {
        printf("started as %s with %s\n", argv[0], argv[1]);
        links("/proc/self/exe");
        return 7;
    }
    said("name", argv[0]);
    said("directory", getcwd(buffer, sizeof buffer));
    said("allocated", getcwd(NULL, 0));
    said("short", getcwd(buffer, 2));
    for (char **entry = environ; *entry; entry++) said("variable", *entry);

    reads("/data/file");
    reads("file");
    reads("../data/./file");
    reads("/etc/link/file");
    reads("/etc/shallow/../data/file");
    reads("/../../../../../../etc/../data/file");
    reads("/etc/../../../../../../../../etc/hostname");
    reads("/proc/self/cwd/file");
    reads("/proc/self/root/etc/hostname");
    reads("/dev/null");
    snprintf(buffer, sizeof buffer, "/proc/%d/environ", getppid());
    printf("parent's environment: %s\n", fopen(buffer, "r") ? "open" : strerror(errno));

    struct statx about;
    printf("statx: %ld\n", syscall(SYS_statx, AT_FDCWD, "/data/../data/file", 0, STATX_SIZE, &about));
    printf("access: %ld %s\n", syscall(SYS_access, "/etc/hostname", F_OK), strerror(errno));
    printf("process: %d\n", syscall(SYS_getpid) == getpid());

    links("/etc/link");
    links("/etc/relative");
    links("/proc/self/exe");
    links("/proc/self/cwd");
    int fd = open("/data/file", O_RDONLY);
    snprintf(buffer, sizeof buffer, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(buffer, buffer, sizeof buffer - 1);
    buffer[length > 0 ? length : 0] = 0;
    said("descriptor", buffer);
    real("/etc/link/file");
    real("../etc/relative/..");
    real("/data/missing");
    real(".");

    // Made here.
    printf("symlink: %d\n", symlink("/data/file", "/tmp/made"));
    links("/tmp/made");
    reads("/tmp/made");
    strcpy(buffer, "/tmp/aXXXXXX");
    fd = mkstemp(buffer);
    printf("temporary: %d %.6s %zu\n", fd >= 0, buffer, strlen(buffer));
    printf("is there: %d\n", access(buffer, F_OK));
    strcpy(buffer, "/tmp/dXXXXXX");
    printf("directory: %d %.6s\n", mkdtemp(buffer) == buffer, buffer);
    printf("is there: %d\n", rmdir(buffer));
    printf("rename: %d\n", rename("/data/moved", "/data/elsewhere"));
    FILE *file = fopen("/data/changed", "r+");
    fputs("CHANGED", file);
    fclose(file);
    file = fopen("/out/result", "w");
    fputs("result", file);
    fclose(file);

    glob_t found;
    printf("glob: %d\n", glob("/data/f*", 0, NULL, &found));
    for (size_t i = 0; i < found.gl_pathc; i++) said("found", found.gl_pathv[i]);
    DIR *directory = opendir("/etc/link");
    printf("list: %d\n", directory != NULL && readdir(directory) != NULL);

    // Programs.
    pid_t child;
    char *args[] = {"other-name", "spawn", NULL};
    int failed = posix_spawn(&child, "/bin/paths", NULL, NULL, args, environ);
    printf("spawn: %d %d\n", waits(child), failed);
    args[1] = "search";
    failed = posix_spawnp(&child, "paths", NULL, NULL, args, environ);
    printf("search: %d %d\n", waits(child), failed);
    if ((child = vfork()) == 0) {
        execl("/proc/self/exe", "itself", "list", (char *)NULL);
        _exit(1);
    }
    printf("code: %d\n", waits(child));
    if ((child = fork()) == 0) {
        execle("/data/script", "script", "argument", (char *)NULL, (char *[]){"ONLY=this", NULL});
        _exit(1);
    }
    printf("code: %d\n", waits(child));
    printf("missing: %d\n", posix_spawn(&child, "/bin/missing", NULL, NULL, args, environ));
    printf("system: %d\n", WEXITSTATUS(system("read line < /data/file; echo \"shell: $line $0\"; exit 3")));
    file = popen("echo popen; exit 4", "r");
    printf("popen: %s", fgets(buffer, sizeof buffer, file));
    printf("pclose: %d\n", WEXITSTATUS(pclose(file)));
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "/out/spawned", O_WRONLY | O_CREAT, 0644);
    args[1] = "redirected";
    failed = posix_spawn(&child, "/bin/paths", &actions, NULL, args, environ);
    printf("redirect: %d %d\n", waits(child), failed);
    reads("/out/spawned");
    return 0;
}
