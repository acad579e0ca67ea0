//! Records out of bytes: `<RFC 3339 time> <stdout|stderr> <P|F>[:<tag>...] <content>\n` (Kubernetes' CRI
//! logging design). Pure.

use std::time::SystemTime;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::{Line, Stream};

/// A longer record is given in pieces. Writers keep to 16 KiB of content.
pub(crate) const LONGEST: usize = 64 << 10;

/// A longer head is none.
pub(crate) const LONGEST_HEAD: usize = 256;

/// What stands before the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) time: SystemTime,
    pub(crate) stream: Stream,
    /// Tag P.
    pub(crate) partial: bool,
}

/// Cuts what is read into records.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    buffer: Vec<u8>,
    /// Where in the buffer the next record begins.
    begin: usize,
    /// How many bytes from there on have no end of a record in them: they are not looked at again, however small the pieces are that come.
    looked: usize,
    /// Of a record whose beginning was given already.
    begun: Option<Begun>,
    skipped: u64,
}

#[derive(Debug, Clone, Copy)]
enum Begun {
    Record(Head),
    Nonsense,
}

impl Head {
    /// Reads the head of a record; also says where the content begins. `None` if it is none.
    pub(crate) fn parse(record: &[u8]) -> Option<(Head, usize)> {
        let head = &record[..record.len().min(LONGEST_HEAD)];
        let mut parts = head.splitn(4, |byte| *byte == b' ');
        let (time, stream, tags) = (parts.next()?, parts.next()?, parts.next()?);
        parts.next()?;
        let stream = match stream {
            b"stdout" => Stream::Stdout,
            b"stderr" => Stream::Stderr,
            _ => return None,
        };
        let partial = match tags.split(|byte| *byte == b':').next()? {
            b"P" => true,
            b"F" => false,
            _ => return None,
        };
        let content = time.len() + 1 + 6 + 1 + tags.len() + 1;
        let time = OffsetDateTime::parse(std::str::from_utf8(time).ok()?, &Rfc3339).ok()?;
        Some((Head { time: time.into(), stream, partial }, content))
    }

    fn line(self, bytes: &[u8], goes_on: bool) -> Line {
        let partial = self.partial || goes_on;
        Line { time: self.time, stream: self.stream, partial, bytes: bytes.to_vec() }
    }
}

impl Splitter {
    /// Takes what was read next.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.begin);
        self.begin = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next record, if all of it, or too much of it, is there. What is no record is left out.
    pub(crate) fn next(&mut self) -> Option<Line> {
        loop {
            let rest = &self.buffer[self.begin..];
            let fresh = &rest[self.looked..];
            let (end, consumed, goes_on) = match fresh.iter().position(|byte| *byte == b'\n') {
                Some(end) => (self.looked + end, self.looked + end + 1, false),
                None if rest.len() < LONGEST => {
                    self.looked = rest.len();
                    return None;
                }
                None => (rest.len(), rest.len(), true),
            };
            self.looked = 0;
            let piece = self.begin..self.begin + end;
            self.begin += consumed;
            let line = self.cut(piece, goes_on);
            if line.is_some() {
                return line;
            }
        }
    }

    /// What stands at the end of the log without an end of its own: a writer that was killed, or that is
    /// writing.
    pub(crate) fn finish(&mut self) -> Option<Line> {
        let piece = self.begin..self.buffer.len();
        self.begin = self.buffer.len();
        self.looked = 0;
        let line = if piece.is_empty() { None } else { self.cut(piece, true) };
        self.begun = None;
        line.filter(|line| !line.bytes.is_empty())
    }

    /// The log was cut off under the reader: what has begun will not go on.
    pub(crate) fn clear(&mut self) {
        *self = Splitter { skipped: self.skipped, ..Splitter::default() };
    }

    fn cut(&mut self, piece: std::ops::Range<usize>, goes_on: bool) -> Option<Line> {
        let bytes = &self.buffer[piece];
        let (begun, content) = match self.begun.take() {
            Some(begun) => (begun, 0),
            None => match Head::parse(bytes) {
                Some((head, content)) => (Begun::Record(head), content),
                None => (Begun::Nonsense, 0),
            },
        };
        self.begun = goes_on.then_some(begun);
        match begun {
            Begun::Record(head) => Some(head.line(&bytes[content..], goes_on)),
            Begun::Nonsense => {
                self.skipped += 1;
                if self.skipped == 1 && !bytes.is_empty() {
                    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(64)]);
                    tracing::warn!(begin = %shown, "a container's log has lines that are no records; they are left out");
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn split(bytes: &[u8]) -> Vec<Line> {
        let mut splitter = Splitter::default();
        splitter.push(bytes);
        let mut lines: Vec<Line> = std::iter::from_fn(|| splitter.next()).collect();
        lines.extend(splitter.finish());
        lines
    }

    #[test]
    fn records_are_understood() {
        let lines =
            split(b"2024-05-06T07:08:09.123456789Z stdout F a b\n2024-05-06T09:08:09+02:00 stderr P:x \n");
        let at = |nanos| SystemTime::UNIX_EPOCH + Duration::new(1_714_979_289, nanos);
        let first =
            Line { time: at(123_456_789), stream: Stream::Stdout, partial: false, bytes: b"a b".to_vec() };
        let second = Line { time: at(0), stream: Stream::Stderr, partial: true, bytes: Vec::new() };
        assert_eq!(lines, [first, second]);
    }

    #[test]
    fn what_is_no_record_is_left_out() {
        for bad in
            ["", "x", "2024 stdout F a", "2024-05-06T07:08:09Z stdin F a", "2024-05-06T07:08:09Z stdout X a"]
        {
            let good = "2024-05-06T07:08:09Z stdout F good";
            let lines = split(format!("{bad}\n{good}\n").as_bytes());
            assert_eq!(lines.len(), 1, "{bad}");
            assert_eq!(lines[0].bytes, b"good", "{bad}");
        }
    }

    #[test]
    fn a_torn_end_is_given_as_far_as_it_goes() {
        let lines = split(b"2024-05-06T07:08:09Z stdout F half");
        assert_eq!((lines[0].bytes.as_slice(), lines[0].partial), (&b"half"[..], true));
        assert_eq!(split(b"2024-05-06T07:08:0"), []);
        assert_eq!(split(b"2024-05-06T07:08:09Z stdout F "), []);
    }

    #[test]
    fn an_endless_record_comes_in_pieces() {
        let mut splitter = Splitter::default();
        splitter.push(b"2024-05-06T07:08:09Z stdout F ");
        let (mut size, mut most) = (0, 0);
        let mut take = |splitter: &mut Splitter| {
            while let Some(line) = splitter.next() {
                size += line.bytes.len();
                most = most.max(line.bytes.len());
                assert!(line.bytes.iter().all(|byte| *byte == b'x'));
            }
        };
        for _ in 0..100 {
            splitter.push(&[b'x'; 10_000]);
            take(&mut splitter);
            assert!(splitter.buffer.len() < LONGEST + 10_000);
        }
        splitter.push(b"\n");
        take(&mut splitter);
        assert_eq!(size, 1_000_000);
        assert!(most < LONGEST + 10_000);
        splitter.push(b"2024-05-06T07:08:09Z stdout F next\n");
        assert_eq!(splitter.next().unwrap().bytes, b"next");
    }

    #[test]
    fn endless_nonsense_is_no_memory_and_no_line() {
        let mut splitter = Splitter::default();
        for _ in 0..100 {
            splitter.push(&[b'x'; 10_000]);
            assert_eq!(splitter.next(), None);
            assert!(splitter.buffer.len() < LONGEST + 10_000);
        }
        splitter.push(b"\n2024-05-06T07:08:09Z stdout F next\n");
        assert_eq!(splitter.next().unwrap().bytes, b"next");
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_bytes_arrive(
            contents in prop::collection::vec(("[a-z ]{0,40}", any::<bool>()), 0..20),
            cuts in prop::collection::vec(1..50usize, 0..40),
        ) {
            let record = |(text, partial): &(String, bool)| {
                let tag = if *partial { 'P' } else { 'F' };
                format!("2024-05-06T07:08:09.5Z stderr {tag} {text}\n")
            };
            let log: Vec<u8> = contents.iter().flat_map(|content| record(content).into_bytes()).collect();
            let mut splitter = Splitter::default();
            let mut lines = Vec::new();
            let mut rest = log.as_slice();
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                splitter.push(piece);
                lines.extend(std::iter::from_fn(|| splitter.next()));
                rest = after;
            }
            let got: Vec<_> = lines
                .into_iter()
                .map(|line| (String::from_utf8(line.bytes).unwrap(), line.partial))
                .collect();
            prop_assert_eq!(got, contents);
        }

        #[test]
        fn no_bytes_are_a_danger(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            split(&bytes);
        }
    }
}
