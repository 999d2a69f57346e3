// SPDX-License-Identifier: Apache-2.0
//! Commands in sandboxes, seen from both sides: each case runs in a process of its own (a process enters a sandbox with
//! one thread only), as the user who tests, and where that is root as an ordinary user and as root in a chroot, too. The commands are
//! this same program, called with `--inside ACTION`.

mod inside {
    pub mod cases;
    pub mod commands;
    pub mod space;
}

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use inside::cases::CASES;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    match args.get(1).and_then(|a| a.to_str()) {
        Some("--inside") => inside::commands::run(&args[2..]),
        Some("--case") => {
            let name = args[2].to_str().expect("a case's name");
            CASES.iter().find(|(n, _)| *n == name).expect("a case").1();
            ExitCode::SUCCESS
        }
        Some("--list") => {
            CASES.iter().for_each(|(name, _)| println!("{name}: test"));
            ExitCode::SUCCESS
        }
        filter => run_all(filter.filter(|f| !f.starts_with('-')).unwrap_or("")),
    }
}

/// Runs the program in a plain directory as its root, in which the machine's programs and the test's space are mounted.
const CHROOT: &str = "\
    space=$1 scratch=$2; shift 2
    root=$scratch/root; mkdir $root; cd $root
    for name in bin etc lib lib32 lib64 sbin usr proc dev; do
        if [ -L /$name ]; then cp -P /$name .; elif [ -d /$name ]; then mkdir $name; mount --rbind /$name $name; fi
    done
    mkdir -p .$space; mount --bind $space .$space
    exec chroot . env --chdir=$scratch GG_TEST_CHROOT=1 \"$@\"";

fn run_all(filter: &str) -> ExitCode {
    let space = tempfile::tempdir().expect("a temporary directory");
    let everybody = |path: &Path, mode| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("chmod");
    };
    everybody(space.path(), 0o755);
    // Where the ordinary user can reach it, and under a path that no build directory's name is part of.
    let program = space.path().join("program");
    std::fs::copy(std::env::current_exe().expect("own path"), &program).expect("copy of this program");
    everybody(&program, 0o755);
    let root = std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0);
    let users: &[&str] = if root { &["root", "nobody", "chroot"] } else { &["user"] };
    let mut failed = 0;
    for user in users {
        for (name, _) in CASES.iter().filter(|(name, _)| name.contains(filter)) {
            let scratch = space.path().join(format!("{user}-{name}"));
            std::fs::create_dir(&scratch).expect("mkdir");
            everybody(&scratch, 0o777);
            let mut command = if *user == "nobody" {
                let mut command = Command::new("setpriv");
                command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
                command
            } else if *user == "chroot" {
                let mut command = Command::new("unshare");
                command
                    .args(["--mount", "sh", "-ec", CHROOT, "sh"])
                    .arg(space.path())
                    .arg(&scratch)
                    .arg(&program);
                command
            } else {
                Command::new(&program)
            };
            command.args(["--case", name]).env("TMPDIR", &scratch).current_dir(&scratch);
            let output = command.output().expect("the case's process");
            let verdict = if output.status.success() { "ok" } else { "FAILED" };
            println!("test {name} ({user}) ... {verdict}");
            if !output.status.success() {
                failed += 1;
                println!("{}{}", output.status, String::from_utf8_lossy(&output.stdout));
                println!("{}", String::from_utf8_lossy(&output.stderr));
            }
        }
    }
    println!("{failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
