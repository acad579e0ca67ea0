//! What is told: three counts, the numbers that the descriptors are to have, then texts that end with a zero byte.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The parts of a packet, but for the descriptors themselves.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Packet {
    /// The arguments after the program's name.
    pub(crate) arguments: Vec<OsString>,
    /// Changes of the environment: set, or removed.
    pub(crate) environment: Vec<(OsString, Option<OsString>)>,
    /// The numbers of the descriptors that come beside the working folder.
    pub(crate) numbers: Vec<i32>,
}

impl Packet {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1024);
        for count in [self.arguments.len(), self.environment.len(), self.numbers.len()] {
            bytes.extend(u32::try_from(count).unwrap_or(u32::MAX).to_ne_bytes());
        }
        self.numbers.iter().for_each(|number| bytes.extend(number.to_ne_bytes()));
        self.arguments.iter().for_each(|text| push(&mut bytes, text));
        for (name, value) in &self.environment {
            push(&mut bytes, name);
            // No name holds a zero byte; a first byte says if there is a value.
            bytes.push(u8::from(value.is_some()));
            push(&mut bytes, value.as_deref().unwrap_or_default());
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> io::Result<Packet> {
        let mut rest = bytes;
        let packet = decode(&mut rest).filter(|_| rest.is_empty());
        packet.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a call of this release"))
    }
}

fn push(bytes: &mut Vec<u8>, text: &OsStr) {
    bytes.extend(text.as_bytes());
    bytes.push(0);
}

fn decode(rest: &mut &[u8]) -> Option<Packet> {
    let (arguments, environment, numbers) = (number(rest)?, number(rest)?, number(rest)?);
    let mut packet = Packet::default();
    for _ in 0..numbers {
        packet.numbers.push(number(rest)?.cast_signed());
    }
    for _ in 0..arguments {
        packet.arguments.push(text(rest)?);
    }
    for _ in 0..environment {
        let name = text(rest)?;
        let (is_set, after) = rest.split_first()?;
        *rest = after;
        let value = text(rest)?;
        packet.environment.push((name, (*is_set == 1).then_some(value)));
    }
    Some(packet)
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u32::from_ne_bytes(*bytes))
}

fn text(rest: &mut &[u8]) -> Option<OsString> {
    let end = rest.iter().position(|byte| *byte == 0)?;
    let (text, after) = rest.split_at(end);
    *rest = &after[1..];
    Some(OsString::from_vec(text.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_understood() {
        let packet = Packet {
            arguments: vec!["-id".into(), "".into(), "c 1".into()],
            environment: vec![
                ("A".into(), Some("b=c".into())),
                ("D".into(), None),
                ("E".into(), Some("".into())),
            ],
            numbers: vec![0, 1, 17],
        };
        let bytes = packet.encode();
        assert_eq!(Packet::decode(&bytes).unwrap(), packet);
        for cut in 0..bytes.len() {
            assert!(Packet::decode(&bytes[..cut]).is_err(), "{cut}");
        }
        assert!(Packet::decode(&[bytes.as_slice(), b"x"].concat()).is_err());
        assert!(Packet::decode(&[0xff; 64]).is_err());
    }
}
