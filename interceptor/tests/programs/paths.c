// SPDX-License-Identifier: Apache-2.0
// Calls every function that names a path, in the current directory, and prints what each gave: paths [COOKIE [one]]. With a cookie (hexadecimal) a filter
// is put up first that makes every call about a path fail with EDOM unless it bears the cookie.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <utime.h>

static void put_up_filter(unsigned long long cookie)
{
    static const int calls[] = {SYS_open, SYS_openat, SYS_creat, SYS_stat, SYS_lstat, SYS_newfstatat, SYS_statx, SYS_access, SYS_faccessat,
        SYS_faccessat2, SYS_readlink, SYS_readlinkat, SYS_statfs, SYS_getxattr, SYS_lgetxattr, SYS_listxattr, SYS_llistxattr, SYS_chdir,
        SYS_inotify_add_watch, SYS_truncate, SYS_mkdir, SYS_mkdirat, SYS_mknod, SYS_mknodat, SYS_symlink, SYS_symlinkat, SYS_link, SYS_linkat,
        SYS_rename, SYS_renameat, SYS_renameat2, SYS_unlink, SYS_unlinkat, SYS_rmdir, SYS_chmod, SYS_fchmod, SYS_fchmodat, SYS_chown, SYS_lchown,
        SYS_fchown, SYS_fchownat, SYS_utime, SYS_utimes, SYS_utimensat, SYS_setxattr, SYS_lsetxattr, SYS_fsetxattr, SYS_removexattr,
        SYS_lremovexattr, SYS_fremovexattr, SYS_connect, SYS_bind, SYS_socket};
    enum { COUNT = sizeof calls / sizeof *calls };
    struct sock_filter code[3 * COUNT + 12];
    int n = 0;
    // What the C library asks about open descriptors is not about a path.
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_newfstatat, 0, 3);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[3]));
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, AT_EMPTY_PATH, 0, 1);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    for (int i = 0; i < COUNT; i++) {
        code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i], 0, 1);
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JA, 3 * (COUNT - i - 1) + 1, 0, 0);
    }
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[5]));
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)cookie, 0, 3);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[5]) + 4);
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)(cookie >> 32), 0, 1);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EDOM);
    struct sock_fprog program = {n, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        abort();
    // By hand: this filter is the recorder's, and not one of the program's own, for which hooks would step aside.
    long failed;
    __asm__ volatile("syscall" : "=a"(failed) : "0"((long)SYS_seccomp), "D"((long)SECCOMP_SET_MODE_FILTER), "S"(0L), "d"(&program)
                     : "rcx", "r11", "memory");
    if (failed)
        perror("filter"), exit(1);
}

// Numbers of descriptors and sizes are the same in each run.
#define T(call) (errno = 0, report(#call, (long)(call)))
#define P(call) (errno = 0, report_text(#call, (call)))

static long report(const char *call, long result)
{
    // After a success it means nothing.
    int failed = result < 0 || (result == 0 && strstr(call, "!= NULL"));
    printf("%s = %ld %s\n", call, result, failed ? strerrorname_np(errno) : "");
    return result;
}

static void report_text(const char *call, const char *text)
{
    int error = errno;
    printf("%s = %s %s\n", call, text ? text : "(null)", text ? "" : strerrorname_np(error));
}

static void stream(const char *name, const char *mode)
{
    errno = 0;
    FILE *file = fopen(name, mode);
    printf("fopen %s %s: %d %s flags %x cloexec %d at %ld\n", name, mode, file != NULL, file ? "" : strerrorname_np(errno),
        file ? fcntl(fileno(file), F_GETFL) : 0, file ? fcntl(fileno(file), F_GETFD) : 0, file ? ftell(file) : 0);
    char line[16] = "";
    if (file && strchr(mode, 'r'))
        printf("  read %s\n", fgets(line, sizeof line, file));
    if (file && !strchr(mode, 'r'))
        fputs("written\n", file);
    if (file)
        fclose(file);
}

int main(int argc, char **argv)
{
    // What stdio wants to know of standard output it asks now, and never flushes in between.
    static char buffer[1 << 16];
    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    umask(022);
    unsigned long long cookie = argc > 1 ? strtoull(argv[1], NULL, 16) : 0;
    if (cookie)
        put_up_filter(cookie);
    struct stat st;
    struct statx stx;
    struct statfs fs;
    char text[8192], *nowhere = (char *)8;
    volatile int rdonly = O_RDONLY;
    char long_name[300], long_path[5000];
    memset(long_name, 'n', sizeof long_name - 1), long_name[299] = 0;
    memset(long_path, '/', sizeof long_path - 1), long_path[4999] = 0;

    T(mkdir("d", 0755));
    if (argc > 2)
        return 0;
    T(mkdir("d", 0755));
    T(mkdir("none/d", 0755));
    T(mkdir("", 0755));
    T(mkdir(nowhere, 0755));
    T(mkdir(NULL, 0755));
    T(mkdir(long_name, 0755));
    T(mkdir(long_path, 0755));
    int d = T(open("d", O_RDONLY | O_DIRECTORY));
    T(mkdirat(d, "sub", 0700));
    T(mkdirat(99, "sub", 0700));
    T(mkdirat(AT_FDCWD, "e", 0700));

    int f = T(open("file", O_WRONLY | O_CREAT | O_TRUNC, 0640));
    T(write(f, "hello\n", 6));
    T(close(f));
    T(close(open("file", O_RDWR | O_CREAT, 0600)));
    T(open("file", O_RDWR | O_CREAT | O_EXCL, 0600));
    T(close(open("made", O_RDONLY | O_CREAT, 0600)));
    T(close(creat("emptied", 0666)));
    T(close(creat("emptied", 0666)));
    T(close(openat(d, "below", O_WRONLY | O_CREAT, 0666)));
    T(close(openat(d, "below", rdonly)));
    T(close(open("file", rdonly)));
    T(open("none", O_RDONLY));
    T(open("file/x", O_RDONLY));
    T(open("d", O_WRONLY));
    T(open("d", O_RDONLY | O_CREAT, 0600));
    T(open(nowhere, O_RDONLY));
    T(open("file", O_RDONLY | O_DIRECTORY));
    T(close(open("file", O_PATH)));
    T(close(open(".", O_RDWR | O_TMPFILE, 0600)));
    T(close(open("/dev/null", O_RDWR)));
    T(symlink("dangled", "dangling"));
    T(close(open("dangling", O_WRONLY | O_CREAT, 0600)));
    T(stat("file", &st)), printf("%o %ld\n", st.st_mode, (long)st.st_size);
    T(stat("made", &st)), printf("%o %ld\n", st.st_mode, (long)st.st_size);

    for (const char *const *mode = (const char *const[]){"r", "r+", "rb", "re", "w", "a", "a+", "w+x", "wx", "q", "r+be", "wbe", NULL}; *mode; mode++)
        stream("file", *mode);
    stream("none", "r");
    stream("none/none", "w");
    stream("fresh", "w");
    stream("fresh2", "ax");
    stream("d", "r");
    FILE *again = fopen("file", "r");
    T(fclose(again));

    DIR *dir = opendir("d");
    T(dir != NULL && readdir(dir) != NULL);
    T(closedir(dir));
    T(opendir("none") != NULL);
    T(opendir("file") != NULL);
    T(opendir("") != NULL);
    dir = fdopendir(open("e", O_RDONLY | O_DIRECTORY));
    T(dir != NULL && readdir(dir) != NULL);
    T(closedir(dir));

    T(stat("file", &st));
    T(stat("none", &st));
    T(stat("file/none", &st));
    T(stat("", &st));
    T(stat(nowhere, &st));
    T(stat("file", (struct stat *)nowhere));
    T(lstat("dangling", &st)), printf("%o\n", st.st_mode);
    T(fstatat(d, "below", &st, 0));
    T(fstatat(d, "", &st, AT_EMPTY_PATH)), printf("%o\n", st.st_mode);
    T(fstatat(d, "below", &st, 0x40000000));
    T(fstatat(99, "below", &st, 0));
    T(fstat(d, &st)), printf("%o\n", st.st_mode);
    T(fstat(99, &st));
    T(statx(AT_FDCWD, "file", 0, STATX_SIZE, &stx)), printf("%ld\n", (long)stx.stx_size);
    T(statfs(".", &fs));
    T(statfs("none", &fs));
    T(access("file", R_OK));
    T(access("none", F_OK));
    T(access("file", 99));
    T(faccessat(d, "below", W_OK, 0));
    T(faccessat(d, "below", W_OK, AT_EACCESS));
    T(faccessat(d, "none", W_OK, AT_SYMLINK_NOFOLLOW));
    T(eaccess("file", R_OK));
    T(euidaccess("none", R_OK));

    T(symlink("d/sub", "link"));
    T(symlink("d/sub", "link"));
    T(symlinkat("loop", d, "loop"));
    memset(text, 0, sizeof text);
    T(readlink("link", text, sizeof text)), puts(text);
    T(readlink("file", text, sizeof text));
    T(readlink("none", text, sizeof text));
    T(readlink("link", text, 0));
    T(readlinkat(d, "loop", text, 2)), puts(text);
    char *resolved[] = {text, NULL};
    const char *names[] = {"link", "link/", "link/.", "link/..", ".", "./d/../link/../below", "none", "d/none/x", "dangling", "/", "//usr//lib/", "/..",
        "/usr/bin/../none", "", "/proc/sys/none/x",
        // The following are left to the C library, which does not mark its calls.
        argc > 1 ? NULL : "file/", "file/.", "file/..", "file/x", "d/loop", "dangling/", long_name, NULL};
    for (const char **name = names; *name; name++)
        for (int i = 0; i < 2; i++) {
            memset(text, 0, sizeof text);
            errno = 0;
            char *result = realpath(*name, resolved[i]);
            int error = errno;
            printf("realpath %.20s %d: %s %s, %s\n", *name, i, result ? result : "(null)", result ? "" : strerrorname_np(error), text);
            if (i)
                free(result);
        }
    P(realpath(NULL, text));
    P(canonicalize_file_name("link"));

    T(getxattr("file", "user.none", text, 10));
    T(lgetxattr("none", "user.none", text, 10));
    T(listxattr("file", text, 1000) >= 0);
    T(llistxattr("none", text, 1000));
    T(setxattr("none", "user.x", "y", 1, 0));
    T(lsetxattr("none", "user.x", "y", 1, 0));
    T(removexattr("file", "user.none") < 0);
    T(lremovexattr("none", "user.none"));
    int watch = inotify_init();
    T(inotify_add_watch(watch, "d", IN_CREATE));
    T(inotify_add_watch(watch, "none", IN_CREATE));
    close(watch);

    T(mkfifo("fifo", 0600));
    T(mkfifo("fifo", 0600));
    T(mkfifoat(d, "fifo", 0600));
    T(mknod("node", S_IFREG | 0600, 0));
    T(mknod("node2", S_IFREG | 0600, 1ull << 40));
    T(mknodat(d, "node", S_IFREG | 0600, 0));
    T(link("file", "hard"));
    T(link("none", "hard2"));
    T(link("file", "hard"));
    T(linkat(d, "below", AT_FDCWD, "hard3", 0));
    T(linkat(AT_FDCWD, "dangling", d, "hard4", AT_SYMLINK_FOLLOW));
    T(rename("hard", "renamed"));
    T(rename("none", "renamed"));
    T(renameat(AT_FDCWD, "renamed", d, "moved"));
    T(renameat2(d, "moved", AT_FDCWD, "hard3", RENAME_EXCHANGE));
    T(renameat2(d, "moved", AT_FDCWD, "hard3", RENAME_NOREPLACE));
    T(renameat2(99, "moved", AT_FDCWD, "hard3", 0));
    T(unlink("hard3"));
    T(unlink("none"));
    T(unlink("d"));
    T(unlinkat(d, "moved", 0));
    T(unlinkat(d, "sub", AT_REMOVEDIR));
    T(rmdir("d"));
    T(rmdir("e"));
    T(rmdir("e"));
    T(remove("node"));
    T(mkdir("g", 0755));
    T(remove("g"));
    T(remove("d"));
    T(remove("none"));

    T(chmod("file", 0604));
    T(chmod("none", 0604));
    T(fchmodat(d, "below", 0600, 0));
    f = open("file", O_RDWR);
    T(fchmod(f, 0644));
    T(fchmod(99, 0644));
    T(chown("file", -1, -1));
    T(lchown("dangling", -1, -1));
    T(fchown(f, -1, -1));
    T(fchownat(d, "below", -1, -1, 0));
    T(fchownat(d, "", -1, -1, AT_EMPTY_PATH));
    T(utime("file", NULL));
    T(utimes("none", NULL));
    T(utimensat(d, "below", NULL, 0));
    T(utimensat(AT_FDCWD, nowhere + 0, NULL, 0));
    T(utimensat(d, NULL, NULL, 0));
    T(futimens(f, NULL));
    T(futimens(-1, NULL));
    T(truncate("file", 3));
    T(truncate("file", -1));
    T(truncate("none", 0));
    T(truncate("fresh", 0));

    T(chdir("d"));
    T(stat("below", &st));
    T(chdir("none"));
    T(chdir(".."));
    T(fchdir(d));
    T(stat("below", &st));
    T(fchdir(99));
    T(chdir(".."));
    T(stat("made", &st));

    struct sockaddr_un name = {AF_UNIX, "socket"}, none = {AF_UNIX, "none"}, hidden = {AF_UNIX, "\0hidden"};
    int s = T(socket(AF_UNIX, SOCK_STREAM, 0));
    T(bind(s, (void *)&name, sizeof name));
    T(listen(s, 1));
    int c = socket(AF_UNIX, SOCK_STREAM, 0);
    T(connect(c, (void *)&none, sizeof none));
    T(connect(c, (void *)&hidden, 9));
    T(connect(c, (void *)&name, sizeof name));
    T(connect(c, (void *)&name, 1));
    T(bind(99, (void *)&name, sizeof name));
    T(socket(AF_INET, SOCK_DGRAM, 0) >= 0);
    return 0;
}
