// SPDX-License-Identifier: Apache-2.0
//! The key that says who may talk to a worker, and which workers may be talked to: one Ed25519 key in a file that engines and
//! workers share. Whoever has the file may send commands to the workers, and is believed what they give.

use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use ring::rand::SystemRandom;
use ring::signature::Ed25519KeyPair;

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";
/// What Debian's base64 would take, too.
const LINE: usize = 64;

/// A private key as PKCS #8. Not shown by `Debug`, not sent anywhere.
pub struct Key(Vec<u8>);

impl Key {
    /// The key's PKCS #8 form.
    pub fn pkcs8(&self) -> &[u8] {
        &self.0
    }

    /// Makes a new key in a file that must not be there yet.
    ///
    /// # Errors
    /// The file is there, or cannot be made.
    pub fn create(path: &Path) -> Result<()> {
        let document =
            Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).ok().context("no randomness here")?;
        let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, document.as_ref());
        let lines: Vec<&str> =
            text.as_bytes().chunks(LINE).filter_map(|line| std::str::from_utf8(line).ok()).collect();
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)
                .with_context(|| format!("cannot make {}", directory.display()))?;
        }
        let opened = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        opened
            .and_then(|mut file| writeln!(file, "{BEGIN}\n{}\n{END}", lines.join("\n")))
            .with_context(|| format!("cannot make the key {}", path.display()))
    }

    /// Reads the key in a file.
    ///
    /// # Errors
    /// There is none, or others may read it.
    pub fn read(path: &Path) -> Result<Self> {
        let context = || format!("cannot use the key {}", path.display());
        let file = std::fs::File::open(path).with_context(context)?;
        let mode = file.metadata().with_context(context)?.mode();
        if mode & 0o077 != 0 {
            bail!("{}: others may read or change it (mode {:o}): chmod 600", path.display(), mode & 0o777);
        }
        let mut text = String::new();
        file.take(4096).read_to_string(&mut text).with_context(context)?;
        Self::parse(&text).with_context(context)
    }

    fn parse(text: &str) -> Result<Self> {
        let body = text.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END)).map(|(body, _)| body);
        let body: String = body.context("it is no private key")?.split_whitespace().collect();
        let document = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, body).ok();
        let document = document.filter(|document| Ed25519KeyPair::from_pkcs8(document).is_ok());
        Ok(Self(document.context("it is no Ed25519 key")?))
    }

    /// The key to be used: the one that is named, else the user's own if there is one.
    ///
    /// # Errors
    /// As [`Key::read`].
    pub fn find(named: Option<&Path>) -> Result<Option<Self>> {
        match named {
            Some(path) => Self::read(path).map(Some),
            None => match Self::usual() {
                Some(path) if is_there(&path) => Self::read(&path).map(Some),
                _ => Ok(None),
            },
        }
    }

    /// Where the user's own key is.
    pub fn usual() -> Option<PathBuf> {
        let absolute =
            |name| std::env::var_os(name).map(PathBuf::from).filter(|path: &PathBuf| path.is_absolute());
        let config = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")));
        config.map(|config| config.join("gg/key"))
    }
}

fn is_there(path: &Path) -> bool {
    !matches!(std::fs::symlink_metadata(path), Err(e) if e.kind() == io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_is_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d/key");
        Key::create(&path).unwrap();
        assert!(Key::create(&path).is_err(), "a key is not replaced");
        let other = dir.path().join("other");
        Key::create(&other).unwrap();
        let keys = [&path, &other].map(|path| Key::read(path).unwrap());
        assert_ne!(keys[0].pkcs8(), keys[1].pkcs8());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(Key::read(&path).err().unwrap().to_string().contains("chmod 600"));
        assert!(Key::parse("").is_err() && Key::parse(&format!("{BEGIN}\nAAAA\n{END}")).is_err());
    }
}
