// SPDX-License-Identifier: Apache-2.0
//! What builds do to the environment and to processes: the recorder stays with them.

use std::fs;

use tests::TestSpace;

fn space() -> TestSpace {
    TestSpace::with(&[("a.c", "int a = 1;\n"), ("b.c", "int b = 2;\n")])
}

#[test]
fn an_emptied_environment() {
    space().script_same_as_plain("env -i /usr/bin/gcc -c a.c; env -i PATH=\"$PATH\" sh -c 'gcc -c b.c'; env -u LD_PRELOAD -u GG_DIR gcc -c a.c -o c.o", 3);
}

#[test]
fn a_preload_list_that_is_changed() {
    let library = ["/lib/x86_64-linux-gnu/libm.so.6", "/usr/lib/x86_64-linux-gnu/libm.so.6"]
        .into_iter()
        .find(|p| fs::exists(p).is_ok_and(|b| b));
    let library = library.expect("libm is somewhere");
    space().script_same_as_plain(
        &format!("LD_PRELOAD= gcc -c a.c; LD_PRELOAD={library} gcc -c b.c; unset LD_PRELOAD; gcc -c a.c -o c.o; export LD_PRELOAD={library}; sh -c 'gcc -c b.c -o d.o'"),
        4,
    );
}

#[test]
fn a_preloaded_library_that_tells_another_time() {
    let space = space();
    space.write("time.c", "long time(long *at) { return at ? *at = 86400 : 86400; }\n");
    space.write("date.c", "char date[] = __DATE__;\n");
    space.script_same_as_plain(
        "gcc -shared -fPIC -w time.c -o time.so; LD_PRELOAD=$PWD/time.so gcc -c date.c; strings date.o | grep 1970
         LD_PRELOAD=time.so LD_LIBRARY_PATH=. gcc -c date.c -o b.o; LD_PRELOAD=./time.so sh -c 'gcc -c date.c -o c.o'",
        1,
    );
}

#[test]
fn parts_of_the_compiler_that_the_build_makes_anew() {
    space().script_same_as_plain(
        "mkdir t; assembler() { printf '#!/bin/sh\\nexec /usr/bin/as --defsym MARK=%s \"$@\"\\n' $1 >t/as; chmod 755 t/as; }
         assembler 1; gcc -B$PWD/t/ -c a.c -o a1.o; PATH=$PWD/t:$PATH gcc -c a.c -o b1.o
         assembler 2; gcc -B$PWD/t/ -c a.c -o a2.o; PATH=$PWD/t:$PATH gcc -c a.c -o b2.o
         mv t u; mkdir t; gcc -B$PWD/t/ -c a.c -o a3.o; PATH=$PWD/t:$PATH gcc -c a.c -o b3.o",
        6,
    );
}

#[test]
fn a_system_root_that_is_filled_while_the_build_goes_on() {
    let space = space();
    space.write("s.c", "#include <s.h>\n");
    space.script_same_as_plain(
        "mkdir -p root t; gcc --sysroot=$PWD/root -c a.c; gcc -g3 -B$PWD/t/ -c a.c -o t1.o
         mkdir -p root/usr/include; echo 'int s = 1;' >root/usr/include/s.h; gcc --sysroot=$PWD/root -c s.c -o s1.o
         mkdir -p root/usr/local/include; echo 'int s = 2;' >root/usr/local/include/s.h; gcc --sysroot=$PWD/root -c s.c -o s2.o
         rm -r root/usr/local; gcc --sysroot=$PWD/root -c s.c -o s3.o; echo 'int s = 4;' >root/usr/include/s.h
         printf '*cpp:\\n+ -DSPECS=2\\n\\n' >t/specs; gcc -g3 -B$PWD/t/ -c a.c -o t2.o; rm t/specs; gcc -g3 -B$PWD/t/ -c a.c -o t3.o",
        6,
    );
}

#[test]
fn what_the_build_sees_of_the_recorder() {
    // A build that prints or keeps its environment must not keep what belongs to the recorder from being found; but
    // what it asks for by name is the same.
    let space = space();
    let seen = space
        .script_same_as_plain("echo \"$PATH:$HOME:$PWD:$LC_ALL:$0:$#\"; ulimit -n; umask; pwd -P; nproc", 0);
    assert!(seen.plain.out().contains("C.UTF-8"));
}

#[test]
fn every_way_to_start_a_process() {
    for script in [
        "perl -e 'system(\"gcc\", \"-c\", \"a.c\") == 0 or die'",
        "perl -e 'system(\"gcc -c a.c && true\") == 0 or die'",
        "perl -e 'exec \"gcc\", \"-c\", \"a.c\"'",
        "python3 -c 'import subprocess; subprocess.check_call([\"gcc\", \"-c\", \"a.c\"])'",
        "python3 -c 'import subprocess; subprocess.check_call([\"gcc\", \"-c\", \"a.c\"], close_fds=False)'",
        "python3 -c 'import os; os.system(\"gcc -c a.c\")'",
        "python3 -c 'import os; os.waitpid(os.posix_spawnp(\"gcc\", [\"gcc\", \"-c\", \"a.c\"], os.environ), 0)'",
        "python3 -c 'import os; os.execvpe(\"gcc\", [\"gcc\", \"-c\", \"a.c\"], {\"PATH\": \"/usr/bin\"})'",
        "python3 -c 'import subprocess; subprocess.check_call([\"gcc\", \"-c\", \"a.c\"], env={\"PATH\": \"/usr/bin:/bin\"})'",
        "find . -name a.c -exec gcc -c {} +",
        "echo a.c | xargs gcc -c",
        "nice gcc -c a.c",
        "nohup gcc -c a.c",
        "timeout 100 gcc -c a.c",
        "setsid -w gcc -c a.c",
        "env X=1 gcc -c a.c",
        "(exec gcc -c a.c)",
        "nice env gcc -c a.c",
        "make -s a.o",
        "awk 'BEGIN { exit system(\"gcc -c a.c\") }'",
        "echo 'a.o:; gcc -c a.c' | make -s -f -",
    ] {
        space().script_same_as_plain(script, 1);
    }
}

#[test]
fn a_static_launcher() {
    let space = space();
    space.write(
        "launch.c",
        "#include <unistd.h>\nint main(int c, char **v) { return execvp(v[1], v + 1); }\n",
    );
    space.sh("gcc -static -o launch launch.c").ok();
    space.script_same_as_plain(
        "./launch gcc -c a.c; ./launch ./launch gcc -c b.c; gcc -r -nostdlib -o ab.o a.o b.o",
        1,
    );
}

#[test]
fn a_program_with_threads_that_start_compilers() {
    let space = space();
    space.write(
        "spawn.py",
        "import subprocess, threading\n\
         def run(i):\n    for n in range(4):\n        subprocess.check_call(['gcc', '-c', 'a.c', '-o', f'a{i}.{n}.o'])\n\
         threads = [threading.Thread(target=run, args=(i,)) for i in range(8)]\n\
         [t.start() for t in threads]\n[t.join() for t in threads]\n",
    );
    space.script_same_as_plain("python3 spawn.py", 32);
}

#[test]
fn secrets_stay_out_of_the_store() {
    let mut space = space();
    space.set("AWS_SECRET_ACCESS_KEY", "hunter2-aws");
    space.set("NPM_TOKEN", "hunter2-token");
    space.set("DB_PASSWORD", "hunter2-password");
    space.ggtrace_sh("gcc -c a.c; ./no-such-program || true; sh -c 'gcc -c b.c'; cat a.o > copy").ok();
    space.force_all();
    let mut left = vec![space.store()];
    let mut files = 0;
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(&path).expect("the store is ours").map(|e| e.expect("an entry").path()));
        } else if path.is_file() {
            files += 1;
            let content = fs::read(&path).expect("the store is ours");
            assert!(!content.windows(7).any(|w| w == b"hunter2"), "{} holds a secret", path.display());
        }
    }
    assert!(files > 3, "a store of {files} files proves nothing");
}

#[test]
fn descriptors_of_the_build_are_its_own() {
    // As make's job server and configure's log have them.
    space().script_same_as_plain(
        "exec 3>three 5>five 9>nine; gcc -c a.c; echo a >&3; echo b >&5; echo c >&9; gcc -c b.c 3>&-; sh -c 'echo d >&9'; ls /proc/self/fd | wc -l",
        2,
    );
}

#[test]
fn a_command_with_mounts_of_its_own_sees_its_own_files() {
    let space = space();
    space.write("other/main.c", "int other(void) { return 0; }\n");
    space.write("one/main.c", "int one(void) { return 0; }\n");
    space.sh("mkdir o seen").ok();
    space.script_same_as_plain(
        "gcc -g -c one/main.c -o o/main.o
         unshare -r -m sh -ec 'mount --bind other one; gcc -c one/main.c -o a.o; mount --bind o seen; cksum <seen/main.o; gcc -c one/main.c -o seen/b.o'
         unshare -r -p -f gcc -c one/main.c -o c.o; cksum a.o o/main.o",
        2,
    );
}

/// Maps and messages are as the variables say that the tools themselves ask for.
#[test]
fn variables_of_the_compiler_and_the_linker() {
    let space = space();
    space.write("c.cc", "struct S { S(); }; S::S() {} int main() { S s; }\n");
    space.write("w.c", "int f(int x) { if (x = 1) return 2; return 1; }\n");
    space.script_same_as_plain(
        "g++ -c c.cc; COLLECT_NO_DEMANGLE=1 g++ c.o -o c -Wl,-Map=c.map; g++ c.o -o d -Wl,-Map=d.map",
        3,
    );
    space.ggtrace_sh("GCC_COLORS='warning=01;33' gcc -fdiagnostics-color=always -Wall -c w.c").ok();
    let forced = space.ggforce(&[]);
    assert!(forced.err().contains("\u{1b}[01;33m"), "{forced}");
}
