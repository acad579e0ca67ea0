//! From the rooms' errors to gRPC's status.

use errors::{Error, Kind};
use tonic::{Code, Status};

/// A status travels in an HTTP/2 header, and peers bound those: longer texts made calls hang.
const MAX_MESSAGE: usize = 8 << 10;

/// What the client is told: the kind as the code, the whole chain as the message. Faults of the daemon itself are
/// logged here, since this is where they end.
pub(crate) fn refuse(error: Error) -> Status {
    match error.kind() {
        Kind::Internal | Kind::Unknown | Kind::DataLoss => {
            tracing::error!(error = %error.chain(), "request failed")
        }
        kind => tracing::debug!(?kind, error = %error.chain(), "request refused"),
    }
    Status::new(Code::from_i32(error.kind().grpc_code()), capped(error.chain()))
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
    if text.len() > MAX_MESSAGE {
        let mut end = MAX_MESSAGE - "...".len();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
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
        let status = refuse(Error::internal("ä".repeat(MAX_MESSAGE)));
        assert!(status.message().len() <= MAX_MESSAGE);
        assert!(status.message().ends_with("ä..."));
    }
}
