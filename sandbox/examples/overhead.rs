// SPDX-License-Identifier: Apache-2.0
//! What a sandbox costs: median and minimum of many commands that do nothing, against plain fork and exec of the
//! same program. On a busy machine the median tells of the scheduler more than of the sandbox.
//!
//!     cargo run --release -p sandbox --example overhead [SCRATCH_DIRECTORY]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use sandbox::{Entry, Job, Layer, Sandbox, Status};

const ROUNDS: usize = 400;
const INPUTS: usize = 500;
const CHANGED: usize = 50;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let base = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let space = base.join(format!("overhead-{}", std::process::id()));
    std::fs::create_dir_all(&space)?;
    let (source, program) = (space.join("true.c"), space.join("true"));
    std::fs::write(&source, "int main(void) { return 0; }\n")?;
    let made = Command::new("cc").args(["-O2", "-static", "-o"]).arg(&program).arg(&source).status()?;
    if !made.success() {
        return Err("cannot make a static program with cc".into());
    }

    let plain = measure(|_| Ok(Command::new(&program).env_clear().status().map(drop)?))?;
    line("fork, exec and wait, without a sandbox", plain);

    let mut sandbox = Sandbox::enter(&space.join("scratch"))?;
    let mut wanted = BTreeMap::from([("/bin/true".into(), file(&program, true))]);
    sandbox.sync(&wanted)?;
    let job = Job::new("/bin/true", vec!["true".into()], "/work");
    for (name, job) in
        [("memory layer", job.clone()), ("disk layer", Job { layer: Layer::Disk, ..job.clone() })]
    {
        line(name, measure(|_| run(&mut sandbox, &job))?);
    }

    let blobs: Vec<PathBuf> = (0..INPUTS).map(|i| space.join(format!("blob-{i}"))).collect();
    for blob in &blobs {
        std::fs::write(blob, "/* an input */\n")?;
    }
    let path = |i: usize| PathBuf::from(format!("/usr/include/directory-{}/header-{i}.h", i % 20));
    wanted.extend(blobs.iter().enumerate().map(|(i, blob)| (path(i), file(blob, false))));
    let start = Instant::now();
    sandbox.sync(&wanted)?;
    line("sync of 500 inputs into an empty tree", [start.elapsed(); 2]);
    line("sync of 500 inputs, none changed", measure(|_| Ok(sandbox.sync(&wanted).map(drop)?))?);
    line(
        "  and a command",
        measure(|_| {
            sandbox.sync(&wanted)?;
            run(&mut sandbox, &job)
        })?,
    );
    let other: BTreeMap<PathBuf, Entry> = wanted
        .iter()
        .enumerate()
        .map(|(i, (path, entry))| match i % (INPUTS / CHANGED) {
            3 => (path.clone(), file(&blobs[(i * 7) % INPUTS], false)),
            _ => (path.clone(), entry.clone()),
        })
        .collect();
    let sets = [&other, &wanted];
    line("sync of 500 inputs, 50 changed", measure(|round| Ok(sandbox.sync(sets[round % 2]).map(drop)?))?);
    line(
        "  and a command",
        measure(|round| {
            sandbox.sync(sets[round % 2])?;
            run(&mut sandbox, &job)
        })?,
    );
    drop(sandbox);
    std::fs::remove_dir_all(&space)?;
    Ok(())
}

fn file(source: &Path, executable: bool) -> Entry {
    Entry::File { source: source.to_owned(), executable }
}

fn run(sandbox: &mut Sandbox, job: &Job) -> Result<(), Box<dyn std::error::Error>> {
    let outcome = sandbox.run(job)?;
    match outcome.status {
        Status::Exited(0) => Ok(()),
        status => Err(format!("{status:?}").into()),
    }
}

fn measure(
    mut action: impl FnMut(usize) -> Result<(), Box<dyn std::error::Error>>,
) -> Result<[Duration; 2], Box<dyn std::error::Error>> {
    let mut times = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS {
        let start = Instant::now();
        action(round)?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok([times[ROUNDS / 2], times[0]])
}

fn line(name: &str, [median, least]: [Duration; 2]) {
    println!("{:>7} {:>7} µs  {name}", median.as_micros(), least.as_micros());
}
