//! Messages (D-Bus specification, "Message Protocol").

use super::value::Value;
use super::wire::{Reader, Writer};

/// The most that one message may be: what systemd sends to a client like this is below a few kilobytes.
pub const LIMIT: usize = 4 << 20;
/// The part of the header that has a fixed size, with the length of the rest at its end.
pub const FIXED: usize = 16;

// Types of messages.
/// A call of a method.
pub const CALL: u8 = 1;
/// The answer to a call.
pub const RETURN: u8 = 2;
/// An error as the answer to a call.
pub const ERROR: u8 = 3;
/// A signal.
pub const SIGNAL: u8 = 4;

// Header fields.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

const VERSION: u8 = 1;

/// A message that has come.
#[derive(Debug, Default, PartialEq)]
pub struct Message {
    /// [`RETURN`] and so on.
    pub kind: u8,
    /// The call that it answers.
    pub reply_to: Option<u32>,
    /// The name of an error.
    pub error: String,
    /// The member of a signal.
    pub member: String,
    /// The arguments.
    pub body: Vec<Value>,
}

/// Whom a call goes to.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The name on the bus; none on a connection without a bus.
    pub destination: Option<&'a str>,
    /// The object.
    pub path: &'a str,
    /// The interface.
    pub interface: &'a str,
}

/// The bytes of a call.
pub fn call(serial: u32, target: Target<'_>, method: &str, body: &[Value]) -> Vec<u8> {
    let mut content = Writer::default();
    body.iter().for_each(|value| content.value(value));
    let signature: String = body.iter().map(Value::signature).collect();
    let field = |code: u8, value: Value| Value::Struct(vec![Value::Byte(code), value.variant()]);
    let mut fields = vec![
        field(PATH, Value::Path(target.path.to_owned())),
        field(INTERFACE, Value::text(target.interface)),
        field(MEMBER, Value::text(method)),
    ];
    fields.extend(target.destination.map(|name| field(DESTINATION, Value::text(name))));
    if !signature.is_empty() {
        fields.push(field(SIGNATURE, Value::Signature(signature)));
    }
    let mut header = Writer { bytes: vec![b'l', CALL, 0, VERSION] };
    header.value(&Value::U32(u32::try_from(content.bytes.len()).unwrap_or(u32::MAX)));
    header.value(&Value::U32(serial));
    header.value(&Value::Array("(yv)".into(), fields));
    header.align(8);
    header.bytes.extend(content.bytes);
    header.bytes
}

/// How long the whole message is, from its first bytes. `None` if it is none, or larger than [`LIMIT`].
pub fn length(fixed: &[u8; FIXED]) -> Option<usize> {
    if fixed[0] != b'l' || fixed[3] != VERSION {
        return None;
    }
    let mut reader = Reader::new(fixed);
    let numbers = reader.values("yyyyuuu")?;
    let [.., Value::U32(body), _, Value::U32(fields)] = numbers.as_slice() else { return None };
    let header = FIXED.checked_add(usize::try_from(*fields).ok()?)?.checked_next_multiple_of(8)?;
    header.checked_add(usize::try_from(*body).ok()?).filter(|length| *length <= LIMIT)
}

/// Reads a whole message.
pub fn parse(bytes: &[u8]) -> Option<Message> {
    let mut reader = Reader::new(bytes);
    let header = reader.values("yyyyuua(yv)")?;
    let [_, Value::Byte(kind), .., Value::Array(_, fields)] = header.as_slice() else { return None };
    let mut message = Message { kind: *kind, ..Message::default() };
    let mut signature = String::new();
    for field in fields {
        let Value::Struct(pair) = field else { return None };
        let [Value::Byte(code), Value::Variant(value)] = pair.as_slice() else { return None };
        let text = || value.as_text().unwrap_or_default().to_owned();
        match (*code, value.as_ref()) {
            (REPLY_SERIAL, Value::U32(serial)) => message.reply_to = Some(*serial),
            (ERROR_NAME, _) => message.error = text(),
            (MEMBER, _) => message.member = text(),
            (SIGNATURE, _) => signature = text(),
            _ => {}
        }
    }
    reader.align(8)?;
    message.body = reader.values(&signature)?;
    Some(message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TARGET: Target<'_> =
        Target { destination: Some("org.freedesktop.systemd1"), path: "/org", interface: "a.b" };

    #[test]
    fn a_call_is_a_message() {
        let bytes = call(3, TARGET, "StopUnit", &[Value::text("x.scope"), Value::text("replace")]);
        let fixed: [u8; FIXED] = bytes[..FIXED].try_into().unwrap();
        assert_eq!(length(&fixed), Some(bytes.len()));
        let message = parse(&bytes).unwrap();
        assert_eq!((message.kind, message.member.as_str()), (CALL, "StopUnit"));
        assert_eq!(message.body, [Value::text("x.scope"), Value::text("replace")]);
    }

    #[test]
    fn what_is_too_large_or_no_message_is_refused() {
        let mut bytes = call(1, TARGET, "Hello", &[]);
        bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(length(bytes[..FIXED].try_into().unwrap()), None);
        assert_eq!(length(b"HTTP/1.1 400 Bad"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(bytes: Vec<u8>, at in 0usize..90, with: u8) {
            let _ = parse(&bytes);
            let mut call = call(1, TARGET, "Method", &[Value::Array("(sv)".into(), vec![])]);
            let at = at % call.len();
            call[at] = with;
            let _ = parse(&call);
        }
    }
}
