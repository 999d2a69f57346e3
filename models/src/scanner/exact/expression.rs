// SPDX-License-Identifier: Apache-2.0
//! The value of a condition whose macros are replaced. Unaware of macros.

use super::Lost;
use super::token::{Kind, Texts, Token};

/// Nested deeper than this it is no condition that a person wrote.
const DEEP: u32 = 100;

/// What the meaning of conditions depends on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Dialect {
    /// `true` and `and` mean what they do in C++.
    pub cxx: bool,
    /// `'x'` has no sign.
    pub unsigned_char: bool,
    /// `L'x'` has no sign.
    pub unsigned_wide: bool,
}

/// Is the condition true?
pub(super) fn is_true(tokens: &[Token], texts: &Texts, dialect: Dialect) -> Result<bool, Lost> {
    let mut parser = Parser { tokens, texts, dialect, depth: 0 };
    let value = parser.comma(true)?;
    if parser.tokens.is_empty() { Ok(value.bits != 0) } else { Err(WRONG) }
}

const WRONG: Lost = Lost("a condition that is none");

#[derive(Clone, Copy)]
struct Value {
    bits: u64,
    unsigned: bool,
}

impl Value {
    fn signed(number: i64) -> Self {
        Self { bits: number as u64, unsigned: false }
    }

    fn truth(truth: bool) -> Self {
        Self::signed(i64::from(truth))
    }
}

struct Parser<'a> {
    tokens: &'a [Token],
    texts: &'a Texts,
    dialect: Dialect,
    depth: u32,
}

/// Operators of two operands, and how strongly each binds.
fn strength(operator: &[u8]) -> Option<u32> {
    Some(match operator {
        b"||" => 1,
        b"&&" => 2,
        b"|" => 3,
        b"^" => 4,
        b"&" => 5,
        b"==" | b"!=" => 6,
        b"<" | b">" | b"<=" | b">=" => 7,
        b"<<" | b">>" => 8,
        b"+" | b"-" => 9,
        b"*" | b"/" | b"%" => 10,
        _ => return None,
    })
}

impl<'a> Parser<'a> {
    /// The operator that comes next; words are operators in C++.
    fn operator(&self) -> &'a [u8] {
        let Some(token) = self.tokens.first() else { return b"" };
        let cxx = self.dialect.cxx;
        let text = self.texts.get(token.text);
        match (token.kind, text) {
            (Kind::Sign, _) => text,
            (Kind::Word, b"and") if cxx => b"&&",
            (Kind::Word, b"or") if cxx => b"||",
            (Kind::Word, b"not") if cxx => b"!",
            (Kind::Word, b"not_eq") if cxx => b"!=",
            (Kind::Word, b"bitand") if cxx => b"&",
            (Kind::Word, b"bitor") if cxx => b"|",
            (Kind::Word, b"xor") if cxx => b"^",
            (Kind::Word, b"compl") if cxx => b"~",
            _ => b"",
        }
    }

    fn skip(&mut self) {
        self.tokens = self.tokens.get(1..).unwrap_or_default();
    }

    fn expect(&mut self, sign: &[u8]) -> Result<(), Lost> {
        let is_there = self.operator() == sign;
        self.skip();
        if is_there { Ok(()) } else { Err(WRONG) }
    }

    /// `counts`: the value matters, so that an error is one.
    fn comma(&mut self, counts: bool) -> Result<Value, Lost> {
        let value = self.choice(counts)?;
        // Compilers differ.
        if self.operator() == b"," { Err(Lost("a comma in a condition")) } else { Ok(value) }
    }

    fn choice(&mut self, counts: bool) -> Result<Value, Lost> {
        self.depth += 1;
        if self.depth > DEEP {
            return Err(Lost("a condition without end"));
        }
        let condition = self.binary(1, counts)?;
        let value = if self.operator() == b"?" {
            self.skip();
            let is_true = condition.bits != 0;
            let yes = self.comma(counts && is_true)?;
            self.expect(b":")?;
            let no = self.choice(counts && !is_true)?;
            Value { unsigned: yes.unsigned || no.unsigned, ..if is_true { yes } else { no } }
        } else {
            condition
        };
        self.depth -= 1;
        Ok(value)
    }

    fn binary(&mut self, least: u32, counts: bool) -> Result<Value, Lost> {
        let mut left = self.unary(counts)?;
        loop {
            let operator = self.operator();
            let Some(strength) = strength(operator).filter(|strength| *strength >= least) else {
                return Ok(left);
            };
            self.skip();
            let decided = match operator {
                b"||" => left.bits != 0,
                b"&&" => left.bits == 0,
                _ => false,
            };
            let right = self.binary(strength + 1, counts && !decided)?;
            left = combine(operator, left, right, counts)?;
        }
    }

    fn unary(&mut self, counts: bool) -> Result<Value, Lost> {
        self.depth += 1;
        if self.depth > DEEP {
            return Err(Lost("a condition without end"));
        }
        let operator = self.operator();
        let value = match operator {
            b"!" | b"~" | b"-" | b"+" => {
                self.skip();
                let value = self.unary(counts)?;
                match operator {
                    b"!" => Value::truth(value.bits == 0),
                    b"~" => Value { bits: !value.bits, ..value },
                    b"-" => Value { bits: value.bits.wrapping_neg(), ..value },
                    _ => value,
                }
            }
            b"(" => {
                self.skip();
                let value = self.comma(counts)?;
                self.expect(b")")?;
                value
            }
            _ => self.operand()?,
        };
        self.depth -= 1;
        Ok(value)
    }

    fn operand(&mut self) -> Result<Value, Lost> {
        let token = self.tokens.first().ok_or(WRONG)?;
        self.skip();
        let text = self.texts.get(token.text);
        match (token.kind, text) {
            (Kind::Number, _) => number(text).ok_or(Lost("a number that is none")),
            (Kind::Character, _) => character(text, self.dialect.unsigned_char),
            (Kind::Literal, [b'L', wide @ ..]) => character(wide, self.dialect.unsigned_wide),
            (Kind::Word, b"true") if self.dialect.cxx => Ok(Value::truth(true)),
            // In C, it depends on the dialect.
            (Kind::Word, b"true") => Err(Lost("`true` in a condition")),
            (Kind::Word, _) => Ok(Value::signed(0)),
            _ => Err(WRONG),
        }
    }
}

fn combine(operator: &[u8], left: Value, right: Value, counts: bool) -> Result<Value, Lost> {
    let unsigned = left.unsigned || right.unsigned;
    let (a, b) = (left.bits, right.bits);
    let less = |a: u64, b: u64| if unsigned { a < b } else { (a as i64) < (b as i64) };
    let whole = |bits: u64| Value { bits, unsigned };
    Ok(match operator {
        b"||" => Value::truth(a != 0 || b != 0),
        b"&&" => Value::truth(a != 0 && b != 0),
        b"|" => whole(a | b),
        b"^" => whole(a ^ b),
        b"&" => whole(a & b),
        b"==" => Value::truth(a == b),
        b"!=" => Value::truth(a != b),
        b"<" => Value::truth(less(a, b)),
        b">" => Value::truth(less(b, a)),
        b"<=" => Value::truth(!less(b, a)),
        b">=" => Value::truth(!less(a, b)),
        b"+" => whole(a.wrapping_add(b)),
        b"-" => whole(a.wrapping_sub(b)),
        b"*" => whole(a.wrapping_mul(b)),
        b"<<" | b">>" => {
            let by = if right.unsigned { i64::try_from(b).unwrap_or(i64::MAX) } else { b as i64 };
            let to_left = (operator == b"<<") == (by >= 0);
            Value { bits: shift(left, to_left, by.unsigned_abs()), ..left }
        }
        _ if b == 0 && counts => return Err(Lost("a division by zero")),
        _ if b == 0 => whole(0),
        b"/" if unsigned => whole(a / b),
        b"/" => whole((a as i64).wrapping_div(b as i64) as u64),
        _ if unsigned => whole(a % b),
        _ => whole((a as i64).wrapping_rem(b as i64) as u64),
    })
}

fn shift(value: Value, to_left: bool, by: u64) -> u64 {
    let by = u32::try_from(by).unwrap_or(u32::MAX);
    match (to_left, value.unsigned) {
        (true, _) => value.bits.checked_shl(by).unwrap_or(0),
        (false, true) => value.bits.checked_shr(by).unwrap_or(0),
        (false, false) => ((value.bits as i64) >> by.min(63)) as u64,
    }
}

fn number(text: &[u8]) -> Option<Value> {
    let digits: Vec<u8> = text.iter().copied().filter(|&c| c != b'\'').collect();
    let (radix, digits) = match &*digits {
        [b'0', b'x' | b'X', rest @ ..] => (16, rest),
        [b'0', b'b' | b'B', rest @ ..] => (2, rest),
        [b'0', rest @ ..] if rest.first().is_some_and(u8::is_ascii_digit) => (8, rest),
        rest => (10, rest),
    };
    let end = digits.iter().position(|c| !(*c as char).is_digit(radix)).unwrap_or(digits.len());
    let (digits, suffix) = digits.split_at(end);
    let bits = u64::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()?;
    let unsigned = match suffix.to_ascii_lowercase().as_slice() {
        b"" | b"l" | b"ll" | b"z" => false,
        b"u" | b"ul" | b"ull" | b"lu" | b"llu" | b"uz" | b"zu" => true,
        _ => return None,
    };
    Some(Value { bits, unsigned: unsigned || bits > i64::MAX as u64 })
}

fn character(text: &[u8], unsigned: bool) -> Result<Value, Lost> {
    let strange = Err(Lost("a character in a condition"));
    let byte = match text {
        [b'\'', c, b'\''] if c.is_ascii() && *c != b'\\' => *c,
        [b'\'', b'\\', c, b'\''] => match c {
            b'n' => b'\n',
            b't' => b'\t',
            b'0' => 0,
            b'\\' | b'\'' | b'"' => *c,
            _ => return strange,
        },
        _ => return strange,
    };
    Ok(Value { bits: u64::from(byte), unsigned })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scanner::exact::token::tokens;

    fn value(text: &str, cxx: bool) -> Option<bool> {
        let texts = Texts::new();
        let dialect = Dialect { cxx, ..Dialect::default() };
        is_true(&tokens(text.as_bytes(), &texts), &texts, dialect).ok()
    }

    #[test]
    fn conditions_have_the_values_that_compilers_give_them() {
        for (text, expected) in [
            ("1 + 2 * 3 == 7 && (4 - 2 - 1) == 1", true),
            ("-1 > 0u", true),
            ("-1 > 0", false),
            ("0 || 1 && 0", false),
            ("1 ? 0 ? 1 : 0 : 1", false),
            ("0 && 1 / 0 || 1", true),
            ("~0 == -1 && !0 && (1 << 4 | 1) == 0x11", true),
            ("'a' == 97 && '\\n' == 10", true),
            ("UNKNOWN || false", false),
            ("0b101 == 5 && 017 == 15 && 1'000L == 1000", true),
            ("201103L <= 199711L", false),
            ("-8 >> 1 == -4 && -7 / 2 == -3 && -7 % 2 == -1", true),
            ("18446744073709551615 == -1", true),
            ("(2 ^ 3) == 1 && 1 << 70 == 0", true),
            ("L'\\0' - 1 > 0", false),
        ] {
            assert_eq!(value(text, false), Some(expected), "{text}");
        }
        assert_eq!(value("true and not false or 0", true), Some(true));
        for text in ["", "1 +", "(1", "1 1", "1 / 0", "1.0", "\"x\"", "true", "# a(b)", "1, 2", "9z9", "F(1)"]
        {
            assert_eq!(value(text, false), None, "{text}");
        }
        assert_eq!(value(&"(".repeat(1000), false), None);
        assert_eq!(value(&"!".repeat(1000), false), None);
    }
}
