// SPDX-License-Identifier: Apache-2.0
//! Just enough JSON to write: strings, numbers, lists and objects. Paths that are not UTF-8 are written with U+FFFD.

use std::ffi::OsStr;
use std::fmt::Write as _;

/// A value that can be written.
pub enum Json {
    /// Nothing is known.
    Null,
    /// A number.
    Number(u64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Json>),
    /// Named values, in this order.
    Object(Vec<(&'static str, Json)>),
}

impl From<&OsStr> for Json {
    fn from(text: &OsStr) -> Self {
        Self::Text(text.to_string_lossy().into_owned())
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl Json {
    /// A list of what can be written.
    pub fn list<T: Into<Json>>(items: impl IntoIterator<Item = T>) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }

    /// The text, on one line, or indented by `indent` blanks and more.
    pub fn write(&self, indent: Option<usize>) -> String {
        let mut out = String::new();
        self.append(&mut out, indent);
        out
    }

    fn append(&self, out: &mut String, indent: Option<usize>) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Number(n) => {
                let _ = write!(out, "{n}");
            }
            Self::Text(text) => quote(out, text),
            Self::List(items) => {
                let items = items.iter().map(|item| (None, item));
                surround(out, ('[', ']'), items, indent);
            }
            Self::Object(items) => {
                let items = items.iter().map(|(name, item)| (Some(*name), item));
                surround(out, ('{', '}'), items, indent);
            }
        }
    }
}

fn surround<'a>(
    out: &mut String,
    (open, close): (char, char),
    items: impl ExactSizeIterator<Item = (Option<&'a str>, &'a Json)>,
    indent: Option<usize>,
) {
    out.push(open);
    let any = items.len() > 0;
    let line = |out: &mut String, indent: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', indent));
    };
    for (n, (name, item)) in items.enumerate() {
        if n > 0 {
            out.push(',');
        }
        if let Some(indent) = indent {
            line(out, indent + 2);
        }
        if let Some(name) = name {
            quote(out, name);
            out.push(':');
            if indent.is_some() {
                out.push(' ');
            }
        }
        item.append(out, indent.map(|i| i + 2));
    }
    if let (Some(indent), true) = (indent, any) {
        line(out, indent);
    }
    out.push(close);
}

fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_quoted_and_nested() {
        let value = Json::Object(vec![
            ("a", Json::List(vec![Json::Number(1), Json::Text("x\"\\\n".into())])),
            ("b", Json::Object(vec![])),
        ]);
        assert_eq!(value.write(None), r#"{"a":[1,"x\"\\\u000a"],"b":{}}"#);
        assert_eq!(value.write(Some(0)).lines().count(), 7);
    }
}
