//! What a shim prints at start: where it listens, in one of three forms.
//!
//! - `BootstrapResult`, protobuf: containerd 2.3 and later;
//! - `{"version":3,"address":"unix://...","protocol":"ttrpc"}`: 2.0 to 2.2;
//! - a plain address: up to 1.7, task service version 2 over ttrpc.

use errors::{Error, Kind, Result, WithKind};
use proto_shim::Message;
use proto_shim::bootstrap::BootstrapResult;

use crate::bundle::Bootstrap;

/// Takes the answer apart and refuses what this daemon cannot speak.
///
/// # Errors
/// `Unimplemented` for another transport or version, `DataLoss` for what is none of the forms.
pub(crate) fn parse(output: &[u8]) -> Result<Bootstrap> {
    let bootstrap = match output {
        [b'{', ..] => serde_json::from_slice(output).kind(Kind::DataLoss, || nonsense(output))?,
        _ if plain(output).is_some() => {
            let address = plain(output).unwrap_or_default().to_owned();
            Bootstrap { version: 2, address, protocol: "ttrpc".to_owned() }
        }
        _ => protobuf(output)?,
    };
    supported(bootstrap)
}

/// A plain address. Its letters are no valid protobuf, so that the order of the attempts does not matter.
fn plain(output: &[u8]) -> Option<&str> {
    std::str::from_utf8(output)
        .ok()
        .map(str::trim)
        .filter(|text| text.contains("://") && text.starts_with(char::is_alphabetic))
}

fn protobuf(output: &[u8]) -> Result<Bootstrap> {
    let result = BootstrapResult::parse_from_bytes(output).kind(Kind::DataLoss, || nonsense(output))?;
    let version = u32::try_from(result.version).unwrap_or(0);
    Ok(Bootstrap { version, address: result.address, protocol: result.protocol })
}

fn supported(bootstrap: Bootstrap) -> Result<Bootstrap> {
    if bootstrap.protocol != "ttrpc" {
        return Err(Error::unimplemented(format!(
            "shim speaks {:?} at {:?}: only ttrpc is supported",
            bootstrap.protocol, bootstrap.address
        )));
    }
    if !bootstrap.address.starts_with("unix://") {
        return Err(Error::unimplemented(format!(
            "shim address {:?}: only unix:// is supported",
            bootstrap.address
        )));
    }
    match bootstrap.version {
        2 | 3 => Ok(bootstrap),
        other => Err(Error::unimplemented(format!("shim speaks version {other} of the task service"))),
    }
}

fn nonsense(output: &[u8]) -> String {
    let shown = String::from_utf8_lossy(&output[..output.len().min(256)]);
    format!("shim's answer at start is none that is known: {shown:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bootstrap(version: u32) -> Bootstrap {
        Bootstrap { version, address: "unix:///run/s/1".into(), protocol: "ttrpc".into() }
    }

    #[test]
    fn all_three_forms_are_understood() {
        let mut result = BootstrapResult { version: 3, ..Default::default() };
        result.address = "unix:///run/s/1".into();
        result.protocol = "ttrpc".into();
        assert_eq!(parse(&result.write_to_bytes().unwrap()).unwrap(), bootstrap(3));
        let json = br#"{"version":3,"address":"unix:///run/s/1","protocol":"ttrpc"}"#;
        assert_eq!(parse(json).unwrap(), bootstrap(3));
        assert_eq!(parse(b"unix:///run/s/1\n").unwrap(), bootstrap(2));
    }

    #[test]
    fn what_is_not_spoken_is_named() {
        let kinds = [
            (&br#"{"version":3,"address":"unix:///s","protocol":"grpc"}"#[..], Kind::Unimplemented),
            (br#"{"version":4,"address":"unix:///s","protocol":"ttrpc"}"#, Kind::Unimplemented),
            (b"vsock://3:1", Kind::Unimplemented),
            (b"{", Kind::DataLoss),
            (b"\xff\xff", Kind::DataLoss),
            (b"panic: x", Kind::DataLoss),
            (b"", Kind::Unimplemented),
        ];
        for (output, kind) in kinds {
            assert_eq!(parse(output).unwrap_err().kind(), kind, "{:?}", String::from_utf8_lossy(output));
        }
    }
}
