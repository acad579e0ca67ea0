//! What the daemon hands a starting shim, and how it wants the answer. Pure; three generations are told apart:
//!
//! | daemon | standard input | answer | told by |
//! |---|---|---|---|
//! | containerd to 1.6 | `Any` of the options, or nothing | the bare address | nothing else fits |
//! | containerd 1.7 to 2.2 | the same | JSON, version at most `MAX_SHIM_VERSION` | that variable |
//! | containerd 2.3, runtimed | `BootstrapParams` | `BootstrapResult` | its id and namespace are those of the flags |
//!
//! An `Any` is also a well-formed `BootstrapParams`, since both begin with two length-delimited fields: hence the
//! comparison (containerd's pkg/shim/compat.go).

use std::path::PathBuf;

use errors::{Kind, Result, WithKind};
use proto_shim::bootstrap::{BootstrapParams, BootstrapResult, LogLevel};
use proto_shim::options::Options;
use proto_shim::{Any, Enum, Message, unpack};
use serde::Serialize;

use crate::args::Args;

/// The newest version of the task service that is served.
const NEWEST: u32 = 3;

/// How the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The address alone; it means version 2.
    Plain,
    /// `{"version":2,"address":"unix://...","protocol":"ttrpc"}`
    Json { version: u32 },
    /// `BootstrapResult`.
    Protobuf,
}

/// All that is known at start.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Params {
    pub(crate) shape: Shape,
    pub(crate) debug: bool,
    /// The daemon's gRPC address, which goes into the name of the socket.
    pub(crate) grpc_address: String,
    /// Where events go; `None` leaves `TTRPC_ADDRESS` as it is.
    pub(crate) ttrpc_address: Option<String>,
    /// Where the socket is made, if not in the usual place.
    pub(crate) socket_dir: Option<PathBuf>,
    /// Options of the runtime, if given.
    pub(crate) options: Option<Options>,
}

#[derive(Serialize)]
struct JsonResult<'a> {
    version: u32,
    address: &'a str,
    protocol: &'a str,
}

/// Reads what the daemon wrote. `max_version` is the value of `MAX_SHIM_VERSION`.
///
/// # Errors
/// Fails on bytes of neither type.
pub(crate) fn decode(input: &[u8], args: &Args, max_version: Option<&str>) -> Result<Params> {
    match BootstrapParams::parse_from_bytes(input) {
        Ok(params) if params.instance_id == args.id && params.namespace == args.namespace => {
            modern(params, args)
        }
        _ => legacy(input, args, max_version),
    }
}

fn modern(params: BootstrapParams, args: &Args) -> Result<Params> {
    let mut options = None;
    for any in params.extensions.iter().filter_map(|extension| extension.value.as_ref()) {
        let found = unpack::<Options>(any).kind(Kind::InvalidArgument, || "parse the runtime options")?;
        options = found.or(options);
    }
    let given = |text: String| Some(text).filter(|text| !text.is_empty());
    Ok(Params {
        shape: Shape::Protobuf,
        debug: args.debug || params.log_level.value() <= LogLevel::LOG_LEVEL_DEBUG.value(),
        grpc_address: given(params.containerd_grpc_address).unwrap_or_else(|| args.address.clone()),
        ttrpc_address: given(params.containerd_ttrpc_address),
        socket_dir: params.socket_dir.and_then(given).map(PathBuf::from),
        options,
    })
}

fn legacy(input: &[u8], args: &Args, max_version: Option<&str>) -> Result<Params> {
    let any =
        Any::parse_from_bytes(input).kind(Kind::InvalidArgument, || "parse the options on standard input")?;
    let options = unpack::<Options>(&any).kind(Kind::InvalidArgument, || "parse the runtime options")?;
    let shape = match max_version.and_then(|text| text.parse::<u32>().ok()) {
        Some(max) if max >= 2 => Shape::Json { version: max.min(NEWEST) },
        _ => Shape::Plain,
    };
    Ok(Params {
        shape,
        debug: args.debug,
        grpc_address: args.address.clone(),
        ttrpc_address: None,
        socket_dir: None,
        options,
    })
}

/// Writes the answer.
///
/// # Errors
/// Fails if the answer cannot be encoded.
pub(crate) fn encode(shape: Shape, address: &str) -> Result<Vec<u8>> {
    match shape {
        Shape::Plain => Ok(address.as_bytes().to_vec()),
        Shape::Json { version } => serde_json::to_vec(&JsonResult { version, address, protocol: "ttrpc" })
            .kind(Kind::Internal, || "encode the answer"),
        Shape::Protobuf => {
            let result = BootstrapResult {
                version: NEWEST as i32,
                address: address.to_owned(),
                protocol: "ttrpc".to_owned(),
                ..Default::default()
            };
            result.write_to_bytes().kind(Kind::Internal, || "encode the answer")
        }
    }
}

#[cfg(test)]
mod tests {
    use proto_shim::bootstrap::Extension;
    use proto_shim::{EnumOrUnknown, MessageField, pack};

    use super::*;

    fn args() -> Args {
        let words = ["-namespace", "ns", "-id", "c1", "-address", "/d.sock", "start"];
        Args::parse(words.map(Into::into)).unwrap()
    }

    fn options() -> Options {
        Options { binary_name: "crun".into(), ..Default::default() }
    }

    #[test]
    fn nothing_on_stdin_is_a_plain_old_daemon() {
        let params = decode(b"", &args(), None).unwrap();
        assert_eq!((params.shape, params.options), (Shape::Plain, None));
        assert_eq!(encode(params.shape, "unix:///s").unwrap(), b"unix:///s");
    }

    #[test]
    fn max_shim_version_asks_for_json() {
        let input = pack(&options()).unwrap().write_to_bytes().unwrap();
        let params = decode(&input, &args(), Some("2")).unwrap();
        assert_eq!(params.shape, Shape::Json { version: 2 });
        assert_eq!(params.options, Some(options()));
        assert_eq!(
            encode(params.shape, "unix:///s").unwrap(),
            br#"{"version":2,"address":"unix:///s","protocol":"ttrpc"}"#
        );
        assert_eq!(decode(b"", &args(), Some("9")).unwrap().shape, Shape::Json { version: 3 });
        assert_eq!(decode(b"", &args(), Some("one")).unwrap().shape, Shape::Plain);
    }

    /// The trap: this `Any` parses as `BootstrapParams`, with the type URL for an id.
    #[test]
    fn options_are_not_taken_for_bootstrap_params() {
        let input = pack(&options()).unwrap().write_to_bytes().unwrap();
        BootstrapParams::parse_from_bytes(&input).unwrap();
        assert_eq!(decode(&input, &args(), None).unwrap().options, Some(options()));
    }

    #[test]
    fn bootstrap_params_are_answered_in_kind() {
        let extension =
            Extension { value: MessageField::some(pack(&options()).unwrap()), ..Default::default() };
        let sent = BootstrapParams {
            instance_id: "c1".into(),
            namespace: "ns".into(),
            log_level: EnumOrUnknown::from_i32(-8),
            containerd_grpc_address: "/g.sock".into(),
            containerd_ttrpc_address: "/t.sock".into(),
            socket_dir: Some("/run/s".into()),
            extensions: vec![extension],
            ..Default::default()
        };
        let params = decode(&sent.write_to_bytes().unwrap(), &args(), Some("2")).unwrap();
        assert_eq!((params.shape, params.debug), (Shape::Protobuf, true));
        assert_eq!(
            (params.grpc_address.as_str(), params.ttrpc_address.as_deref()),
            ("/g.sock", Some("/t.sock"))
        );
        assert_eq!((params.socket_dir, params.options), (Some("/run/s".into()), Some(options())));
        let result =
            BootstrapResult::parse_from_bytes(&encode(Shape::Protobuf, "unix:///s").unwrap()).unwrap();
        assert_eq!(
            (result.version, result.address.as_str(), result.protocol.as_str()),
            (3, "unix:///s", "ttrpc")
        );
    }

    #[test]
    fn torn_bytes_are_refused() {
        decode(b"\x0a\x7f", &args(), None).unwrap_err();
    }
}
