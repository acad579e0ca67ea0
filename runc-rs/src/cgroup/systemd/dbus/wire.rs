//! The bytes of values (D-Bus specification, "Marshaling (Wire Format)"): little-endian, aligned from the message's start.

use super::value::{Value, alignment, split_first};

/// How deep values are followed: variants hide their depth from their signature.
const MAX_DEPTH: usize = 64;

/// Bytes that grow.
#[derive(Debug, Default)]
pub struct Writer {
    /// What has been written.
    pub bytes: Vec<u8>,
}

impl Writer {
    /// Fills up with zeros to a multiple of `to`.
    pub fn align(&mut self, to: usize) {
        let length = self.bytes.len().next_multiple_of(to);
        self.bytes.resize(length, 0);
    }

    /// Writes a value.
    pub fn value(&mut self, value: &Value) {
        self.align(alignment(&value.signature()));
        match value {
            Value::Byte(n) => self.bytes.push(*n),
            Value::Bool(b) => self.raw(&u32::from(*b).to_le_bytes()),
            Value::I16(n) => self.raw(&n.to_le_bytes()),
            Value::U16(n) => self.raw(&n.to_le_bytes()),
            Value::I32(n) => self.raw(&n.to_le_bytes()),
            Value::U32(n) => self.raw(&n.to_le_bytes()),
            Value::I64(n) => self.raw(&n.to_le_bytes()),
            Value::U64(n) => self.raw(&n.to_le_bytes()),
            Value::Double(n) => self.raw(&n.to_le_bytes()),
            Value::Text(text) | Value::Path(text) => {
                self.raw(&length(text.len()).to_le_bytes());
                self.zero_terminated(text);
            }
            Value::Signature(text) => self.signature(text),
            Value::Array(element, items) => self.array(element, items),
            Value::Struct(members) => members.iter().for_each(|member| self.value(member)),
            Value::Variant(inner) => {
                self.signature(&inner.signature());
                self.value(inner);
            }
        }
    }

    /// The length does not count the padding before the first element.
    fn array(&mut self, element: &str, items: &[Value]) {
        let at = self.bytes.len();
        self.raw(&[0; 4]);
        self.align(alignment(element));
        let start = self.bytes.len();
        items.iter().for_each(|item| self.value(item));
        let size = length(self.bytes.len() - start);
        self.bytes[at..at + 4].copy_from_slice(&size.to_le_bytes());
    }

    fn signature(&mut self, text: &str) {
        self.bytes.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        self.zero_terminated(text);
    }

    fn zero_terminated(&mut self, text: &str) {
        self.raw(text.as_bytes());
        self.bytes.push(0);
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }
}

/// What is written is far smaller than a message may be; the connection checks that.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Bytes that are read from the front. Every answer is `None` where they are not what the signature says.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader of a message from its start, or of something that is aligned like it.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Passes over the padding before something aligned to `to`.
    pub fn align(&mut self, to: usize) -> Option<()> {
        self.at = self.at.checked_next_multiple_of(to)?;
        (self.at <= self.bytes.len()).then_some(())
    }

    /// Values of the types of `signature`.
    pub fn values(&mut self, signature: &str) -> Option<Vec<Value>> {
        self.members(signature, 0)
    }

    fn members(&mut self, mut signature: &str, depth: usize) -> Option<Vec<Value>> {
        let mut values = Vec::new();
        while !signature.is_empty() {
            let (first, rest) = split_first(signature)?;
            values.push(self.value(first, depth)?);
            signature = rest;
        }
        Some(values)
    }

    fn value(&mut self, signature: &str, depth: usize) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.align(alignment(signature))?;
        Some(match *signature.as_bytes().first()? {
            b'y' => Value::Byte(self.take(1)?[0]),
            b'b' => Value::Bool(self.u32()? != 0),
            b'n' => Value::I16(i16::from_le_bytes(self.array_of()?)),
            b'q' => Value::U16(u16::from_le_bytes(self.array_of()?)),
            b'i' => Value::I32(i32::from_le_bytes(self.array_of()?)),
            b'u' | b'h' => Value::U32(self.u32()?),
            b'x' => Value::I64(i64::from_le_bytes(self.array_of()?)),
            b't' => Value::U64(u64::from_le_bytes(self.array_of()?)),
            b'd' => Value::Double(f64::from_le_bytes(self.array_of()?)),
            b's' => Value::Text(self.text()?),
            b'o' => Value::Path(self.text()?),
            b'g' => Value::Signature(self.signature()?),
            b'a' => self.array(&signature[1..], depth)?,
            b'v' => {
                let inner = self.signature()?;
                let (first, rest) = split_first(&inner)?;
                let value = rest.is_empty().then(|| self.value(first, depth + 1)).flatten()?;
                value.variant()
            }
            _ => Value::Struct(self.members(&signature[1..signature.len() - 1], depth + 1)?),
        })
    }

    fn array(&mut self, element: &str, depth: usize) -> Option<Value> {
        let size = usize::try_from(self.u32()?).ok()?;
        self.align(alignment(element))?;
        let end = self.at.checked_add(size).filter(|end| *end <= self.bytes.len())?;
        let mut items = Vec::new();
        while self.at < end {
            items.push(self.value(element, depth + 1)?);
        }
        (self.at == end).then_some(Value::Array(element.to_owned(), items))
    }

    fn text(&mut self) -> Option<String> {
        let size = usize::try_from(self.u32()?).ok()?;
        self.terminated(size)
    }

    fn signature(&mut self) -> Option<String> {
        let size = usize::from(self.take(1)?[0]);
        self.terminated(size)
    }

    fn terminated(&mut self, size: usize) -> Option<String> {
        let text = String::from_utf8(self.take(size)?.to_vec()).ok()?;
        (self.take(1)? == [0]).then_some(text)
    }

    /// The next number of 32 bits, which has to be aligned.
    pub fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.array_of()?))
    }

    fn array_of<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let bytes = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round(values: &[Value]) -> Option<Vec<Value>> {
        let mut writer = Writer::default();
        values.iter().for_each(|value| writer.value(value));
        let signature: String = values.iter().map(Value::signature).collect();
        Reader::new(&writer.bytes).values(&signature)
    }

    #[test]
    fn values_come_back() {
        let values = vec![
            Value::Byte(7),
            Value::text("scope"),
            Value::Array(
                "(sv)".into(),
                vec![
                    Value::Struct(vec![Value::text("TasksMax"), Value::U64(u64::MAX).variant()]),
                    Value::Struct(vec![Value::text("Delegate"), Value::Bool(true).variant()]),
                    Value::Struct(vec![
                        Value::text("AllowedCPUs"),
                        Value::Array("y".into(), vec![Value::Byte(5)]).variant(),
                    ]),
                ],
            ),
            Value::Array("(ss)".into(), vec![]),
            Value::Double(1.5),
            Value::I16(-3),
            Value::Path("/org".into()),
        ];
        assert_eq!(round(&values), Some(values));
    }

    #[test]
    fn numbers_stand_where_the_specification_says() {
        let mut writer = Writer::default();
        writer.value(&Value::Byte(1));
        writer.value(&Value::Array("t".into(), vec![Value::U64(2)]));
        assert_eq!(writer.bytes, [1, 0, 0, 0, 8, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        assert_eq!(Reader::new(&[255, 255, 255, 255, b'x', 0]).values("s"), None);
        assert_eq!(Reader::new(&[3, 0, 0, 0, 1, 2]).values("ay"), None);
        assert_eq!(Reader::new(&[1, 0, 0, 0, b'x', 1]).values("s"), None);
        let deep: Vec<u8> = [1, b'v', 0].repeat(1000);
        assert_eq!(Reader::new(&deep).values("v"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(bytes: Vec<u8>, signature in "[ybnqiuxtdsogav(){}]{0,12}") {
            let _ = Reader::new(&bytes).values(&signature);
        }
    }
}
