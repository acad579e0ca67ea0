//! Runtime options as they are kept in the bundle's options.json, in the field names containerd's shim
//! writes.

use errors::{Error, Kind, Result, WithKind};
use proto_shim::options::Options as Wire;
use proto_shim::{Any, unpack};
use serde::{Deserialize, Serialize};

/// `containerd.runc.v1.Options`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Options {
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) no_pivot_root: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) no_new_keyring: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) shim_cgroup: String,
    /// Who owns the pipes of the standard streams.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) io_uid: u32,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) io_gid: u32,
    /// The executor, by name or path; empty for the shim's choice.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) binary_name: String,
    /// The executor's state directory without the namespace; empty for the usual one.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) root: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) systemd_cgroup: bool,
    /// Used by checkpoint and restore alone.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) criu_image_path: String,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) criu_work_path: String,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Options {
    /// Takes the options out of a create request. None at all means the defaults.
    ///
    /// # Errors
    /// InvalidArgument for options of another runtime, or torn ones.
    pub(crate) fn from_request(any: Option<&Any>) -> Result<Options> {
        let Some(any) = any.filter(|any| !any.type_url.is_empty() || !any.value.is_empty()) else {
            return Ok(Options::default());
        };
        match unpack::<Wire>(any).kind(Kind::InvalidArgument, || "parse the runtime options")? {
            Some(wire) => Ok(Options::from(wire)),
            None => Err(Error::invalid(format!("runtime options of type {:?} are not known", any.type_url))),
        }
    }
}

impl From<Wire> for Options {
    fn from(wire: Wire) -> Options {
        Options {
            no_pivot_root: wire.no_pivot_root,
            no_new_keyring: wire.no_new_keyring,
            shim_cgroup: wire.shim_cgroup,
            io_uid: wire.io_uid,
            io_gid: wire.io_gid,
            binary_name: wire.binary_name,
            root: wire.root,
            systemd_cgroup: wire.systemd_cgroup,
            criu_image_path: wire.criu_image_path,
            criu_work_path: wire.criu_work_path,
        }
    }
}

#[cfg(test)]
mod tests {
    use proto_shim::pack;

    use super::*;

    #[test]
    fn json_is_what_containerds_shim_reads() {
        let options = Options { binary_name: "crun".into(), systemd_cgroup: true, ..Options::default() };
        let json = serde_json::to_string(&options).unwrap();
        assert_eq!(json, r#"{"binary_name":"crun","systemd_cgroup":true}"#);
        assert_eq!(serde_json::from_str::<Options>(&json).unwrap(), options);
        let newer = r#"{"root":"/r","task_api_version":3}"#;
        assert_eq!(serde_json::from_str::<Options>(newer).unwrap().root, "/r");
    }

    #[test]
    fn options_of_another_runtime_are_named() {
        assert_eq!(Options::from_request(None).unwrap(), Options::default());
        assert_eq!(Options::from_request(Some(&Any::default())).unwrap(), Options::default());
        let wire = Wire { io_uid: 5, ..Default::default() };
        assert_eq!(Options::from_request(Some(&pack(&wire).unwrap())).unwrap().io_uid, 5);
        let other = Any { type_url: "kata.Options".into(), value: vec![1], ..Any::default() };
        assert!(Options::from_request(Some(&other)).unwrap_err().message().contains("kata.Options"));
    }
}
