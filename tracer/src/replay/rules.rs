// SPDX-License-Identifier: Apache-2.0
//! Dependency files, as compilers write them: rules without recipes. Knows of make no more than it takes to tell these from all else that a
//! makefile may hold.

/// A rule without a recipe.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule<'a> {
    pub targets: Vec<&'a str>,
    pub prerequisites: Vec<&'a str>,
}

/// The rules of a makefile's part that holds nothing else but comments; nothing where there is more, or a name that is not plain.
pub fn rules(text: &str) -> Option<Vec<Rule<'_>>> {
    let mut rules = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (line, after) = logical_line(rest);
        rest = after;
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let (targets, prerequisites) = line.split_once(':')?;
        let rule = Rule { targets: names(targets)?, prerequisites: names(prerequisites)? };
        // A recipe begins so.
        if line.starts_with('\t') || rule.targets.is_empty() {
            return None;
        }
        rules.push(rule);
    }
    Some(rules)
}

/// A line with those that continue it, and what follows.
fn logical_line(text: &str) -> (&str, &str) {
    let mut from = 0;
    loop {
        let Some(end) = text[from..].find('\n').map(|at| from + at) else { return (text, "") };
        if !text[..end].ends_with('\\') {
            return (&text[..end], &text[end + 1..]);
        }
        from = end + 1;
    }
}

/// Names that mean themselves; nothing where one may mean anything else to make.
fn names(text: &str) -> Option<Vec<&str>> {
    // A backslash at the end of a line is none of a name.
    let words = text.split([' ', '\t', '\n']).filter(|word| !word.is_empty() && *word != "\\");
    let is_plain = |word: &str| word.chars().all(|c| c.is_alphanumeric() || "/._-+,@^".contains(c));
    words.map(|word| is_plain(word).then_some(word)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_compilers_write_is_rules_and_a_makefile_is_more() {
        let rule = |targets: &[&'static str], prerequisites: &[&'static str]| Rule {
            targets: targets.to_vec(),
            prerequisites: prerequisites.to_vec(),
        };
        for (text, expected) in [
            ("", vec![]),
            ("# dummy\n", vec![]),
            (
                "a.o: a.c /usr/include/c++/12/x \\\n  b.h\n\nb.h:\n",
                vec![rule(&["a.o"], &["a.c", "/usr/include/c++/12/x", "b.h"]), rule(&["b.h"], &[])],
            ),
            ("a.o b.o: \\\n a.c", vec![rule(&["a.o", "b.o"], &["a.c"])]),
        ] {
            assert_eq!(rules(text), Some(expected), "{text:?}");
        }
        for text in [
            "a.o: a.c\n\tcc -c a.c\n",
            "a.o: CFLAGS = -O2\n",
            "CFLAGS=-O2\n",
            "X := 2\n",
            "include other.mk\n",
            "a.o: a.c; cc -c a.c\n",
            "a.o: $(wildcard *.h)\n",
            "a.o: $$$(X)\n",
            "$(O): a.c\n",
            "a.o:: a.c\n",
            "a.o: a: b\n",
            "%.o: %.c\n",
            "a.o: a.c | dir\n",
            "a\\ b.o: c\n",
            ": a\n",
            "define x\n",
        ] {
            assert_eq!(rules(text), None, "{text:?}");
        }
    }
}
