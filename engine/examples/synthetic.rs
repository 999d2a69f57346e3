// SPDX-License-Identifier: Apache-2.0
//! Makes thunks that do nothing but create their output, for measuring the engine, and measures what can be had without it.
//! `scripts/bench engine` uses it.
//!
//!     synthetic make COUNT [--inputs N] [--shape single|chain|fan-in] [--reduced MS] [--sleep MS] [--gg] DIRECTORY
//!     synthetic spawn COUNT JOBS PROGRAM    starts it COUNT times in JOBS threads, and waits for it; it makes a new file beside itself each time
//!     synthetic peak COMMAND…        prints the memory of its largest process in MiB, after what the command printed
//!
//! `make` puts them into the default store, placeholders and their program, `create`, into DIRECTORY, and a trace of it
//! all. `--inputs` gives each so many input files, of which one in fifty is its own. `--shape` says what they need of
//! each other: nothing; chains of 100; groups of 20 that one more thunk takes together, and one that takes all of
//! these. `--reduced` stores reductions of so many milliseconds on average. `--sleep` makes them sleep for so long
//! before they write. `--gg` makes them as gg's own are, without absolute paths.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use thunk::trace::{self, Disposition};
use thunk::{
    Input, ObjectKind, ObjectName, OutputRef, Placeholder, ReducedOutput, Reduction, Store, Thunk, ThunkInput,
};

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

const PROGRAM: &str = "#include <fcntl.h>\n#include <stdlib.h>\n#include <unistd.h>\n\
    int main(int argc, char **argv) {\n\
        if (argc > 2) usleep(atoi(argv[2]) * 1000);\n\
        return argc < 2 || close(creat(argv[1], 0644));\n\
    }\n";
/// One in so many inputs is a thunk's own.
const OWN: usize = 50;
const CHAIN: usize = 100;
const GROUP: usize = 20;

fn main() -> Fallible<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["make", count, options @ .., directory] => make(count.parse()?, options, Path::new(directory)),
        ["spawn", count, jobs, program] => spawn(count.parse()?, jobs.parse()?, Path::new(program)),
        ["peak", command @ ..] if !command.is_empty() => peak(command),
        _ => {
            Err("usage: synthetic make COUNT [OPTION…] DIRECTORY | spawn COUNT JOBS PROGRAM | peak COMMAND…"
                .into())
        }
    }
}

/// Compiles the program into a directory.
fn program(directory: &Path) -> Fallible<PathBuf> {
    let (source, program) = (directory.join("create.c"), directory.join("create"));
    std::fs::write(&source, PROGRAM)?;
    let made = Command::new("cc").args(["-O2", "-static", "-o"]).arg(&program).arg(&source).status()?;
    if made.success() { Ok(program) } else { Err("cannot make a static program with cc".into()) }
}

struct Maker {
    store: Store,
    directory: PathBuf,
    program: ObjectName,
    inputs: usize,
    reduced: Option<u64>,
    sleep: Option<OsString>,
    gg: bool,
    trace: trace::Writer,
    made: u32,
}

impl Maker {
    /// The next thunk, which takes what these gave.
    fn thunk(&mut self, needs: &[(ObjectName, PathBuf)]) -> Fallible<(ObjectName, PathBuf)> {
        let number = self.made as usize;
        self.made += 1;
        let place = self.directory.join(format!("{number}.out"));
        let output = if self.gg { PathBuf::from("out") } else { place.clone() };
        let input = |i: usize| -> Fallible<Input> {
            let own = i.is_multiple_of(OWN);
            let content = if own { format!("{number} {i}") } else { format!("{i}") };
            let path = self.directory.join(format!("in/{}/{i}.h", i % 20));
            Ok(Input { path, value: self.store.put(ObjectKind::Value, content.as_bytes())? })
        };
        let mut thunk = Thunk {
            function: Some(self.program),
            args: ["create".into(), output.clone().into()].into_iter().chain(self.sleep.clone()).collect(),
            // It makes them differ where nothing else does.
            env: vec![format!("NUMBER={number}").into()],
            values: (0..self.inputs).map(input).collect::<Fallible<_>>()?,
            outputs: vec![output.clone()],
            ..Thunk::default()
        };
        if self.gg {
            thunk.executables.push(Input { path: PathBuf::new(), value: self.program });
        } else {
            thunk.workdir = Some(self.directory.clone());
            thunk.program = Some("/bin/create".into());
            thunk.executables.push(Input { path: "/bin/create".into(), value: self.program });
        }
        for (need, path) in needs {
            let path =
                if self.gg { path.file_name().map(PathBuf::from).unwrap_or_default() } else { path.clone() };
            thunk.thunks.push(ThunkInput { path, from: OutputRef { thunk: *need, output: None } });
        }
        thunk.canonicalise();
        let name = self.store.put_thunk(&thunk)?;
        if let Some(mean) = self.reduced {
            let value = self.store.put(ObjectKind::Value, b"")?;
            // Evenly from a tenth of the mean to nearly twice of it, in an order without a pattern.
            let spread = u64::from(self.made).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
            let wall = Duration::from_micros(mean * (100 + spread * 1800 / (1 << 32)));
            let outputs = vec![ReducedOutput { path: output.clone(), value, executable: false }];
            self.store
                .put_reduction(&name, &Reduction { outputs, wall, cpu: wall, ..Reduction::default() })?;
        }
        let placeholder = Placeholder {
            output: OutputRef { thunk: name, output: Some(output) },
            store: self.store.root().into(),
        };
        std::fs::write(&place, placeholder.encode(Path::new("/usr/bin/gg"))?)?;
        self.trace.command(&trace::Command {
            id: self.made,
            parent: 0,
            cwd: self.directory.clone(),
            argv: vec!["create".into()],
            program: "/bin/create".into(),
            kind: "synthetic".into(),
            disposition: Disposition::Deferred,
            reason: String::new(),
            thunk: Some(name),
            outputs: vec![place.clone()],
            at_us: 0,
            took_us: 0,
        })?;
        Ok((name, place))
    }
}

fn make(count: usize, options: &[&str], directory: &Path) -> Fallible<()> {
    std::fs::create_dir_all(directory)?;
    let directory = std::fs::canonicalize(directory)?;
    let store = Store::open_default()?;
    let argv: Vec<OsString> = vec!["synthetic".into()];
    let trace = trace::Writer::create(&store, None, &directory, &argv, &[])?;
    let (program, _) = store.put_file(&program(&directory)?)?;
    let (reduced, sleep, gg, made) = (None, None, false, 0);
    let mut maker = Maker { store, directory, program, inputs: 0, reduced, sleep, gg, trace, made };
    let mut shape = "single";
    let mut options = options.iter();
    while let Some(option) = options.next() {
        let mut value = || options.next().ok_or_else(|| format!("{option} needs a value"));
        match *option {
            "--inputs" => maker.inputs = value()?.parse()?,
            "--reduced" => maker.reduced = Some(value()?.parse()?),
            "--sleep" => maker.sleep = Some(value()?.into()),
            "--shape" => shape = value()?,
            "--gg" => maker.gg = true,
            _ => return Err(format!("unknown option {option}").into()),
        }
    }
    if maker.gg && maker.inputs > 0 {
        return Err("gg's own thunks are made without inputs here".into());
    }
    match shape {
        "single" => (0..count).try_for_each(|_| maker.thunk(&[]).map(drop))?,
        "chain" => {
            let mut last = Vec::new();
            for number in 0..count {
                if number.is_multiple_of(CHAIN) {
                    last.clear();
                }
                last = vec![maker.thunk(&last)?];
            }
        }
        "fan-in" => {
            let mut groups = Vec::new();
            while (maker.made as usize) + 1 < count {
                let members = (0..GROUP).map(|_| maker.thunk(&[])).collect::<Fallible<Vec<_>>>()?;
                groups.push(maker.thunk(&members)?);
            }
            maker.thunk(&groups)?;
        }
        _ => return Err(format!("unknown shape {shape}").into()),
    }
    maker.trace.end(0, 0)?;
    maker.store.files().flush();
    Ok(())
}

fn spawn(count: usize, jobs: usize, program: &Path) -> Fallible<()> {
    // What a thunk's command writes is not there before, either. To remove it all is not part of the measurement.
    let directory = program.with_file_name(format!("spawned-{}", std::process::id()));
    std::fs::create_dir(&directory)?;
    std::thread::scope(|scope| {
        let run = |job: usize| {
            for number in 0..count / jobs {
                let output = directory.join(format!("{job}-{number}.out"));
                Command::new(program).arg(&output).env_clear().status()?;
            }
            std::io::Result::Ok(())
        };
        let threads: Vec<_> = (0..jobs).map(|job| scope.spawn(move || run(job))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or(Ok(())))
    })?;
    Ok(())
}

fn peak(command: &[&str]) -> Fallible<()> {
    let status = Command::new(command[0]).args(&command[1..]).status()?;
    // SAFETY: rusage is plain numbers; the call fills the one that it is given.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage);
        usage
    };
    println!("{:.1}", usage.ru_maxrss as f64 / 1024.0);
    if status.success() { Ok(()) } else { Err(format!("the command ended with {status}").into()) }
}
