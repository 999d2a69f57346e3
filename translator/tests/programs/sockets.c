// SPDX-License-Identifier: Apache-2.0
// Makes local sockets, and looks for others' by their abstract name: sockets NAME. What listens there is a stream; at NAME with a d behind it, datagrams.
#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static struct sockaddr_un address;

static socklen_t abstract(const char *name) {
    memset(&address, 0, sizeof address);
    address.sun_family = AF_UNIX;
    memcpy(address.sun_path + 1, name, strlen(name));
    return offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name);
}

static void said(const char *what, long result) { printf("%s: %s\n", what, result >= 0 ? "yes" : "no"); }

static int new(int kind) { return socket(AF_UNIX, kind, 0); }

// A server of its own that it meets again.
static void own(const char *what, socklen_t length, int asked) {
    int server = new(SOCK_STREAM), client = new(SOCK_STREAM);
    int bound = bind(server, (void *)&address, length);
    if (bound < 0 || listen(server, 1) < 0) return said(what, -1);
    if (asked) {
        length = sizeof address;
        getsockname(server, (void *)&address, &length);
    }
    if (connect(client, (void *)&address, length) < 0) return said(what, -1);
    char byte = 0;
    int accepted = accept(server, NULL, NULL);
    if (write(client, "x", 1) != 1 || read(accepted, &byte, 1) != 1) return said(what, -1);
    said(what, byte == 'x' ? 0 : -1);
}

int main(int argc, char **argv) {
    char name[64];
    int pair[2];
    setvbuf(stdout, NULL, _IONBF, 0);
    said("pair", socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    own("own", abstract("own"), 0);
    own("own, asked for", abstract("other"), 1);
    abstract("padded");
    own("own, padded", sizeof address, 0);
    address.sun_family = AF_UNIX;
    own("any", sizeof(sa_family_t), 1);
    memset(&address, 0, sizeof address);
    address.sun_family = AF_UNIX;
    strcpy(address.sun_path, argv[2]);
    own("path", sizeof address, 0);
    own("path, asked for", (unlink(argv[2]), sizeof address), 1);

    socklen_t length = abstract(argv[1]);
    said("others'", connect(new(SOCK_STREAM), (void *)&address, length));
    said("others' by syscall", syscall(SYS_connect, new(SOCK_STREAM), &address, length));
    snprintf(name, sizeof name, "%sd", argv[1]);
    length = abstract(name);
    struct iovec text = {"x", 1};
    struct mmsghdr message = {{&address, length, &text, 1}};
    int datagrams = new(SOCK_DGRAM);
    said("others' sendto", sendto(datagrams, "x", 1, 0, (void *)&address, length));
    said("others' sendmsg", sendmsg(datagrams, &message.msg_hdr, 0));
    said("others' sendmmsg", sendmmsg(datagrams, &message, 1, 0));
    said("others' by syscall, sendto", syscall(SYS_sendto, datagrams, "x", 1, 0, &address, length));
    said("others' by syscall, sendmsg", syscall(SYS_sendmsg, datagrams, &message.msg_hdr, 0));
    return 0;
}
