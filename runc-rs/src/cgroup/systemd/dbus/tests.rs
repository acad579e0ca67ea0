//! The connection, against a bus that a test plays itself.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::JoinHandle;

use super::*;

const TARGET: Target<'_> = Target { destination: Some("a.b"), path: "/a", interface: "a.b.C" };

/// A bus that lets anybody in and gives these answers, each after a call.
fn bus(answers: Vec<Vec<u8>>) -> (tempfile::TempDir, String, JoinHandle<()>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bus");
    let listener = UnixListener::bind(&path).unwrap();
    let bus = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut line = String::new();
        while !line.ends_with("BEGIN\r\n") {
            assert_ne!(reader.read_line(&mut line).unwrap(), 0);
        }
        assert!(line.starts_with("\0AUTH EXTERNAL\r\n"), "{line:?}");
        (&stream).write_all(b"DATA\r\nOK 0123\r\n").unwrap();
        for answer in answers {
            skip(&mut reader);
            (&stream).write_all(&answer).unwrap();
        }
    });
    (dir, format!("unix:path={}", path.display()), bus)
}

/// Reads a call.
fn skip(reader: &mut BufReader<UnixStream>) {
    let mut fixed = [0; message::FIXED];
    reader.read_exact(&mut fixed).unwrap();
    let rest = message::length(&fixed).unwrap() - message::FIXED;
    reader.read_exact(&mut vec![0; rest]).unwrap();
}

/// A message of another kind than a call, made from one.
fn message(kind: u8, fields: &[(u8, Value)], body: &[Value]) -> Vec<u8> {
    let mut content = wire::Writer::default();
    body.iter().for_each(|value| content.value(value));
    let signature: String = body.iter().map(Value::signature).collect();
    let mut all: Vec<_> = fields.to_vec();
    all.push((8, Value::Signature(signature)));
    let fields = all.into_iter().map(|(code, value)| Value::Struct(vec![Value::Byte(code), value.variant()]));
    let mut header = wire::Writer { bytes: vec![b'l', kind, 0, 1] };
    header.value(&Value::U32(u32::try_from(content.bytes.len()).unwrap()));
    header.value(&Value::U32(1));
    header.value(&Value::Array("(yv)".into(), fields.collect()));
    header.align(8);
    [header.bytes, content.bytes].concat()
}

fn answer(to: u32, body: &[Value]) -> Vec<u8> {
    message(message::RETURN, &[(5, Value::U32(to))], body)
}

#[test]
fn calls_are_answered_and_signals_wait() {
    let signal = message(message::SIGNAL, &[(3, Value::text("JobRemoved"))], &[Value::U32(9)]);
    let refusal = [(5, Value::U32(3)), (4, Value::text("a.b.NoSuchUnit"))];
    let (_dir, address, bus) = bus(vec![
        answer(1, &[Value::text(":1.5")]),
        [signal, answer(99, &[]), answer(2, &[Value::U64(7)])].concat(),
        message(message::ERROR, &refusal, &[Value::text("not loaded")]),
    ]);
    let mut connection = Connection::to_bus(&address).unwrap();
    assert_eq!(connection.call(TARGET, "Get", &[]).unwrap(), [Value::U64(7)]);
    let end = Instant::now() + WITHIN;
    let found = connection.signal(end, |m| (m.member == "JobRemoved").then(|| m.body.clone())).unwrap();
    assert_eq!(found, [Value::U32(9)]);
    let error = connection.call(TARGET, "Stop", &[]).unwrap_err();
    assert!(error.is("a.b.NoSuchUnit") && error.to_string() == "not loaded", "{error:?}");
    bus.join().unwrap();
    assert!(connection.call(TARGET, "Gone", &[]).is_err());
}

#[test]
fn what_is_no_message_is_an_error() {
    let (_dir, address, bus) = bus(vec![b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()]);
    let error = Connection::to_bus(&address).unwrap_err().to_string();
    assert!(error.contains("no message"), "{error}");
    bus.join().unwrap();
}

#[test]
fn silence_ends_in_time() {
    let (_dir, address, bus) = bus(vec![answer(1, &[])]);
    let mut connection = Connection::to_bus(&address).unwrap();
    let error = connection.signal(Instant::now(), |_| Some(())).unwrap_err();
    assert!(error.to_string().contains("timeout"), "{error}");
    bus.join().unwrap();
}
