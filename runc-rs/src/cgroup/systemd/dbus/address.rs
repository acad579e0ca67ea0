//! Where a bus listens (D-Bus specification, "Server Addresses").

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::{SocketAddr, UnixStream};

/// Connects to the first address of a list that answers; the error tells each that did not.
pub fn connect(addresses: &str) -> Result<UnixStream, String> {
    let mut failed = Vec::new();
    for address in addresses.split(';').filter(|address| !address.is_empty()) {
        let connected = parse(address)
            .and_then(|socket| UnixStream::connect_addr(&socket).map_err(|e| e.to_string().to_lowercase()));
        match connected {
            Ok(stream) => return Ok(stream),
            Err(reason) => failed.push(format!("{address}: {reason}")),
        }
    }
    if failed.is_empty() {
        return Err(format!("no bus address in {addresses:?}"));
    }
    Err(failed.join("; "))
}

/// `unix:path=/run/bus` and `unix:abstract=name`; other keys, such as `guid`, say nothing about the way.
fn parse(address: &str) -> Result<SocketAddr, String> {
    let pairs = address.strip_prefix("unix:").ok_or("only unix sockets are supported")?;
    for pair in pairs.split(',') {
        let (key, value) = pair.split_once('=').ok_or_else(|| format!("{pair:?} is not key=value"))?;
        let bytes = unescape(value).ok_or_else(|| format!("{value:?} is not well escaped"))?;
        let socket = match key {
            "path" => SocketAddr::from_pathname(OsString::from_vec(bytes)),
            "abstract" => SocketAddr::from_abstract_name(bytes),
            _ => continue,
        };
        return socket.map_err(|e| e.to_string());
    }
    Err("neither path nor abstract".into())
}

/// `%2f` is a byte.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        bytes.push(match first {
            b'%' => {
                let (digits, after) = rest.split_at_checked(2)?;
                rest = after;
                u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?
            }
            other => *other,
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let socket = parse("unix:guid=12,path=/run/a%20b").unwrap();
        assert_eq!(socket.as_pathname().unwrap(), std::path::Path::new("/run/a b"));
        assert_eq!(parse("unix:abstract=/tmp/x").unwrap().as_abstract_name(), Some(b"/tmp/x".as_slice()));
        for bad in ["tcp:host=x", "unix:", "unix:guid=1", "unix:path=%2", "unix:path=%zz"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_does_not_answer_is_named() {
        let said = connect("unix:path=/no/such;unix:path=/nor/this").unwrap_err();
        assert!(said.contains("/no/such: no such file") && said.contains("/nor/this"), "{said}");
    }
}
