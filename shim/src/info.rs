//! `-info`: reads runtime options from standard input, prints a `RuntimeInfo`: who this shim is, and what its
//! executor can do.

use std::io::{Read, stdin};

use errors::{Context, Error, Kind, Result, WithKind};
use proto_shim::options::Options;
use proto_shim::types::{RuntimeInfo, RuntimeVersion};
use proto_shim::{Any, Message, MessageField, pack, unpack};
use runc_client::Runc;

use crate::{executor, serve};

/// How containerd's typeurl names the OCI features document.
const FEATURES: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

/// Does it all.
///
/// # Errors
/// Fails on input that is no runtime options.
pub(crate) fn run() -> Result<()> {
    let mut input = Vec::new();
    stdin().lock().take(10 << 20).read_to_end(&mut input).context(|| "read standard input")?;
    let options = options(&input)?;
    let binary =
        executor::choose(options.as_ref().map(|options| options.binary_name.as_str()).unwrap_or_default());
    // An executor that does not know the verb has no features to tell of.
    let features = serve::runtime()?.block_on(Runc::new(binary).features()).ok().map(|json| Any {
        type_url: FEATURES.to_owned(),
        value: json.get().as_bytes().to_vec(),
        ..Any::default()
    });
    let options =
        options.map(|options| pack(&options)).transpose().kind(Kind::Internal, || "encode the options")?;
    let info = RuntimeInfo {
        name: "io.containerd.runtimed.v2".to_owned(),
        version: MessageField::some(RuntimeVersion {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..RuntimeVersion::default()
        }),
        options: options.into(),
        features: features.into(),
        ..RuntimeInfo::default()
    };
    crate::print(&info.write_to_bytes().kind(Kind::Internal, || "encode the answer")?)
}

fn options(input: &[u8]) -> Result<Option<Options>> {
    if input.is_empty() {
        return Ok(None);
    }
    let any =
        Any::parse_from_bytes(input).kind(Kind::InvalidArgument, || "parse the options on standard input")?;
    let options = unpack::<Options>(&any).kind(Kind::InvalidArgument, || "parse the runtime options")?;
    match options {
        Some(options) => Ok(Some(options)),
        None => Err(Error::invalid(format!("runtime options of type {:?} are not known", any.type_url))),
    }
}
