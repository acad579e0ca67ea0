//! Values of D-Bus messages, and their signatures (D-Bus specification, "Type System").

/// A value; what systemd's properties and answers are made of.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `y`
    Byte(u8),
    /// `b`
    Bool(bool),
    /// `n`
    I16(i16),
    /// `q`
    U16(u16),
    /// `i`
    I32(i32),
    /// `u`
    U32(u32),
    /// `x`
    I64(i64),
    /// `t`
    U64(u64),
    /// `d`
    Double(f64),
    /// `s`
    Text(String),
    /// `o`
    Path(String),
    /// `g`
    Signature(String),
    /// `a` and the signature of the elements, which an empty array has too.
    Array(String, Vec<Value>),
    /// `(...)`, and `{..}` within an array
    Struct(Vec<Value>),
    /// `v`
    Variant(Box<Value>),
}

impl Value {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Value::Text(text.into())
    }

    /// A value of any type, where one type is asked for.
    pub fn variant(self) -> Self {
        Value::Variant(Box::new(self))
    }

    /// The signature of this very value.
    pub fn signature(&self) -> String {
        match self {
            Value::Byte(_) => "y".into(),
            Value::Bool(_) => "b".into(),
            Value::I16(_) => "n".into(),
            Value::U16(_) => "q".into(),
            Value::I32(_) => "i".into(),
            Value::U32(_) => "u".into(),
            Value::I64(_) => "x".into(),
            Value::U64(_) => "t".into(),
            Value::Double(_) => "d".into(),
            Value::Text(_) => "s".into(),
            Value::Path(_) => "o".into(),
            Value::Signature(_) => "g".into(),
            Value::Array(element, _) => format!("a{element}"),
            Value::Struct(members) => {
                format!("({})", members.iter().map(Value::signature).collect::<String>())
            }
            Value::Variant(_) => "v".into(),
        }
    }

    /// The text, path or signature.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) | Value::Path(text) | Value::Signature(text) => Some(text),
            Value::Variant(inner) => inner.as_text(),
            _ => None,
        }
    }
}

/// How a type is aligned, by the first character of its signature ("Marshaling").
pub fn alignment(signature: &str) -> usize {
    match signature.as_bytes().first() {
        Some(b'n' | b'q') => 2,
        Some(b'b' | b'i' | b'u' | b's' | b'o' | b'a' | b'h') => 4,
        Some(b'x' | b't' | b'd' | b'(' | b'{') => 8,
        _ => 1,
    }
}

/// The first complete type of a signature, and the rest. `None` if it is malformed.
pub fn split_first(signature: &str) -> Option<(&str, &str)> {
    let length = complete(signature.as_bytes(), 0)?;
    Some(signature.split_at(length))
}

/// How deep arrays and structs may be nested: the specification's limit is 32 of each.
const MAX_DEPTH: usize = 64;

fn complete(signature: &[u8], depth: usize) -> Option<usize> {
    if depth > MAX_DEPTH {
        return None;
    }
    match *signature.first()? {
        b'y' | b'b' | b'n' | b'q' | b'i' | b'u' | b'x' | b't' | b'd' | b's' | b'o' | b'g' | b'v' | b'h' => {
            Some(1)
        }
        b'a' => Some(1 + complete(&signature[1..], depth + 1)?),
        open @ (b'(' | b'{') => {
            let close = if open == b'(' { b')' } else { b'}' };
            let mut at = 1;
            while *signature.get(at)? != close {
                at += complete(&signature[at..], depth + 1)?;
            }
            (at > 1).then_some(at + 1)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_split_at_complete_types() {
        assert_eq!(split_first("sa(sv)u"), Some(("s", "a(sv)u")));
        assert_eq!(split_first("a(sv)u"), Some(("a(sv)", "u")));
        assert_eq!(split_first("a{s(iv)}"), Some(("a{s(iv)}", "")));
        for bad in ["", "a", "(s", "()", "z", ")"] {
            assert_eq!(split_first(bad), None, "{bad}");
        }
        assert_eq!(split_first(&"a".repeat(1000)), None);
    }

    #[test]
    fn values_know_their_signature() {
        let property = Value::Struct(vec![Value::text("x"), Value::U64(1).variant()]);
        assert_eq!(Value::Array("(sv)".into(), vec![property]).signature(), "a(sv)");
    }
}
