// SPDX-License-Identifier: Apache-2.0
//! `observe PROGRAM ARGUMENT…` runs a command and prints what it touched, one path per line.

use std::env;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use observe::{Command, Options, Touch, Use, observe};

const LETTERS: [(Use, char); 13] = [
    (Use::Read, 'r'),
    (Use::Executed, 'x'),
    (Use::Found, 'f'),
    (Use::Missing, '-'),
    (Use::Denied, '!'),
    (Use::Listed, 'l'),
    (Use::Written, 'w'),
    (Use::Created, 'c'),
    (Use::Removed, 'd'),
    (Use::MovedAway, '<'),
    (Use::MovedHere, '>'),
    (Use::Linked, 'h'),
    (Use::Attributes, 'a'),
];

fn print(out: &mut impl Write, path: &Path, touch: &Touch) -> std::io::Result<()> {
    let letters: String =
        LETTERS.iter().map(|&(what, letter)| if touch.has(what) { letter } else { '.' }).collect();
    write!(out, "{letters} {} {}", if touch.input { "input" } else { "     " }, path.display())?;
    match &touch.real {
        Some(real) => writeln!(out, " = {}", real.display()),
        None => writeln!(out),
    }
}

fn main() -> ExitCode {
    let argv: Vec<_> = env::args_os().skip(1).collect();
    let Some(program) = argv.first() else {
        eprintln!("usage: observe PROGRAM ARGUMENT…");
        return ExitCode::from(2);
    };
    let on_path =
        env::var_os("PATH").into_iter().flat_map(|path| env::split_paths(&path).collect::<Vec<_>>());
    let found = on_path.map(|dir| dir.join(program)).find(|path| path.is_file());
    let command = Command {
        argv: argv.clone(),
        env: env::vars_os().collect(),
        cwd: env::current_dir().unwrap_or_else(|_| "/".into()),
        ..Command::new(found.unwrap_or_else(|| PathBuf::from(program)))
    };
    let start = Instant::now();
    let seen = match observe(&command, &Options::default()) {
        Ok(seen) => seen,
        Err(error) => {
            eprintln!("observe: {error}");
            return ExitCode::FAILURE;
        }
    };
    let time = start.elapsed();
    let mut out = std::io::stdout().lock();
    let printed = seen.touches.iter().try_for_each(|(path, touch)| print(&mut out, path, touch));
    let told = std::io::stderr().write_all(&seen.stderr);
    eprintln!("{}, {} stops, {:.1} ms", seen.status, seen.stops, time.as_secs_f64() * 1000.0);
    if printed.is_ok() && told.is_ok() && seen.status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
