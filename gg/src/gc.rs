// SPDX-License-Identifier: Apache-2.0
//! `gg gc`: makes the store smaller, by what no build needs any more.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use thunk::{Count, Policy, Store};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What is to go.
#[derive(clap::Args)]
pub struct Arguments {
    /// Remove what no last build of a directory needs and nobody has used for so many days.
    #[arg(long, value_name = "N", default_value_t = 30)]
    days: u32,
    /// Remove what no last build needs, the oldest first, until the store has no more bytes than this (`500M`, `10G`).
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_size: Option<u64>,
    /// Only say what would be removed.
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// Collects garbage.
///
/// # Errors
/// The store is in use, is not there, or cannot be read or written to.
pub fn run(arguments: &Arguments) -> Result<()> {
    let store = Store::open_alone(&thunk::default_store_dir()?)?;
    let policy =
        Policy { unused: DAY * arguments.days, most: arguments.max_size, dry_run: arguments.dry_run };
    let collected = thunk::collect(&store, &policy)?;
    let would = if arguments.dry_run { "would be removed" } else { "removed" };
    writeln!(std::io::stdout(), "{would}: {}; kept: {}", told(collected.removed), told(collected.kept))?;
    Ok(())
}

fn told(count: Count) -> String {
    format!("{} files, {:.1} MB", count.files, count.bytes as f64 / 1e6)
}

/// A number of bytes, with a decimal unit as in `10G` or none.
fn size(text: &str) -> Result<u64> {
    let (number, unit) = match text.strip_suffix(['k', 'K', 'M', 'G', 'T']) {
        Some(number) => (number, &text[number.len()..]),
        None => (text, ""),
    };
    let factor = match unit {
        "" => 1,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        _ => 1_000,
    };
    let number: u64 = number.parse().context("a number of bytes, such as 500M or 10G")?;
    number.checked_mul(factor).context("more bytes than can be counted")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        let sizes = ["0", "7", "3k", "3K", "500M", "10G", "1T"].map(|text| size(text).unwrap());
        assert_eq!(sizes, [0, 7, 3_000, 3_000, 500_000_000, 10_000_000_000, 1_000_000_000_000]);
        for text in ["", "G", "-1", "1.5G", "10g", "20000000000000T"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
