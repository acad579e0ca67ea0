//! Protocol buffers, as far as criu's requests and answers need them: numbers, texts and messages, with nothing packed.

/// A message being written. What is absent is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Writer {
    bytes: Vec<u8>,
}

const VARINT: u64 = 0;
const LENGTH: u64 = 2;

impl Writer {
    /// The message.
    pub fn bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// A number; a negative one takes ten bytes.
    pub fn number(&mut self, field: u64, value: i64) -> &mut Self {
        self.varint(field << 3 | VARINT);
        self.varint(value.cast_unsigned());
        self
    }

    /// A switch that is on; one that is off is what an absent field means.
    pub fn switch(&mut self, field: u64, on: bool) -> &mut Self {
        if on { self.number(field, 1) } else { self }
    }

    /// A text; an empty one is left out.
    pub fn text(&mut self, field: u64, text: &str) -> &mut Self {
        if text.is_empty() { self } else { self.data(field, text.as_bytes()) }
    }

    /// A message in this one.
    pub fn message(&mut self, field: u64, message: Writer) -> &mut Self {
        self.data(field, &message.bytes)
    }

    fn data(&mut self, field: u64, data: &[u8]) -> &mut Self {
        self.varint(field << 3 | LENGTH);
        self.varint(data.len() as u64);
        self.bytes.extend(data);
        self
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
}

/// One field of a message that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// A number.
    Number(u64),
    /// A text or a message.
    Data(&'a [u8]),
}

/// The fields of a message by their numbers; `None` for what is no message.
pub fn read(mut rest: &[u8]) -> Option<Vec<(u64, Value<'_>)>> {
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        let value = match key & 7 {
            VARINT => Value::Number(varint(&mut rest)?),
            LENGTH => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                let (data, after) = rest.split_at_checked(length)?;
                rest = after;
                Value::Data(data)
            }
            // Fixed widths, which nothing here has a use for.
            1 => skip(&mut rest, 8)?,
            5 => skip(&mut rest, 4)?,
            _ => return None,
        };
        fields.push((key >> 3, value));
    }
    Some(fields)
}

fn skip<'a>(rest: &mut &'a [u8], count: usize) -> Option<Value<'a>> {
    let (data, after) = rest.split_at_checked(count)?;
    *rest = after;
    Some(Value::Data(data))
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_the_encoding() {
        let mut inner = Writer::default();
        inner.text(1, "ab").number(2, 300);
        let mut message = Writer::default();
        message.number(1, 1).switch(3, true).switch(4, false).text(5, "").message(2, inner).number(6, -1);
        let bytes = message.bytes();
        assert_eq!(bytes[..4], [0x08, 1, 0x18, 1]);
        assert_eq!(bytes[4..13], [0x12, 7, 0x0a, 2, b'a', b'b', 0x10, 0xac, 2]);
        let fields = read(&bytes).unwrap();
        assert_eq!(fields[3], (6, Value::Number(u64::MAX)));
        let Value::Data(inner) = fields[2].1 else { panic!("{fields:?}") };
        assert_eq!(read(inner).unwrap(), [(1, Value::Data(b"ab")), (2, Value::Number(300))]);
    }

    proptest::proptest! {
        #[test]
        fn garbage_does_no_harm(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..100)) {
            let _ = read(&bytes);
        }

        #[test]
        fn numbers_come_back(number in proptest::num::i64::ANY) {
            let mut message = Writer::default();
            message.number(7, number);
            let bytes = message.bytes();
            proptest::prop_assert_eq!(read(&bytes).unwrap(), [(7, Value::Number(number.cast_unsigned()))]);
        }
    }
}
