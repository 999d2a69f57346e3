// SPDX-License-Identifier: Apache-2.0
//! Where the parts of this installation are: the other programs beside this one, the preload library beside it or in
//! `../lib/gg`. A library of another version is told, not tried.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// The installed parts.
#[derive(Clone, Debug)]
pub struct Install {
    /// `ggforce`.
    pub ggforce: PathBuf,
    /// `gg`, the interpreter of placeholders.
    pub gg: PathBuf,
    /// The preload library.
    pub interceptor: PathBuf,
    /// What runs in place of a deferred command.
    pub standin: PathBuf,
}

impl Install {
    /// Finds the parts from where this program is.
    pub fn find() -> Result<Self> {
        let own = std::env::current_exe().context("cannot find out where this program is")?;
        let bin = own.parent().unwrap_or(Path::new("/"));
        let part = |name: &str| -> Result<PathBuf> {
            let places = [bin.join(name), bin.join("../lib/gg").join(name)];
            for place in &places {
                if let Ok(path) = std::fs::canonicalize(place) {
                    return Ok(path);
                }
            }
            bail!(
                "{name} is missing: looked for {} and {}; install it there",
                places[0].display(),
                places[1].display()
            )
        };
        let install = Self {
            ggforce: part("ggforce")?,
            gg: part("gg")?,
            interceptor: part("libgginterceptor.so")?,
            standin: part("gg-standin")?,
        };
        check_version(&install.interceptor)?;
        for path in [&install.interceptor, &install.standin] {
            if path.to_string_lossy().contains([':', ' ']) {
                bail!(
                    "{}: a path with a colon or blank cannot stand in LD_PRELOAD; install elsewhere",
                    path.display()
                );
            }
        }
        Ok(install)
    }
}

fn check_version(library: &Path) -> Result<()> {
    let content = std::fs::read(library).with_context(|| format!("cannot read {}", library.display()))?;
    let found = version_of(&content)
        .with_context(|| format!("{} is not our preload library; install gg again", library.display()))?;
    if found != wire::VERSION.as_bytes() {
        bail!(
            "{} is \"{}\", this ggtrace needs \"{}\"; install both from one build",
            library.display(),
            found.escape_ascii(),
            wire::VERSION
        );
    }
    Ok(())
}

/// The text behind the exported version symbol.
fn version_of(content: &[u8]) -> Option<&[u8]> {
    let elf = goblin::elf::Elf::parse(content).ok()?;
    let symbol =
        elf.dynsyms.iter().find(|s| elf.dynstrtab.get_at(s.st_name) == Some(wire::VERSION_SYMBOL))?;
    let header = elf.program_headers.iter().find(|h| {
        h.p_type == goblin::elf::program_header::PT_LOAD && h.vm_range().contains(&(symbol.st_value as usize))
    })?;
    let at = symbol.st_value.checked_sub(header.p_vaddr)?.checked_add(header.p_offset)?;
    let tail = content.get(usize::try_from(at).ok()?..)?;
    tail.get(..tail.iter().take(200).position(|&b| b == 0)?)
}
