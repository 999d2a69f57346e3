// SPDX-License-Identifier: Apache-2.0
//! The URI that names a storage.
//!
//! ```text
//! s3://BUCKET[/PREFIX][?region=REGION][&endpoint=URL]
//! redis://[USER[:PASSWORD]@]HOST[:PORT][/DATABASE]      rediss:// for TLS
//! file:///DIRECTORY
//! ```

use std::path::PathBuf;

use url::Url;

use crate::error::{Error, Result};

/// What a URI says.
#[derive(Debug, PartialEq, Eq)]
pub enum Address {
    /// A bucket.
    S3(Bucket),
    /// A Redis server; the URI as its client takes it.
    Redis(String),
    /// A directory.
    Directory(PathBuf),
}

/// A bucket and where it is.
#[cfg_attr(not(feature = "s3"), allow(dead_code, reason = "it is read all the same, to tell what is wrong"))]
#[derive(Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// Before all keys: nothing, or something that ends with a slash.
    pub prefix: String,
    /// Its region, if the environment is not to say it.
    pub region: Option<String>,
    /// The server, if it is not Amazon's.
    pub endpoint: Option<String>,
}

/// For messages: scheme, host, port and path, nothing that may be secret.
pub fn label(uri: &str) -> String {
    match Url::parse(uri) {
        Ok(url) => {
            let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
            format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
        }
        // Where nothing can be told apart, no secret can be either.
        Err(_) if uri.contains(['@', '?', '#']) => "that".into(),
        Err(_) => uri.into(),
    }
}

/// What a storage may be.
const FORMS: &str = "a storage is named s3://BUCKET/PREFIX, redis://HOST or file:///DIRECTORY";

impl Address {
    /// Reads a URI.
    pub fn parse(uri: &str) -> Result<Self> {
        let bad = |why: &str| Error::Uri { uri: label(uri), why: why.into() };
        let url = Url::parse(uri).map_err(|e| match e {
            url::ParseError::RelativeUrlWithoutBase => bad(FORMS),
            other => bad(&format!("{other}: {FORMS}")),
        })?;
        match url.scheme() {
            "s3" => Self::bucket(&url).map_err(|why| bad(&why)),
            "redis" | "rediss" if url.host_str().is_none_or(str::is_empty) => Err(bad("it names no host")),
            "redis" | "rediss" => Ok(Self::Redis(uri.into())),
            "file" => match url.to_file_path() {
                Ok(path) if url.query().is_none() => Ok(Self::Directory(path)),
                _ => Err(bad("a directory is written file:///PATH")),
            },
            other => Err(bad(&format!("{other}: is none of s3:, redis:, rediss:, file:; {FORMS}"))),
        }
    }

    fn bucket(url: &Url) -> std::result::Result<Self, String> {
        let name = url.host_str().filter(|name| !name.is_empty()).ok_or("it names no bucket")?.to_owned();
        let mut prefix = url.path().trim_matches('/').to_owned();
        if !prefix.is_empty() {
            prefix.push('/');
        }
        let mut bucket = Bucket { name, prefix, region: None, endpoint: None };
        for (key, value) in url.query_pairs() {
            if value.is_empty() {
                return Err(format!("its {key} is empty"));
            }
            match key.as_ref() {
                "region" => bucket.region = Some(value.into_owned()),
                "endpoint" => {
                    // gg writes a bare host there.
                    let url =
                        if value.contains("://") { value.into_owned() } else { format!("https://{value}") };
                    bucket.endpoint = Some(url);
                }
                other => return Err(format!("it has no parameter {other}")),
            }
        }
        Ok(Self::S3(bucket))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris() {
        let bucket = |prefix: &str, region: Option<&str>, endpoint: Option<&str>| {
            Address::S3(Bucket {
                name: "b".into(),
                prefix: prefix.into(),
                region: region.map(Into::into),
                endpoint: endpoint.map(Into::into),
            })
        };
        for (uri, expected) in [
            ("s3://b", bucket("", None, None)),
            ("s3://b/?region=eu-west-1", bucket("", Some("eu-west-1"), None)),
            (
                "s3://b/team/x/?region=r&endpoint=http://127.0.0.1:9000",
                bucket("team/x/", Some("r"), Some("http://127.0.0.1:9000")),
            ),
            ("s3://b?endpoint=s3.example.org", bucket("", None, Some("https://s3.example.org"))),
            ("redis://:pw@h:1/2", Address::Redis("redis://:pw@h:1/2".into())),
            ("file:///a/b%20c", Address::Directory("/a/b c".into())),
        ] {
            assert_eq!(Address::parse(uri).unwrap(), expected, "{uri}");
        }
        for bad in [
            "",
            "s3:",
            "s3://",
            "s3://b?secret=1",
            "s3://b?region=",
            "s3://b?endpoint=",
            "http://x",
            "/a/b",
            "file://host/x",
            "redis:",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn messages_tell_no_secret() {
        let error = Address::parse("ftp://user:hunter2@h/x?token=hunter2").unwrap_err().to_string();
        assert!(!error.contains("hunter2") && !error.contains("user"), "{error}");
        for uri in
            ["redis://u:hunter2@h:1/0", "redis://u:hunter2@h:port", "redis://u:hunter2@", "//u:hunter2@h"]
        {
            assert!(!label(uri).contains("hunter2"), "{uri}");
            let _ = Address::parse(uri).inspect_err(|error| assert!(!error.to_string().contains("hunter2")));
        }
    }

    #[test]
    fn who_names_a_directory_as_a_path_is_told_how_to() {
        let said = |uri: &str| Address::parse(uri).unwrap_err().to_string();
        assert!(
            said("/srv/cache").starts_with("no storage: /srv/cache: a storage is named"),
            "{}",
            said("/srv/cache")
        );
        assert!(said("localhost:6379").contains("redis://HOST"));
    }
}
