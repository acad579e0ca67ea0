//! The names under which messages travel inside an `Any`.

use protobuf::Message;
use protobuf::well_known_types::any::Any;

use crate::{bootstrap, events, metrics, options, types};

/// A message that travels inside an [`Any`].
pub trait TypeUrl: Message {
    /// Its full protobuf name. containerd's typeurl puts no `type.googleapis.com/` in front.
    const TYPE_URL: &'static str;
}

macro_rules! type_urls {
    ($($message:ty => $url:literal,)*) => {
        $(impl TypeUrl for $message {
            const TYPE_URL: &'static str = $url;
        })*
    };
}

type_urls! {
    events::TaskCreate => "containerd.events.TaskCreate",
    events::TaskStart => "containerd.events.TaskStart",
    events::TaskDelete => "containerd.events.TaskDelete",
    events::TaskExit => "containerd.events.TaskExit",
    events::TaskOOM => "containerd.events.TaskOOM",
    events::TaskExecAdded => "containerd.events.TaskExecAdded",
    events::TaskExecStarted => "containerd.events.TaskExecStarted",
    events::TaskPaused => "containerd.events.TaskPaused",
    events::TaskResumed => "containerd.events.TaskResumed",
    events::TaskCheckpointed => "containerd.events.TaskCheckpointed",
    options::Options => "containerd.runc.v1.Options",
    options::CheckpointOptions => "containerd.runc.v1.CheckpointOptions",
    options::ProcessDetails => "containerd.runc.v1.ProcessDetails",
    options::RuntimeOptions => "runtimeoptions.v1.Options",
    types::RuntimeInfo => "containerd.types.RuntimeInfo",
    types::MountCapabilities => "containerd.types.MountCapabilities",
    bootstrap::BootstrapParams => "containerd.runtime.bootstrap.v1.BootstrapParams",
    metrics::v1::Metrics => "io.containerd.cgroups.v1.Metrics",
    metrics::v2::Metrics => "io.containerd.cgroups.v2.Metrics",
}

/// Puts a message into an `Any` under its name.
///
/// # Errors
/// Fails if the message is larger than protobuf can say (2 GiB).
pub fn pack<M: TypeUrl>(message: &M) -> protobuf::Result<Any> {
    Ok(Any { type_url: M::TYPE_URL.to_owned(), value: message.write_to_bytes()?, ..Any::default() })
}

/// Takes a message of type `M` out of an `Any`; `None` if it holds another type. A prefix that ends in a slash, as other
/// protobuf libraries write it, is accepted.
///
/// # Errors
/// Fails if the name is right and the bytes are not.
pub fn unpack<M: TypeUrl>(any: &Any) -> protobuf::Result<Option<M>> {
    let name = any.type_url.rsplit('/').next().unwrap_or_default();
    if name != M::TYPE_URL {
        return Ok(None);
    }
    M::parse_from_bytes(&any.value).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_no_prefix_and_tolerate_one() {
        let exit = events::TaskExit { container_id: "c1".into(), exit_status: 137, ..Default::default() };
        let mut any = pack(&exit).unwrap();
        assert_eq!(any.type_url, "containerd.events.TaskExit");
        assert_eq!(unpack::<events::TaskExit>(&any).unwrap(), Some(exit.clone()));
        assert_eq!(unpack::<events::TaskStart>(&any).unwrap(), None);
        any.type_url.insert_str(0, "type.googleapis.com/");
        assert_eq!(unpack::<events::TaskExit>(&any).unwrap(), Some(exit));
    }

    #[test]
    fn torn_bytes_are_an_error() {
        let any =
            Any { type_url: "containerd.events.TaskExit".into(), value: vec![0x0a, 0x7f], ..Any::default() };
        unpack::<events::TaskExit>(&any).unwrap_err();
    }

    /// Bytes written by hand from the field numbers: the wire must not drift from containerd's.
    #[test]
    fn field_numbers_are_containerds() {
        let exit = events::TaskExit {
            container_id: "c".into(),
            id: "e".into(),
            pid: 7,
            exit_status: 1,
            ..Default::default()
        };
        assert_eq!(exit.write_to_bytes().unwrap(), b"\x0a\x01c\x12\x01e\x18\x07\x20\x01");
        let kill = crate::task::v3::KillRequest {
            id: "c".into(),
            exec_id: "e".into(),
            signal: 9,
            all: true,
            ..Default::default()
        };
        assert_eq!(kill.write_to_bytes().unwrap(), b"\x0a\x01c\x12\x01e\x18\x09\x20\x01");
        let options = options::Options { root: "/r".into(), systemd_cgroup: true, ..Default::default() };
        assert_eq!(options.write_to_bytes().unwrap(), b"\x3a\x02/r\x48\x01");
    }
}
