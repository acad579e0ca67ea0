//! From the rooms' errors to gRPC's status.

use errors::{Error, Kind};
use tonic::{Code, Status};

/// The longest message, in bytes.
const MAX_MESSAGE: usize = 8 << 10;
/// The longest message as it travels, percent-encoded in an HTTP/2 header. Peers take 16 KiB of headers by default, and some
/// hang when there are more.
const MAX_ENCODED: usize = 12 << 10;

/// What the client is told: the kind as the code, the whole chain as the message. Faults of the daemon itself are
/// logged here, since this is where they end.
pub(crate) fn refuse(error: Error) -> Status {
    let message = capped(error.chain());
    match error.kind() {
        Kind::Internal | Kind::Unknown | Kind::DataLoss => tracing::error!(error = message, "request failed"),
        kind => tracing::debug!(?kind, error = message, "request refused"),
    }
    Status::new(Code::from_i32(error.kind().grpc_code()), message)
}

/// [`Kind::InvalidArgument`] with a message of the front's own.
pub(crate) fn invalid(message: impl Into<String>) -> Status {
    refuse(Error::invalid(message))
}

/// A field that the request must have.
pub(crate) fn required<T>(field: Option<T>, name: &str) -> Result<T, Status> {
    field.ok_or_else(|| invalid(format!("{name} is required")))
}

fn capped(mut text: String) -> String {
    let mut encoded = 0;
    let end = text.char_indices().find_map(|(start, letter)| {
        // What is not plainly a letter or a digit may take three bytes for each of its own.
        encoded += if letter.is_ascii_alphanumeric() { 1 } else { 3 * letter.len_utf8() };
        let end = start + letter.len_utf8();
        (end > MAX_MESSAGE - "...".len() || encoded > MAX_ENCODED).then_some(start)
    });
    if let Some(end) = end {
        text.truncate(end);
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_has_the_code_and_the_chain() {
        let error = Error::with_source(Kind::NotFound, "read blob", Error::internal("open /x"));
        let status = refuse(error);
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(status.message(), "read blob: open /x");
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let plain = refuse(Error::internal("a".repeat(2 * MAX_MESSAGE)));
        assert_eq!(plain.message().len(), MAX_MESSAGE);
        let encoded = refuse(Error::internal("ä".repeat(MAX_MESSAGE)));
        assert!(3 * encoded.message().len() <= MAX_ENCODED + 9);
        assert!(encoded.message().ends_with("ä..."));
        let short = refuse(Error::internal("ä \"ö\""));
        assert_eq!(short.message(), "ä \"ö\"");
    }
}
