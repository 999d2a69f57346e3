// SPDX-License-Identifier: Apache-2.0
//! Plans in a world in memory.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::Vendor;
use super::plan;
use crate::testing::{Memory, command};
use crate::{Answer, Invocation, Kind, Node, Plan, Question, Role, Verdict, World};

/// A file system in memory with a compiler that tells its directories.
struct Machine(Memory);

impl World for Machine {
    fn node(&self, path: &Path) -> Option<Node> {
        self.0.node(path)
    }

    fn read(&self, path: &Path) -> io::Result<Arc<Vec<u8>>> {
        self.0.read(path)
    }

    fn linked_with(&self, path: &Path) -> Vec<PathBuf> {
        self.0.linked_with(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.0.list(path)
    }

    fn ask(&self, question: &Question) -> io::Result<Arc<Answer>> {
        let has = |word: &str| question.argv.iter().any(|w| w == word);
        let mut answer = Answer::default();
        if has("-v") {
            let own = if has("c++") { " /usr/include/c++/12\n" } else { "" };
            answer.stderr = format!(
                "#include <...> search starts here:\n{own} /usr/lib/gcc/12/include\n /usr/include\nEnd of search list.\n"
            )
            .into_bytes();
        } else if has("-###") {
            let suffix = if question.program.to_string_lossy().contains("mingw") { ".exe" } else { "" };
            answer.stderr =
                format!("COLLECT_GCC_OPTIONS='-o' 'probe'\n /usr/bin/collect2 -o probe{suffix} /dev/null\n")
                    .into_bytes();
        } else if has("-print-search-dirs") {
            answer.stdout = b"install: /usr/lib/gcc/12/\nlibraries: =/usr/lib/gcc/12/:/usr/lib/\n".to_vec();
        } else if has("-Wl,--verbose") {
            answer.stdout = b"SEARCH_DIR(\"=/usr/local/lib\"); SEARCH_DIR(\"/usr/lib\");\n".to_vec();
        }
        Ok(Arc::new(answer))
    }
}

fn memory() -> Memory {
    Memory::with(&[
        "/usr/include/stdio.h",
        "/usr/lib/gcc/12/include/stddef.h",
        "/usr/lib/libm.so",
        "/usr/lib/libz.so",
        "/dev/null",
        "/w/a.o",
        "/w/b.o",
        "/w/o/keep",
        "/w/inc/x.h",
        "/w/libs/libz.a",
        "/w/x.ver",
        "/w/x.ld",
    ])
    .file("/w/a.c", b"#include \"first.h\"\n#include <stdio.h>\n")
    .file("/w/s.s", b"")
    .file("/w/b.cc", b"")
    .file("/w/b.c", b"")
}

fn take(invocation: &Invocation, memory: Memory) -> Plan {
    match plan(Vendor::Gnu, invocation, &Machine(memory)) {
        (_, Verdict::Defer(plan)) => *plan,
        (_, Verdict::Decline(reason)) => panic!("{:?}: {reason}", invocation.argv),
    }
}

fn planned(line: &str) -> Plan {
    take(&command(line), memory())
}

fn refused_in(line: &str, memory: Memory) -> String {
    match plan(Vendor::Gnu, &command(line), &Machine(memory)) {
        (_, Verdict::Decline(reason)) => reason,
        (_, Verdict::Defer(plan)) => panic!("{line} is planned: {plan:?}"),
    }
}

fn inputs(plan: &Plan) -> Vec<&str> {
    plan.inputs.iter().filter_map(|path| path.to_str()).collect()
}

fn outputs(plan: &Plan) -> Vec<&str> {
    plan.outputs.iter().filter_map(|output| output.path.to_str()).collect()
}

fn joined(words: &[OsString]) -> String {
    words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_compile() {
    let plan = planned("gcc -O2 -Wall -DX=1 -Iinc -isystem o -I /usr/include -MMD -MP -c a.c -o o/a.o");
    assert_eq!(inputs(&plan), ["/w/a.c"]);
    assert_eq!(outputs(&plan), ["/w/o/a.o", "/w/o/a.d"]);
    assert_eq!(plan.outputs[1].role, Role::Dependencies);
    assert!(plan.outputs.iter().all(|output| !output.executable));
    let search = plan.includes.unwrap();
    assert_eq!(search.bracket, ["/w/inc"].map(PathBuf::from));
    assert_eq!(search.system, ["/w/o", "/usr/lib/gcc/12/include", "/usr/include"].map(PathBuf::from));
    assert_eq!(joined(&search.ask_compiler), "gcc -O2 -Wall -DX=1 -Iinc -isystem o -I /usr/include a.c -M");
    assert_eq!(
        joined(&search.write_dependencies),
        "gcc -O2 -Wall -DX=1 -Iinc -isystem o -I /usr/include a.c -w -E -o /dev/null -MMD -MP -MQ o/a.o -MF"
    );
    let directories = ["/w/inc", "/w/o", "/usr/include", "/usr/lib/gcc/12/include"].map(PathBuf::from);
    assert_eq!(plan.directories, BTreeSet::from(directories));
}

#[test]
fn commands_that_need_the_same_toolchain_have_the_same_probe() {
    let one = planned("gcc -O2 -g -Wall -DA -Iinc -fPIC -MD -MF o/x.d -c a.c -o o/a.o").probes;
    let two = planned("gcc -O0 -Werror -fno-common -c b.c").probes;
    assert_eq!(one, two);
    assert_eq!(joined(&one[0].argv), "gcc -x c probe.c -c -o probe.o");
    let other = planned("gcc -m32 -fsanitize=address -c b.c").probes;
    assert_eq!(joined(&other[0].argv), "gcc -m32 -fsanitize=address -x c probe.c -c -o probe.o");
    let relative = planned("gcc -Binc/ --sysroot=o -c b.c").probes;
    assert_eq!(joined(&relative[0].argv), "gcc -B/w/inc/ --sysroot=/w/o -x c probe.c -c -o probe.o");
}

#[test]
fn a_link_takes_what_stands_in_its_own_directories_and_leaves_the_rest_to_the_probe() {
    let plan = planned(
        "gcc -O2 -s -o o/prog a.o b.o -Llibs -lz -Wl,-Bstatic -lz -Wl,-Bdynamic -lm -lm -Wl,-Map,o/p.map -Wl,--version-script=x.ver",
    );
    assert_eq!(inputs(&plan), ["/w/a.o", "/w/b.o", "/w/libs/libz.a", "/w/x.ver"]);
    assert_eq!(outputs(&plan), ["/w/o/prog", "/w/o/p.map"]);
    assert!(plan.outputs[0].executable);
    assert_eq!(
        joined(&plan.probes[0].argv),
        "gcc -Wl,--no-as-needed -x assembler probe.s -x none -lm -o probe.out"
    );
    assert!(plan.includes.is_none());
}

#[test]
fn a_version_script_that_the_driver_hands_on_is_no_object() {
    for last in ["-Wl,--version-script x.ver", "-Xlinker --version-script -O2 x.ver"] {
        let plan = planned(&format!("gcc -shared -o x.so a.o -lz -Llibs {last}"));
        assert_eq!(inputs(&plan), ["/w/a.o", "/w/libs/libz.a", "/w/x.ver"]);
    }
}

#[test]
fn the_way_of_looking_for_system_libraries_is_kept() {
    let memory = memory().file("/usr/lib/libq.a", b"!<arch>\n");
    let plan = take(&command("gcc -shared -o x.so a.o -Wl,-Bstatic -lq -Wl,-Bdynamic -lm -flto -O3"), memory);
    assert_eq!(
        joined(&plan.probes[0].argv),
        "gcc -shared -flto -Wl,--no-as-needed -x c probe.c -x none -Wl,-Bstatic -lq -Wl,-Bdynamic -lm -o probe.out"
    );
}

#[test]
fn a_placeholder_in_a_system_directory_is_an_input() {
    let memory = memory().placeholder("/usr/local/lib/libnew.so", &["/w/libs/libz.a"]);
    let plan = take(&command("gcc -o prog a.o -lnew"), memory);
    assert_eq!(inputs(&plan), ["/usr/local/lib/libnew.so", "/w/a.o", "/w/libs/libz.a"]);
}

#[test]
fn several_sources_in_one_command() {
    let plan = planned("gcc -c a.c b.c");
    assert_eq!(outputs(&plan), ["/w/a.o", "/w/b.o"]);
    let plan = planned("g++ b.cc s.s a.o -lm");
    assert_eq!(outputs(&plan), ["/w/a.out"]);
    assert_eq!(inputs(&plan), ["/w/a.o", "/w/b.cc", "/w/s.s"]);
    // Two languages, and the link.
    assert_eq!(plan.probes.len(), 3);
    assert_eq!(plan.includes.unwrap().sources.len(), 2);
}

#[test]
fn programs_and_libraries_for_windows() {
    let memory =
        || memory().file("/w/libs/libx.dll.a", b"").file("/w/libs/libx.a", b"").file("/w/libs/y.dll", b"");
    let planned = |line: &str| take(&command(line), memory());
    for (line, program) in [
        ("mingw-gcc a.o -o prog", "/w/prog.exe"),
        ("mingw-gcc a.o -o o/prog.x", "/w/o/prog.x"),
        ("mingw-gcc -shared a.o -o o/.p", "/w/o/.p"),
        ("mingw-gcc a.o", "/w/a.exe"),
        ("mingw-gcc -c a.c -o o/a", "/w/o/a"),
    ] {
        assert_eq!(outputs(&planned(line)), [program], "{line}");
    }
    let plan = planned("mingw-gcc a.o -o prog -Llibs -lx -ly");
    assert_eq!(inputs(&plan), ["/w/a.o", "/w/libs/libx.dll.a", "/w/libs/y.dll"]);
    let plan = planned("mingw-gcc a.o -o prog -Llibs -Wl,-Bstatic -lx");
    assert_eq!(inputs(&plan), ["/w/a.o", "/w/libs/libx.a"]);
    assert!(refused_in("mingw-gcc -MM a.c -o depend", memory()).contains("suffix of programs"));
    assert_eq!(outputs(&planned("mingw-gcc -MM a.c -o .depend")), ["/w/.depend"]);
    assert_eq!(outputs(&planned("gcc -MM a.c -o depend")), ["/w/depend"]);
    let library = "gcc -shared a.o -o o/x.dll -Wl,--out-implib,o/libx.dll.a -Wl,--major-image-version,0";
    assert_eq!(outputs(&planned(&format!("mingw-{library}"))), ["/w/o/x.dll", "/w/o/libx.dll.a"]);
    assert!(refused_in(library, memory()).contains("import library"));
    assert!(refused_in("mingw-gcc -fstack-usage a.c -o prog", memory()).contains("side outputs"));
}

#[test]
fn the_environment_that_matters() {
    let mut invocation = command("gcc -c a.c");
    for (name, value) in
        [("CPATH", "inc::/x"), ("C_INCLUDE_PATH", "o"), ("HOME", "/root"), ("LIBRARY_PATH", "/l")]
    {
        invocation.env.push(name, value);
    }
    let plan = take(&invocation, memory());
    assert_eq!(plan.environment, ["CPATH", "C_INCLUDE_PATH"]);
    let search = plan.includes.unwrap();
    assert_eq!(search.bracket, ["/w/inc", "/w/", "/x"].map(PathBuf::from));
    assert_eq!(search.system[0], Path::new("/w/o"));
    let mut strange = command("gcc -c a.c");
    strange.env.push("DEPENDENCIES_OUTPUT", "x");
    assert!(matches!(plan_of(&strange), Verdict::Decline(reason) if reason.contains("DEPENDENCIES_OUTPUT")));
    for (name, value, is_declined) in [
        ("PATH", "tools:/usr/bin", true),
        ("PATH", "/usr/bin:", false),
        ("PATH", "/w/tools:none", false),
        ("COMPILER_PATH", "/x:tools", true),
        ("COMPILER_PATH", "none", false),
    ] {
        let mut invocation = command("gcc -c a.c");
        invocation.env.push(name, value);
        let world = Machine(memory().file("/w/tools/as", b"\x7fELF"));
        let (_, verdict) = super::plan(Vendor::Gnu, &invocation, &world);
        assert_eq!(matches!(verdict, Verdict::Decline(_)), is_declined, "{name}={value}");
    }
}

fn plan_of(invocation: &Invocation) -> Verdict {
    plan(Vendor::Gnu, invocation, &Machine(memory())).1
}

#[test]
fn what_the_file_system_forbids() {
    for (line, reason) in [
        ("gcc -c none.c", "/w/none.c does not exist"),
        ("gcc -c a.c -o /dev/null", "output to /dev/null"),
        ("gcc -c a.c -o nodir/a.o", "/w/nodir does not exist"),
        ("gcc -c a.c -o o", "is a directory"),
        ("gcc -E a.c", "standard output"),
        ("gcc -c a.c b.c -o x.o", "several sources"),
        ("gcc -c a.c -o a.c", "writes over"),
        ("gcc a.o -lnone", "-lnone is not found"),
        ("gcc a.o none.o", "/w/none.o does not exist"),
        ("gcc -MD -c a.c b.c", "several sources"),
        ("gcc -c a.o", "no input files"),
        ("gcc --version", "about itself"),
        ("gcc -MM a.c", "standard output"),
        ("gcc -c a.c b.cc", "several languages"),
        ("gcc -c a.c o/../a.c", "twice"),
        // Nothing is made of these, or more than one thing.
        ("gcc -S s.s -o x.s", "nothing is made of it"),
        ("gcc -S -x assembler-with-cpp s.s -o x.s", "nothing is made of it"),
        ("gcc -E s.s -o x.s", "nothing is made of it"),
        ("gcc -E -x cpp-output a.c -o x.i", "nothing is made of it"),
        ("gcc -M -x c++-cpp-output a.c -o x.d", "nothing is made of it"),
        ("gcc -S -x c-header a.c -o x.s", "nothing is made of it"),
    ] {
        let said = refused_in(line, memory());
        assert!(said.contains(reason), "{line}: {said}");
    }
    assert_eq!(plan(Vendor::Gnu, &command("gcc --version"), &Machine(memory())).0, Kind::Query);
    assert_eq!(plan(Vendor::Gnu, &command("gcc -c --what"), &Machine(memory())).0, Kind::Compile);
}

#[test]
fn precompiled_headers_are_inputs_or_a_reason_to_decline() {
    let with = |gch: &str| memory().file(gch, b"gpch");
    // Beside the source's first header, along the search path, and for a forced one.
    let plan = take(&command("gcc -c a.c"), with("/w/first.h.gch"));
    assert_eq!(inputs(&plan), ["/w/a.c", "/w/first.h.gch"]);
    let plan = take(&command("gcc -Iinc -c a.c"), with("/w/inc/first.h.gch"));
    assert_eq!(inputs(&plan), ["/w/a.c", "/w/inc/first.h.gch"]);
    let plan = take(&command("gcc -include inc/x.h -c a.c"), with("/w/inc/x.h.gch"));
    assert_eq!(inputs(&plan), ["/w/a.c", "/w/inc/x.h.gch"]);
    // A directory of them.
    let plan = take(&command("gcc -c a.c"), with("/w/first.h.gch/c"));
    assert_eq!(inputs(&plan), ["/w/a.c", "/w/first.h.gch/c"]);
    let said = refused_in("gcc -c a.c", with("/w/first.h.gch/c").file("/w/first.h.gch/debug", b"gpch"));
    assert!(said.contains("several"), "{said}");
    let (_, verdict) = plan_clang("clang -include inc/x.h -c a.c", with("/w/inc/x.h.pch"));
    assert!(matches!(verdict, Verdict::Decline(reason) if reason.contains("records times")));
}

#[test]
fn preprocessed_text_whose_sources_are_quoted() {
    let memory = || memory().file("/w/a.i", b"# 1 \"a.c\"\n");
    assert_eq!(inputs(&take(&command("gcc -fverbose-asm -c a.i"), memory())), ["/w/a.i"]);
    let said = refused_in("gcc -fverbose-asm -S a.i", memory());
    assert!(said.contains("-fverbose-asm"), "{said}");
    take(&command("gcc -fverbose-asm -S a.c"), memory());
}

#[test]
fn variables_that_matter() {
    let variables = |line: &str, names: &[&str]| {
        let mut invocation = command(line);
        invocation.env = names.iter().map(|name| (*name, "x")).collect();
        take(&invocation, memory()).environment
    };
    let names = ["GCC_ROOT", "COLLECT_NO_DEMANGLE", "GCC_COLORS", "GCC_EXTRA_DIAGNOSTIC_OUTPUT", "HOME"];
    assert_eq!(variables("gcc -c a.c", &names), ["GCC_EXTRA_DIAGNOSTIC_OUTPUT", "GCC_ROOT"]);
    assert_eq!(variables("gcc a.o", &names), ["COLLECT_NO_DEMANGLE", "GCC_ROOT"]);
    // Who has asked for no colours has none.
    assert!(variables("gcc -fdiagnostics-color=always -c a.c", &names).contains(&"GCC_COLORS"));
    let mut invocation = command("clang -target x86_64-apple-darwin -c a.c");
    invocation.env.push("MACOSX_DEPLOYMENT_TARGET", "10.13");
    let (_, verdict) = plan(Vendor::Clang, &invocation, &Machine(memory()));
    let Verdict::Defer(plan) = verdict else { panic!("{verdict:?}") };
    assert_eq!(plan.environment, ["MACOSX_DEPLOYMENT_TARGET"]);
    assert!(plan.probes[0].env.iter().any(|(name, _)| name == "MACOSX_DEPLOYMENT_TARGET"));
}

fn plan_clang(line: &str, memory: Memory) -> (Kind, Verdict) {
    plan(Vendor::Clang, &command(line), &Machine(memory))
}

#[test]
fn scripts_and_what_they_name_are_inputs() {
    let memory = memory()
        .file("/w/libs/fw.ld", b"INCLUDE regions.ld\nINPUT(b.o)\nSECTIONS { .text : { *(.text) } }\n")
        .file("/w/libs/regions.ld", b"MEMORY { ram : ORIGIN = 0, LENGTH = 1 }\n");
    let plan = take(&command("gcc -nostdlib -T fw.ld -Llibs a.o -o fw -Wl,--dynamic-list=x.ver"), memory);
    let want = ["/w/a.o", "/w/b.o", "/w/libs/fw.ld", "/w/libs/regions.ld", "/w/x.ver"];
    assert_eq!(inputs(&plan), want);
    assert_eq!(
        joined(&plan.probes[0].argv),
        "gcc -nostdlib -Wl,--no-as-needed -x assembler probe.s -x none -o probe.out"
    );
}

#[test]
fn a_dependency_file_beside_a_precompiled_header() {
    let plan = take(&command("gcc -MD -c a.c"), memory().file("/w/first.h.gch", b"gpch"));
    let command = joined(&plan.includes.unwrap().write_dependencies);
    assert!(command.starts_with("gcc -fpch-preprocess "), "{command}");
}

#[test]
fn side_outputs_that_cannot_be_foretold() {
    for line in ["gcc -flto -g -gsplit-dwarf a.o", "gcc --coverage a.c", "gcc --coverage a.c -o o/a"] {
        assert!(refused_in(line, memory()).contains("side outputs"), "{line}");
    }
    // An older one stays.
    let with_older = || memory().file("/w/a.su", b"");
    assert_eq!(refused_in("gcc -flto -fstack-usage -c a.c", with_older()), "/w/a.su may stay as it is");
    assert_eq!(outputs(&take(&command("gcc -fstack-usage -c a.c"), with_older())), ["/w/a.o", "/w/a.su"]);
    assert_eq!(outputs(&planned("gcc -flto -fstack-usage -c a.c")), ["/w/a.o", "/w/a.su"]);
}

#[test]
fn response_files_and_files_that_options_name_are_inputs() {
    let memory = memory()
        .file("/w/args", b"-Iinc -fprofile-use=prof.gcda -c")
        .file("/w/prof.gcda", b"x")
        .file("/w/plug.so", b"x");
    let plan = take(&command("gcc @args a.c -fplugin=plug.so"), memory);
    assert_eq!(inputs(&plan), ["/w/a.c", "/w/args", "/w/plug.so", "/w/prof.gcda"]);
    assert_eq!(joined(&plan.probes[0].argv), "gcc -fplugin=/w/plug.so -x c probe.c -c -o probe.o");
}
