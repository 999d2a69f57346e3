// SPDX-License-Identifier: Apache-2.0
//! Does a makefile's part tell make nothing but what to do again? Dependency files do, as compilers write them: rules without recipes. Knows
//! of make no more than it takes to tell these from all else.

/// Are there only rules without recipes, and comments?
pub fn only_prerequisites(text: &[u8]) -> bool {
    logical_lines(text).iter().all(|line| {
        let content = line.trim_ascii();
        content.is_empty() || content.starts_with(b"#") || !line.starts_with(b"\t") && is_bare_rule(content)
    })
}

/// `names: names`, and nothing that has another meaning in a makefile.
fn is_bare_rule(line: &[u8]) -> bool {
    let mut colons = 0;
    for (at, byte) in line.iter().enumerate() {
        match byte {
            // A variable's value, a recipe on the same line, what is expanded.
            b'=' | b';' | b'|' => return false,
            // `$$` stands for the sign itself.
            b'$' if line.get(at + 1) != Some(&b'$') && (at == 0 || line[at - 1] != b'$') => return false,
            b':' if line.get(at + 1).is_none_or(u8::is_ascii_whitespace) => colons += 1,
            b':' => return false,
            _ => {}
        }
    }
    colons == 1
}

/// The lines, each with those that continue it.
fn logical_lines(text: &[u8]) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let mut continues = false;
    for line in text.split(|&byte| byte == b'\n') {
        let (content, goes_on) = match line.strip_suffix(b"\\") {
            Some(content) => (content, true),
            None => (line, false),
        };
        match lines.last_mut().filter(|_| continues) {
            Some(last) => {
                last.push(b' ');
                last.extend_from_slice(content);
            }
            None => lines.push(content.to_vec()),
        }
        continues = goes_on;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_compilers_write_is_prerequisites_and_a_makefile_is_more() {
        for text in [
            "",
            "# dummy\n",
            "a.o: a.c /usr/include/stdio.h \\\n  b.h\n\nb.h:\n",
            "a.o b.o: \\\n a.c\n",
            "x$$y.o: x$$y.c a\\ b.h\n",
        ] {
            assert!(only_prerequisites(text.as_bytes()), "{text:?}");
        }
        for text in [
            "a.o: a.c\n\tcc -c a.c\n",
            "a.o: CFLAGS = -O2\n",
            "CFLAGS=-O2\n",
            "include other.mk\n",
            "a.o: a.c; cc -c a.c\n",
            "a.o: $(wildcard *.h)\n",
            "$(O): a.c\n",
            "a.o:: a.c\n",
            "%.o: %.c | dir\n",
            "define x\n",
        ] {
            assert!(!only_prerequisites(text.as_bytes()), "{text:?}");
        }
    }
}
