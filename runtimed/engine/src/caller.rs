//! What the headers say of the caller, and how errors reach it.

use errors::Error;
use ids::Namespace;
use tonic::{Code, Status};

/// The header that names the namespace, as in containerd's API.
const HEADER: &str = "containerd-namespace";
/// The most bytes of an error's text: a long one does not fit into HTTP/2 headers.
const TEXT_LIMIT: usize = 8 << 10;

/// The namespace of a request.
pub fn namespace(metadata: &tonic::metadata::MetadataMap) -> Result<Namespace, Status> {
    let value = metadata
        .get(HEADER)
        .ok_or_else(|| Status::failed_precondition("namespace is required"))?
        .to_str()
        .map_err(|_| Status::invalid_argument("the namespace header is not text"))?;
    Namespace::parse(value).map_err(status)
}

/// An error as the caller sees it: its kind, and its text with all causes.
pub fn status(error: Error) -> Status {
    let mut text = error.chain();
    if text.len() > TEXT_LIMIT {
        let end = (0..=TEXT_LIMIT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push_str("...");
    }
    Status::new(Code::from(error.kind().grpc_code()), text)
}

/// A request whose messages do not follow the protocol.
pub fn bad_request(text: impl Into<String>) -> Status {
    Status::invalid_argument(text)
}
