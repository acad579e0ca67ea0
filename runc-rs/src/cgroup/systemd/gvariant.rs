//! Values as text, the way annotations give them: the part of GVariant's text format that properties of units are
//! written in (<https://docs.gtk.org/glib/gvariant-text-format.html>): truth values, numbers, strings, arrays, and types before them.

use super::dbus::{Value, split_first};

/// Longer than any property.
const LIMIT: usize = 64 << 10;
/// How deep arrays may be nested.
const MAX_DEPTH: usize = 16;

/// Reads one value; the error says what is wrong.
pub fn parse(text: &str) -> Result<Value, String> {
    if text.len() > LIMIT {
        return Err(format!("longer than {LIMIT} bytes"));
    }
    let mut parser = Parser { rest: text.trim() };
    let value = parser.value(None, 0)?;
    match parser.rest.trim_start() {
        "" => Ok(value),
        rest => Err(format!("{rest:?} follows the value")),
    }
}

/// Type words and their signatures.
const WORDS: [(&str, &str); 12] = [
    ("boolean", "b"),
    ("byte", "y"),
    ("int16", "n"),
    ("uint16", "q"),
    ("int32", "i"),
    ("uint32", "u"),
    ("int64", "x"),
    ("uint64", "t"),
    ("double", "d"),
    ("string", "s"),
    ("objectpath", "o"),
    ("signature", "g"),
];

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    /// A value, of the type `wanted` if one is known.
    fn value(&mut self, wanted: Option<&str>, depth: usize) -> Result<Value, String> {
        if depth > MAX_DEPTH {
            return Err("nested too deeply".into());
        }
        self.rest = self.rest.trim_start();
        match self.rest.chars().next() {
            None => Err("a value is missing".into()),
            Some('@') => self.annotated(wanted, depth),
            Some('[') => self.array(wanted, depth),
            Some('\'' | '"') => text_of(wanted, self.quoted()?),
            Some(c) if c.is_ascii_digit() || "+-.".contains(c) => number(wanted, self.word()),
            Some(c) if c.is_ascii_alphabetic() => self.named(wanted, depth),
            Some(c) => Err(format!("{c:?} begins no value that a property can have")),
        }
    }

    /// `@as []`
    fn annotated(&mut self, wanted: Option<&str>, depth: usize) -> Result<Value, String> {
        let (signature, rest) = split_first(&self.rest[1..]).ok_or("a type is missing after @")?;
        agree(wanted, signature)?;
        self.rest = rest;
        self.value(Some(signature), depth + 1)
    }

    /// `true`, or `uint64 5`.
    fn named(&mut self, wanted: Option<&str>, depth: usize) -> Result<Value, String> {
        let word = self.word();
        if let Ok(value) = word.parse::<bool>() {
            agree(wanted, "b")?;
            return Ok(Value::Bool(value));
        }
        let signature = WORDS.iter().find(|(name, _)| *name == word).map(|(_, signature)| *signature);
        let signature = signature.ok_or_else(|| format!("{word:?} is no value and no type"))?;
        agree(wanted, signature)?;
        self.value(Some(signature), depth + 1)
    }

    fn array(&mut self, wanted: Option<&str>, depth: usize) -> Result<Value, String> {
        let mut element = match wanted {
            None => None,
            Some(wanted) => Some(
                wanted
                    .strip_prefix('a')
                    .ok_or_else(|| format!("an array is not of type {wanted}"))?
                    .to_owned(),
            ),
        };
        let mut items = Vec::new();
        self.rest = &self.rest[1..];
        loop {
            self.rest = self.rest.trim_start();
            if let Some(rest) = self.rest.strip_prefix(']') {
                self.rest = rest;
                let element = element.ok_or("an empty array needs a type before it, such as @as")?;
                return Ok(Value::Array(element, items));
            }
            let item = self.value(element.as_deref(), depth + 1)?;
            element.get_or_insert_with(|| item.signature());
            items.push(item);
            self.rest = self.rest.trim_start();
            match self.rest.strip_prefix(',') {
                Some(rest) => self.rest = rest,
                None if self.rest.starts_with(']') => {}
                None => return Err("an array does not end".into()),
            }
        }
    }

    /// Up to what no number and no name goes on with.
    fn word(&mut self) -> &'a str {
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && !"+-._".contains(c));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        word
    }

    fn quoted(&mut self) -> Result<String, String> {
        let mut characters = self.rest.char_indices();
        let quote = characters.next().map(|(_, c)| c);
        let mut text = String::new();
        while let Some((at, c)) = characters.next() {
            match c {
                c if Some(c) == quote => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(text);
                }
                '\\' => {
                    let (_, escaped) = characters.next().ok_or("a string ends in a backslash")?;
                    text.push(unescape(escaped)?);
                }
                c => text.push(c),
            }
        }
        Err("a string does not end".into())
    }
}

fn unescape(c: char) -> Result<char, String> {
    match c {
        'n' => Ok('\n'),
        't' => Ok('\t'),
        'r' => Ok('\r'),
        '\\' | '\'' | '"' => Ok(c),
        other => Err(format!("the escape \\{other} is not understood")),
    }
}

fn agree(wanted: Option<&str>, found: &str) -> Result<(), String> {
    match wanted {
        Some(wanted) if wanted != found => {
            Err(format!("a value of type {found} where one of type {wanted} should be"))
        }
        _ => Ok(()),
    }
}

fn text_of(wanted: Option<&str>, text: String) -> Result<Value, String> {
    match wanted {
        None | Some("s") => Ok(Value::Text(text)),
        Some("o") => Ok(Value::Path(text)),
        Some("g") => Ok(Value::Signature(text)),
        Some(other) => Err(format!("a string where a value of type {other} should be")),
    }
}

/// Without a type a whole number is one of 32 bits, and one with a point a double.
fn number(wanted: Option<&str>, word: &str) -> Result<Value, String> {
    let whole = !word.contains(['.', 'e', 'E']) || word.starts_with("0x");
    let wanted = wanted.unwrap_or(if whole { "i" } else { "d" });
    let bad = || format!("{word:?} is no number of type {wanted}");
    if wanted == "d" {
        return word.parse().map(Value::Double).map_err(|_| bad());
    }
    let number = integer(word).ok_or_else(bad)?;
    let value = match wanted {
        "y" => number.try_into().ok().map(Value::Byte),
        "n" => number.try_into().ok().map(Value::I16),
        "q" => number.try_into().ok().map(Value::U16),
        "i" => number.try_into().ok().map(Value::I32),
        "u" => number.try_into().ok().map(Value::U32),
        "x" => number.try_into().ok().map(Value::I64),
        "t" => number.try_into().ok().map(Value::U64),
        _ => None,
    };
    value.ok_or_else(bad)
}

/// Decimal, or hexadecimal after 0x, or octal after 0.
fn integer(word: &str) -> Option<i128> {
    let (negative, digits) = match word.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let number = match (digits.strip_prefix("0x"), digits.strip_prefix('0')) {
        (Some(hex), _) => i128::from_str_radix(hex, 16).ok()?,
        (None, Some(octal)) if !octal.is_empty() => i128::from_str_radix(octal, 8).ok()?,
        _ => digits.parse().ok()?,
    };
    Some(if negative { -number } else { number })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_of_properties() {
        for (text, value) in [
            ("true", Value::Bool(true)),
            ("42", Value::I32(42)),
            ("uint64 123456789012", Value::U64(123_456_789_012)),
            ("@t 5", Value::U64(5)),
            ("-7", Value::I32(-7)),
            ("0x10", Value::I32(16)),
            ("1.5", Value::Double(1.5)),
            ("'inactive-or-failed'", Value::text("inactive-or-failed")),
            ("\"it's\\n\"", Value::text("it's\n")),
            (
                "['a.service', 'b']",
                Value::Array("s".into(), vec![Value::text("a.service"), Value::text("b")]),
            ),
            ("@as []", Value::Array("s".into(), vec![])),
            ("[uint32 1, 2]", Value::Array("u".into(), vec![Value::U32(1), Value::U32(2)])),
            (
                " [[true],[false]] ",
                Value::Array(
                    "ab".into(),
                    vec![
                        Value::Array("b".into(), vec![Value::Bool(true)]),
                        Value::Array("b".into(), vec![Value::Bool(false)]),
                    ],
                ),
            ),
        ] {
            assert_eq!(parse(text).unwrap(), value, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, said) in [
            ("", "missing"),
            ("yes", "\"yes\" is no value"),
            ("byte 256", "no number of type y"),
            ("[]", "needs a type"),
            ("[1, 'a']", "should be"),
            ("'a", "does not end"),
            ("[1", "does not end"),
            ("1 2", "follows"),
            ("(1, 2)", "begins no value"),
            ("uint32 true", "should be"),
            ("99999999999", "no number of type i"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
        assert!(parse(&"[".repeat(100)).unwrap_err().contains("deep"));
    }

    proptest! {
        #[test]
        fn no_text_does_harm(text in "[a-z0-9@\\[\\]'\", .+-]{0,40}", any: String) {
            let _ = parse(&text);
            let _ = parse(&any);
        }
    }
}
