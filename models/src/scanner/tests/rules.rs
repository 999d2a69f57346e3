// SPDX-License-Identifier: Apache-2.0
//! Search rules, one by one.

use super::*;
use crate::scanner::Why;

#[test]
fn quotes_begin_beside_the_including_file() {
    let files = [
        ("/w/a.c", "#include \"d/b.h\"\n#include <c.h>\n"),
        ("/w/c.h", ""),
        ("/w/d/b.h", "#include \"c.h\"\n#include <sys/d.h>\n"),
        ("/w/d/c.h", ""),
        ("/i/c.h", ""),
        ("/j/c.h", ""),
        ("/j/sys/d.h", ""),
    ];
    let expected = ["/w/a.c", "/w/d/b.h", "/w/d/c.h", "/i/c.h", "/j/sys/d.h"];
    assert_eq!(found(&files, &search(&["/i", "/missing", "/j"])), expected);
}

#[test]
fn the_order_is_quote_bracket_system_after() {
    let all = ["/q", "/b", "/s", "/z"];
    for (n, dir) in all.iter().enumerate() {
        let mut files = vec![("/w/a.c".to_owned(), "#include \"x.h\"\n#include <y.h>\n".to_owned())];
        for dir in &all[n..] {
            files.push((format!("{dir}/x.h"), String::new()));
            files.push((format!("{dir}/y.h"), String::new()));
        }
        let files: Vec<_> = files.iter().map(|(p, t)| (p.as_str(), t.as_str())).collect();
        let search = IncludeSearch {
            quote: paths(&["/q"]),
            system: paths(&["/s"]),
            after: paths(&["/z"]),
            ..search(&["/b"])
        };
        // Angle brackets do not look into -iquote directories.
        let angle = if n == 0 { "/b" } else { dir };
        assert_eq!(found(&files, &search), ["/w/a.c", &format!("{dir}/x.h"), &format!("{angle}/y.h")]);
    }
}

#[test]
fn a_directory_is_no_header() {
    let files = [("/w/a.c", "#include <x>\n"), ("/i/x/y", ""), ("/j/x", "")];
    assert_eq!(found(&files, &search(&["/i", "/j"])), ["/w/a.c", "/j/x"]);
}

#[test]
fn include_next_takes_all_matches() {
    let files =
        [("/w/a.c", "#include <l.h>\n"), ("/i/l.h", "#include_next <l.h>\n"), ("/j/l.h", ""), ("/k/l.h", "")];
    assert_eq!(found(&files, &search(&["/i", "/j", "/k"])), ["/w/a.c", "/i/l.h", "/j/l.h", "/k/l.h"]);
}

#[test]
fn a_directory_that_comes_twice_does_not_end_the_search() {
    // gcc ignores an -I directory that is a system directory too: then /j/x.h is the one.
    let fake = Fake::with(&[("/w/a.c", "#include <x.h>\n"), ("/usr/x.h", ""), ("/j/x.h", "")]);
    fake.link("/alias", "/usr");
    let search = IncludeSearch { system: paths(&["/usr"]), ..search(&["/alias", "/j"]) };
    assert_eq!(names(&scan(&fake, &search).unwrap()), ["/w/a.c", "/alias/x.h", "/j/x.h"]);
}

#[test]
fn forced_headers_begin_in_the_working_directory() {
    let files =
        [("/w/a.c", ""), ("/w/f.h", "#include \"g.h\"\n"), ("/w/g.h", ""), ("/i/f.h", ""), ("/i/h.h", "")];
    let search = IncludeSearch { forced: paths(&["f.h", "h.h", "/i/f.h"]), ..search(&["/i"]) };
    assert_eq!(found(&files, &search), ["/w/a.c", "/w/f.h", "/w/g.h", "/i/h.h", "/i/f.h"]);
}

#[test]
fn precompiled_headers_stand_beside_headers() {
    let files = [
        ("/w/a.c", "#include \"all.h\"\n"),
        ("/w/all.h", "#include \"in.h\"\n"),
        ("/w/all.h.gch", "binary"),
        ("/w/in.h", ""),
        ("/w/in.h.gch", "cannot be used from here"),
        ("/w/f.h", ""),
        ("/w/f.h.gch/c", ""),
        ("/w/f.h.gch/c++", ""),
    ];
    let search = IncludeSearch { forced: paths(&["f.h"]), ..search(&[]) };
    let expected =
        ["/w/a.c", "/w/f.h", "/w/all.h", "/w/in.h", "/w/f.h.gch/c", "/w/f.h.gch/c++", "/w/all.h.gch"];
    assert_eq!(found(&files, &search), expected);
}

#[test]
fn what_is_tested_for_counts_but_leads_nowhere() {
    let files = [
        (
            "/w/a.c",
            "#if defined(__has_include) && __has_include(<t.h>)\n#endif\n\
             #define HAVE(x) __has_include(x)\n#if HAVE(\"u.h\") || HAVE( <v//w.h> )\n#endif\n\
             #ifdef X\n#elif __has_include(NAME)\n#endif\n#define NAME <n.h>\n\
             #embed \"d.bin\" limit(4)\n#pragma GCC dependency \"p.y\"\n_Pragma(\"GCC dependency \\\"q.y\\\" old\")\n",
        ),
        ("/i/t.h", "#include <never.h>\n"),
        ("/i/never.h", ""),
        ("/w/u.h", ""),
        ("/i/v/w.h", ""),
        ("/i/n.h", ""),
        ("/w/d.bin", "#include <never.h>\n"),
        ("/w/p.y", ""),
        ("/w/q.y", ""),
    ];
    let expected = ["/w/a.c", "/i/t.h", "/i/n.h", "/w/u.h", "/w/d.bin", "/w/p.y", "/w/q.y", "/i/v/w.h"];
    assert_eq!(found(&files, &search(&["/i"])), expected);
}

#[test]
fn computed_names_follow_all_definitions() {
    let files = [
        (
            "/w/a.c",
            "#include \"config.h\"\n#include CONFIG\n#include FROM_OPTION\n#include NOWHERE\n#include NOT(x)\n",
        ),
        (
            "/w/config.h",
            "#ifdef A\n#define CONFIG \"one.h\"\n#else\n# define CONFIG CHAIN /* c */\n#endif\n#define CHAIN <two.h>\n",
        ),
        ("/w/one.h", "#define CHAIN \"three.h\"\n"),
        ("/i/two.h", ""),
        ("/w/three.h", ""),
        ("/i/o.h", ""),
    ];
    let search = IncludeSearch { defines: vec!["FROM_OPTION=<o.h>".into()], ..search(&["/i"]) };
    let mut all = found(&files, &search);
    all.sort();
    assert_eq!(all, ["/i/o.h", "/i/two.h", "/w/a.c", "/w/config.h", "/w/one.h", "/w/three.h"]);
}

#[test]
fn macros_with_parameters_are_for_the_compiler() {
    let cases = [
        ("\n#include STR(x.h)\n#define STR(x) #x\n", 2),
        ("#define F(x) <x>\n#define G F(y.h)\n#include G\n", 3),
        ("#define DIR sys\n#define H <DIR/x.h>\n\n#include H\n", 4),
        ("#define P \"p.h\"\n#include P P\n", 2),
    ];
    for (text, line) in cases {
        let unsure = scan(&Fake::with(&[("/w/a.c", text)]), &search(&[])).unwrap_err();
        assert_eq!((unsure.line, unsure.why), (line, Why::ComputedName), "{text}");
        assert!(unsure.why.compiler_knows());
        assert_eq!(names(&unsure.known), ["/w/a.c"]);
    }
    let unsure =
        scan(&Fake::with(&[("/w/a.c", "#define F(x) <x>\n#if __has_include(F(a))\n#endif\n")]), &search(&[]));
    assert!(!unsure.unwrap_err().why.compiler_knows());
}

#[test]
fn assembler_files_are_found_in_all_its_directories() {
    let files = [
        ("/w/sub/a.S", "#include \"c.h\"\n.include \"m.inc\"\nx: .incbin \"blob.bin\"\n"),
        ("/w/sub/c.h", ""),
        ("/w/m.inc", ".include \"n.inc\"\n"),
        ("/i/n.inc", ""),
        ("/w/blob.bin", ".include \"never.inc\"\n"),
        ("/i/blob.bin", ""),
        ("/w/never.inc", ""),
    ];
    let search = IncludeSearch { sources: paths(&["/w/sub/a.S"]), assembler: paths(&["/i"]), ..search(&[]) };
    let expected = ["/w/sub/a.S", "/w/sub/c.h", "/w/m.inc", "/i/n.inc", "/w/blob.bin", "/i/blob.bin"];
    assert_eq!(found(&files, &search), expected);

    let unsure = scan(&Fake::with(&[("/w/a.c", "\nasm(\".incbin \\\"\" NAME \"\\\"\");\n")]), &search_c())
        .unwrap_err();
    assert_eq!((unsure.line, unsure.why), (2, Why::AssemblerName));
    assert!(!unsure.why.compiler_knows());
}

#[test]
fn the_time_of_a_source_file_is_known_to_nobody() {
    let unsure = scan(
        &Fake::with(&[("/w/a.c", "#include \"b.h\"\n"), ("/w/b.h", "\n#define NOW __TIMESTAMP__\n")]),
        &search_c(),
    );
    let unsure = unsure.unwrap_err();
    assert_eq!((unsure.line, unsure.why), (2, Why::Timestamp));
    assert!(!unsure.why.compiler_knows());
}

fn search_c() -> IncludeSearch {
    search(&[])
}

#[test]
fn paths_are_plain_and_what_dots_pass_through_is_told() {
    let fake = Fake::with(&[
        (
            "/w/a.c",
            "#include \"./x86/../b.h\"\n#include \"gone/../never.h\"\n#include \"/w//x86/e.h\"\n#include \"l/../c.h\"\n",
        ),
        ("/w/b.h", "#include \"x86/../b.h\"\n#include \"../w/b.h\"\n"),
        ("/w/never.h", ""),
        ("/w/c.h", "not what l/.. means"),
        ("/w/x86/e.h", "#include \"../../w/x86/../x86/e.h\"\n"),
        ("/far/c.h", ""),
        ("/far/dir/x", ""),
    ]);
    fake.link("/w/l", "/far/dir");
    let closure = scan(&fake, &search(&[])).unwrap();
    assert_eq!(names(&closure), ["/w/a.c", "/w/b.h", "/w/x86/e.h", "/w/l/../c.h"]);
    let directories: Vec<_> = closure.directories.iter().map(|d| d.display().to_string()).collect();
    assert_eq!(directories, ["/w", "/w/l", "/w/x86"]);
}

#[test]
fn links_in_circles_end() {
    let fake = Fake::with(&[("/w/a.c", "#include \"self/x.h\"\n"), ("/w/x.h", "#include \"self/x.h\"\n")]);
    fake.link("/w/self", "/w");
    let closure = scan(&fake, &search(&[])).unwrap();
    let count = closure.files().count();
    assert!(count > 2 && count < 200, "{count}");
}

#[test]
fn what_the_compiler_does_not_list_is_added_to_its_list() {
    let files = [
        ("/w/a.c", "#include STR(x.h)\n#define STR(x) #x\n#include \"unseen.h\"\n"),
        ("/w/x.h", "#if __has_include(\"t.h\")\n#endif\nasm(\".incbin \\\"b.bin\\\"\");\n"),
        ("/w/t.h", ""),
        ("/w/b.bin", ""),
        ("/w/unseen.h", ""),
    ];
    let fake = Fake::with(&files);
    let listed = paths(&["/w/a.c", "/w/x.h"]);
    let scanner = Scanner::default();
    let closure = scanner.complete(&search(&[]), Path::new("/w"), &listed, &fake, scanner.now()).unwrap();
    assert_eq!(names(&closure), ["/w/a.c", "/w/x.h", "/w/t.h", "/w/b.bin"]);
}

#[test]
fn a_missing_source_is_told() {
    let unsure = scan(&Fake::with(&[("/w/b.c", "")]), &search(&[])).unwrap_err();
    assert_eq!(unsure.to_string(), "/w/a.c:0 cannot be read");
}

#[test]
fn lines_that_are_said_to_come_from_elsewhere() {
    let text = "#line 3 \"x.y\"\n# 7 \"/g/z.l\" 2\n#line 9\n#line 1 \"gone.y\"\n#line 2 \"a\\\\b\"\n#  line 5 \"../v/u.y\"\n#include <h.h>\n";
    let files = [
        ("/w/d/a.c", text),
        ("/w/d/x.y", ""),
        ("/w/x.y", "#include <other.h>\n"),
        ("/w/a\\b", ""),
        ("/g/z.l", ""),
        ("/v/u.y", ""),
        ("/i/h.h", "#line 1 \"t.y\"\n"),
        ("/w/t.y", ""),
        ("/i/x.y", ""),
        ("/i/other.h", ""),
    ];
    let search = IncludeSearch { sources: paths(&["/w/d/a.c"]), ..search(&["/i"]) };
    let mut found = found(&files, &search);
    found.sort();
    assert_eq!(found, ["/g/z.l", "/i/h.h", "/v/u.y", "/w/d/a.c", "/w/t.y", "/w/x.y"]);
}
