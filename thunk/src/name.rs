// SPDX-License-Identifier: Apache-2.0
//! Object names, as the original gg writes them: `V` or `T`, the SHA-256 in base64url with `-` written as `.` and
//! without padding (43 characters), then the size in bytes as at least eight lower-case hex digits.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::alphabet::Alphabet;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};

use crate::error::Error;

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKind {
    /// An immutable blob.
    Value,
    /// The description of a process run.
    Thunk,
}

impl ObjectKind {
    const fn letter(self) -> char {
        match self {
            Self::Value => 'V',
            Self::Thunk => 'T',
        }
    }
}

/// The name of an immutable object: kind, SHA-256 and size of its content.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    kind: ObjectKind,
    digest: [u8; 32],
    size: u64,
}

const DIGEST_CHARS: usize = 43;

const ALPHABET: Alphabet =
    match Alphabet::new("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._") {
        Ok(alphabet) => alphabet,
        Err(_) => panic!("64 distinct characters"),
    };

// Strict decoding: padding and stray low bits are refused, so that an object has one name only.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::RequireNone),
);

impl ObjectName {
    /// Digest and size: see [`ObjectName::encode`].
    pub const LENGTH: usize = 32 + 8;

    /// Digest and size as bytes, for lists on disk; the kind is for the list to tell.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        bytes[..32].copy_from_slice(&self.digest);
        bytes[32..].copy_from_slice(&self.size.to_le_bytes());
        bytes
    }

    /// The inverse of [`ObjectName::encode`].
    #[must_use]
    pub fn decode(kind: ObjectKind, bytes: &[u8; Self::LENGTH]) -> Self {
        let (mut digest, mut size) = ([0; 32], [0; 8]);
        digest.copy_from_slice(&bytes[..32]);
        size.copy_from_slice(&bytes[32..]);
        Self::new(kind, digest, u64::from_le_bytes(size))
    }

    /// The name with these parts.
    #[must_use]
    pub const fn new(kind: ObjectKind, digest: [u8; 32], size: u64) -> Self {
        Self { kind, digest, size }
    }

    /// The name of this content.
    #[must_use]
    pub fn of(kind: ObjectKind, content: &[u8]) -> Self {
        let mut hasher = crate::digest::Hasher::new();
        hasher.update(content);
        hasher.finish(kind)
    }

    /// Value or thunk.
    #[must_use]
    pub const fn kind(&self) -> ObjectKind {
        self.kind
    }

    /// SHA-256 of the content.
    #[must_use]
    pub const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Size of the content in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Splits `NAMErest` where the name ends at `separator`; for items such as `HASH=path` and `HASH#output`.
    pub(crate) fn split_prefix(text: &[u8], separator: u8) -> Option<(Self, &[u8])> {
        let end = text.iter().position(|&b| b == separator)?;
        let name = std::str::from_utf8(&text[..end]).ok()?.parse().ok()?;
        Some((name, &text[end + 1..]))
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0u8; DIGEST_CHARS];
        let text = match BASE64.encode_slice(self.digest, &mut digits) {
            Ok(n) => std::str::from_utf8(&digits[..n]).unwrap_or_default(),
            Err(_) => return Err(fmt::Error),
        };
        write!(f, "{}{}{:08x}", self.kind.letter(), text, self.size)
    }
}

impl fmt::Debug for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ObjectName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = || Error::BadName(text.chars().take(80).flat_map(char::escape_default).collect());
        let kind = match text.as_bytes().first() {
            Some(b'V') => ObjectKind::Value,
            Some(b'T') => ObjectKind::Thunk,
            _ => return Err(bad()),
        };
        let digits = text.get(1..1 + DIGEST_CHARS).ok_or_else(bad)?;
        let size = text.get(1 + DIGEST_CHARS..).ok_or_else(bad)?;
        let canonical = size.len() == 8 || (size.len() > 8 && size.len() <= 16 && !size.starts_with('0'));
        if !canonical || !size.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Err(bad());
        }
        let size = u64::from_str_radix(size, 16).map_err(|_| bad())?;
        let mut digest = [0u8; 32];
        match BASE64.decode_slice(digits, &mut digest) {
            Ok(32) => Ok(Self { kind, digest, size }),
            _ => Err(bad()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_those_of_gg() {
        // sha256sum of nothing and of "hello\n", written by gg's rule.
        let empty = ObjectName::of(ObjectKind::Value, b"");
        assert_eq!(empty.to_string(), "V47DEQpj8HBSa._TImW.5JCeuQeRkm5NMpJWZG3hSuFU00000000");
        let hello = ObjectName::of(ObjectKind::Thunk, b"hello\n");
        assert_eq!(hello.to_string(), "TWJG1tSLV3whtD_CxEPvZ0hu0_HFjrzTQgoai6Eb2vgM00000006");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let name = ObjectName::of(ObjectKind::Value, b"x").to_string();
        for bad in [
            "",
            "V",
            &name[..name.len() - 1],
            &name.replace('V', "X"),
            &format!("{name}/"),
            "../../etc/passwd",
        ] {
            assert!(bad.parse::<ObjectName>().is_err(), "{bad}");
        }
        // Leading zeros beyond eight digits would give one object two names.
        assert!(format!("{}0{}", &name[..44], &name[44..]).parse::<ObjectName>().is_err());
    }

    proptest! {
        #[test]
        fn a_name_survives_its_text(digest in any::<[u8; 32]>(), size in any::<u64>(), thunk in any::<bool>()) {
            let kind = if thunk { ObjectKind::Thunk } else { ObjectKind::Value };
            let name = ObjectName::new(kind, digest, size);
            prop_assert_eq!(name.to_string().parse::<ObjectName>().unwrap(), name);
        }

        #[test]
        fn any_text_is_a_name_or_an_error(text in ".{0,80}") {
            if let Ok(name) = text.parse::<ObjectName>() {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }
}
