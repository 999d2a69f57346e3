// SPDX-License-Identifier: Apache-2.0
//! A client's command that wants more from a worker host than its inputs: other files, other processes' environment,
//! the network, local servers. The same program, run where nothing holds it back, gets all of it, so each attempt is
//! one that could succeed.

use std::fs;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};

use tests::{Forced, Running, TestSpace};
use thunk::Input;

use crate::hostile::{plant, recorded, scripted, store};
use crate::remote::Host;

/// `probe SECRET OUTSIDE PORT OUT NAME`: prints a word for each thing that it could do.
const PROBE: &str = r#"
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static char buffer[1 << 20];

static int holds(int fd) {
    if (fd < 0) return 0;
    ssize_t got = read(fd, buffer, sizeof buffer);
    close(fd);
    return got > 0 && memmem(buffer, got, "hunter2", 7) != NULL;
}

int main(int n, char **v) {
    FILE *out = fopen(v[4], "w");
    char path[4096];
    if (holds(open(v[1], O_RDONLY))) fputs("read ", out);
    snprintf(path, sizeof path, "/../../../../../..%s", v[1]);
    if (holds(open(path, O_RDONLY))) fputs("climbed ", out);
    unlink("link");
    if (symlink(v[1], "link") == 0 && holds(open("link", O_RDONLY))) fputs("followed ", out);
    unlink("link");
    snprintf(path, sizeof path, "/proc/self/root%s", v[1]);
    if (holds(open(path, O_RDONLY))) fputs("root ", out);
    snprintf(path, sizeof path, "%s/escaped", v[2]);
    int written = open(path, O_WRONLY | O_CREAT, 0644);
    if (written >= 0) fputs("wrote ", out);
    DIR *proc = opendir("/proc");
    int environ = 0, image = 0;
    for (struct dirent *entry; proc && (entry = readdir(proc));) {
        if (strspn(entry->d_name, "0123456789") == 0) continue;
        snprintf(path, sizeof path, "/proc/%s/environ", entry->d_name);
        environ |= holds(open(path, O_RDONLY));
        snprintf(path, sizeof path, "/proc/%s/root%s", entry->d_name, v[1]);
        image |= holds(open(path, O_RDONLY));
    }
    if (environ) fputs("environ ", out);
    if (image) fputs("image ", out);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(v[3])), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    if (connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&to, sizeof to) == 0) fputs("connected ", out);
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    size_t length = strlen(v[5]);
    memcpy(local.sun_path + 1, v[5], length);
    if (connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&local, sizeof(sa_family_t) + 1 + length) == 0) fputs("met ", out);
    if (holds(syscall(SYS_openat, AT_FDCWD, v[1], O_RDONLY))) fputs("syscall ", out);
    long by_hand;
    __asm__ volatile("syscall" : "=a"(by_hand) : "0"((long)SYS_open), "D"(v[1]), "S"((long)O_RDONLY), "d"(0L) : "rcx", "r11", "memory");
    if (holds((int)by_hand)) fputs("instruction ", out);
    fputs("done", out);
    return 0;
}
"#;

/// A worker's machine, and the program that looks around on it.
pub struct Machine {
    probe: PathBuf,
    outside: PathBuf,
    network: TcpListener,
    /// The abstract name at which this one listens.
    name: String,
    _local: UnixListener,
}

impl Machine {
    /// The one that this space is on, in which something was recorded.
    pub fn new(space: &TestSpace) -> Self {
        let outside = space.outside().join("private");
        fs::create_dir(&outside).expect("our own directory");
        fs::write(outside.join("secret"), "hunter2").expect("our own directory");
        space.write("probe.c", PROBE);
        space.run(&["gcc", "-D_GNU_SOURCE", "-include", "stdlib.h", "-o", "probe", "probe.c"]).ok();
        let network = TcpListener::bind("127.0.0.1:0").expect("this machine has free ports");
        let name = format!("gg-{}", outside.display());
        let address = SocketAddr::from_abstract_name(&name).expect("short paths");
        let local = UnixListener::bind_addr(&address).expect("nobody else has this name");
        Self { probe: space.path("probe"), outside, network, name, _local: local }
    }

    fn arguments(&self, out: &Path) -> Vec<String> {
        let secret = self.outside.join("secret");
        let port = self.network.local_addr().expect("it is bound").port().to_string();
        let text = |path: &Path| path.to_str().expect("our own names").to_owned();
        vec![text(&self.probe), text(&secret), text(&self.outside), port, text(out), self.name.clone()]
    }

    /// What the program gets of it where nothing holds it back.
    fn bare(&self, space: &TestSpace) -> String {
        let mut command = space.command(&self.probe);
        command.args(&self.arguments(&space.path("bare"))[1..]).env("SECRET", "hunter2");
        assert!(command.status().expect("it starts").success());
        fs::remove_file(self.outside.join("escaped")).expect("it was written");
        String::from_utf8_lossy(&space.read("bare")).into_owned()
    }

    /// Makes `out.txt` stand for what it gets as a thunk.
    pub fn plant(&self, space: &TestSpace) {
        let out = space.path("out.txt");
        let mut thunk = scripted(space, "", &out);
        let (value, _) = store(space).put_file(&self.probe).expect("readable");
        thunk.function = Some(value);
        thunk.executables.push(Input { path: self.probe.clone(), value });
        thunk.program = Some(self.probe.clone());
        thunk.args = self.arguments(&out).into_iter().map(Into::into).collect();
        plant(space, "out.txt", &thunk);
    }

    /// What it got as a thunk that was forced. Nothing of what it wrote is left.
    pub fn got(&self, space: &TestSpace) -> String {
        assert!(!self.outside.join("escaped").exists());
        String::from_utf8_lossy(&space.read("out.txt")).into_owned()
    }

    /// What it gets on a worker host with a secret in its environment.
    fn on_host(&self, space: &TestSpace, manner: Option<&str>) -> String {
        self.plant(space);
        let mut command = space.command(TestSpace::program("ggforce"));
        command.env("SECRET", "hunter2");
        if let Some(manner) = manner {
            command.env("GG_MANNER", manner);
        }
        let host = Host::start_as(command, space, "host", &[]);
        let ran = space.ggforce(&["-e", &host.engine(), "out.txt"]).ok();
        assert_eq!(Forced::of(&ran).run, 1, "{ran}");
        self.got(space)
    }
}

#[test]
fn a_thunk_gets_nothing_of_a_worker_but_its_inputs() {
    let space = recorded();
    let machine = Machine::new(&space);
    let bare = machine.bare(&space);
    assert_eq!(bare, "read climbed followed root wrote environ image connected met syscall instruction done");
    assert_eq!(machine.on_host(&space, None), "done");
}

/// A translation of paths is no jail, and says so in ARCHITECTURE.md: a file that an instruction of the program's own opens is there.
#[test]
fn a_thunk_gets_no_file_by_name_and_no_network_where_paths_are_translated() {
    let space = recorded();
    let machine = Machine::new(&space);
    assert_eq!(machine.on_host(&space, Some("translated")), BY_HAND);
}

/// A program that executes `program` with its own arguments, on a kernel that takes no seccomp filters, as it seems from there.
pub fn without_filters(space: &TestSpace, program: &Path) -> PathBuf {
    let source = r#"
        #include <errno.h>
        #include <linux/filter.h>
        #include <linux/seccomp.h>
        #include <stddef.h>
        #include <sys/prctl.h>
        #include <sys/syscall.h>
        #include <unistd.h>
        int main(int n, char **v) {
            struct sock_filter code[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_seccomp, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
            };
            struct sock_fprog all = {4, code};
            if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &all)) return 1;
            execv(PROGRAM, v);
            return 1;
        }"#;
    let made = space.outside().join("without-filters");
    let (text, name) = (made.with_extension("c"), format!(r#"-DPROGRAM="{}""#, program.display()));
    fs::write(&text, source).expect("our own directory");
    let args = ["gcc".as_ref(), "-o".as_ref(), made.as_os_str(), name.as_ref(), text.as_os_str()];
    space.run(&args).ok();
    made
}

/// Commands would have the machine's network: it says so before anybody sends it any.
#[test]
fn a_host_that_cannot_take_the_network_away_does_not_listen() {
    let space = recorded();
    let program = TestSpace::program("ggforce");
    let mut command = space.command(without_filters(&space, &program));
    command.env("GG_MANNER", "translated").args(["worker", "--listen", "127.0.0.1:0", "--cache"]);
    command.arg(space.outside().join("host"));
    let ran = Running::start(command, b"").wait().fails().says("a kernel that takes seccomp filters");
    assert_eq!((ran.err().lines().count(), ran.out()), (1, String::new()), "{ran}");
    // Nor does an engine try it again and again.
    let mut command = space.command(without_filters(&space, &program));
    command.args(["--manner", "translated", "a.o"]);
    let ran = Running::start(command, b"").wait().fails().says("a kernel that takes seccomp filters");
    assert!(!ran.err().contains("1 running"), "it was waited for: {ran}");
    assert!(space.is_placeholder("a.o"));
}

/// What is left to a program where paths are translated.
pub const BY_HAND: &str = "instruction done";
