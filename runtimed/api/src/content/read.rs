//! Streams a range of a blob.

use content::Blob;
use errors::{Error, Kind, Result};
use futures::stream::{self, BoxStream, StreamExt};
use proto_containerd::services::content::ReadContentResponse;
use tonic::Status;

use crate::convert::signed;
use crate::status::refuse;

/// Bytes a message: as many as containerd sends, far below the limit of a message.
const CHUNK: u64 = 1 << 20;

/// What is still to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    offset: u64,
    end: u64,
}

impl Range {
    /// The part of a blob of `total` bytes that a request asks for. A size of 0, or one that goes too far, reads to the end; an
    /// offset beyond the end is `OutOfRange`.
    pub(super) fn new(offset: i64, size: i64, total: u64) -> Result<Range> {
        let offset = u64::try_from(offset).unwrap_or(0);
        if offset > total {
            return Err(Error::new(Kind::OutOfRange, format!("read past object length {total} bytes")));
        }
        let end = match u64::try_from(size) {
            Ok(size) if size > 0 => offset.saturating_add(size).min(total),
            _ => total,
        };
        Ok(Range { offset, end })
    }
}

/// Reads as the client takes.
pub(super) fn stream(blob: Blob, range: Range) -> BoxStream<'static, Result<ReadContentResponse, Status>> {
    stream::try_unfold((blob, range), |(blob, range)| async move {
        if range.offset >= range.end {
            return Ok(None);
        }
        let length = (range.end - range.offset).min(CHUNK);
        let data = blob.read_at(range.offset, length as usize).await.map_err(refuse)?;
        if data.is_empty() {
            let message = format!("blob ends at {} bytes, not at {}", range.offset, range.end);
            return Err(refuse(Error::new(Kind::DataLoss, message)));
        }
        let next = Range { offset: range.offset + data.len() as u64, end: range.end };
        let response = ReadContentResponse { offset: signed(range.offset), data };
        Ok(Some((response, (blob, next))))
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_clipped_to_the_blob() {
        for (offset, size, expected) in [
            (0, 0, (0, 10)),
            (3, 0, (3, 10)),
            (3, 4, (3, 7)),
            (3, 99, (3, 10)),
            (10, 0, (10, 10)),
            (-1, -1, (0, 10)),
        ] {
            let range = Range::new(offset, size, 10).unwrap();
            assert_eq!((range.offset, range.end), expected, "{offset} {size}");
        }
        assert_eq!(Range::new(0, i64::MAX, 10).unwrap().end, 10);
    }

    #[test]
    fn beyond_the_end_is_out_of_range() {
        let error = Range::new(11, 0, 10).unwrap_err();
        assert_eq!(error.kind(), Kind::OutOfRange);
        assert_eq!(error.to_string(), "read past object length 10 bytes");
    }
}
