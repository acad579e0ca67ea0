//! Network interfaces of the host that become the container's (config-linux.md, "Network Devices").

use oci::runtime::Spec;

use super::namespaces::{Kind, Namespaces};
use crate::error::{Error, Result};

/// The kernel's IFNAMSIZ, without the terminating nul.
const MAX_NAME: usize = 15;

/// An interface to move.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NetDevice {
    /// Its name on the host.
    pub host: String,
    /// Its name in the container.
    pub name: String,
}

/// Reads `linux.netDevices`, in order of their names on the host.
pub fn from_spec(spec: &Spec, namespaces: &Namespaces, rootless: bool) -> Result<Vec<NetDevice>> {
    let listed = spec.linux().as_ref().and_then(|l| l.net_devices().as_ref());
    let mut all = Vec::new();
    for (host, device) in listed.into_iter().flatten() {
        let name = device.name().clone().filter(|n| !n.is_empty()).unwrap_or_else(|| host.clone());
        for name in [host, &name] {
            if !is_valid(name) {
                return Err(Error::new(format!("linux.netDevices: invalid network device name {name:?}")));
            }
        }
        all.push(NetDevice { host: host.clone(), name });
    }
    if all.is_empty() {
        return Ok(all);
    }
    if !namespaces.is_new(Kind::Net) {
        return Err(Error::new("unable to move network devices without a private NET namespace"));
    }
    if rootless {
        return Err(Error::new("network devices are not supported for rootless containers"));
    }
    all.sort();
    let mut names: Vec<_> = all.iter().map(|d| &d.name).collect();
    names.sort();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::new(format!("linux.netDevices: two devices are to be named {:?}", pair[0])));
    }
    Ok(all)
}

/// What the kernel takes for an interface's name (net/core/dev.c, dev_valid_name).
fn is_valid(name: &str) -> bool {
    let odd = |b: u8| b == b'/' || b == b':' || b.is_ascii_whitespace() || b == 0x0b;
    !name.is_empty() && name.len() <= MAX_NAME && name != "." && name != ".." && !name.bytes().any(odd)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices(json: &str) -> Result<Vec<NetDevice>> {
        let text = format!(r#"{{"ociVersion":"1.3.0","linux":{{"netDevices":{json}}}}}"#);
        let own = Namespaces { new: vec![Kind::Net], join: Vec::new() };
        from_spec(&serde_json::from_str(&text).unwrap(), &own, false)
    }

    #[test]
    fn names_in_the_container() {
        let all = devices(r#"{"eth1":{"name":"web"},"eth0":{}}"#).unwrap();
        let pairs: Vec<_> = all.iter().map(|d| (d.host.as_str(), d.name.as_str())).collect();
        assert_eq!(pairs, [("eth0", "eth0"), ("eth1", "web")]);
    }

    #[test]
    fn refusals() {
        let text = |json: &str| devices(json).unwrap_err().to_string();
        for bad in ["a/b", "a:b", "a b", "..", "sixteen-letters-", ""] {
            assert!(text(&format!(r#"{{"{bad}":{{}}}}"#)).contains("invalid network device name"), "{bad}");
        }
        assert!(text(r#"{"a":{"name":"x"},"b":{"name":"x"}}"#).contains("\"x\""));
        let spec = serde_json::from_str(r#"{"ociVersion":"1.3.0","linux":{"netDevices":{"a":{}}}}"#).unwrap();
        let e = from_spec(&spec, &Namespaces::default(), false).unwrap_err().to_string();
        assert_eq!(e, "unable to move network devices without a private NET namespace");
    }
}
