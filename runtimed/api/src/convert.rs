//! Between the wire's types and the rooms': what more than one service needs.

use std::time::SystemTime;

use errors::{Error, Result};
use ids::Digest;
use prost_types::{FieldMask, Timestamp};
use proto_containerd::types;

/// A time, as the wire has it.
pub(crate) fn timestamp(time: SystemTime) -> Option<Timestamp> {
    Some(Timestamp::from(time))
}

/// A time from the wire; one that a `SystemTime` cannot hold is `InvalidArgument`.
pub(crate) fn system_time(time: Timestamp) -> Result<SystemTime> {
    SystemTime::try_from(time)
        .map_err(|_| Error::invalid(format!("time {}.{} is out of range", time.seconds, time.nanos)))
}

/// The fields to change; none stands for all.
pub(crate) fn mask_paths(mask: Option<FieldMask>) -> Vec<String> {
    mask.map(|mask| mask.paths).unwrap_or_default()
}

/// A size or an offset in bytes, which must not be negative.
pub(crate) fn unsigned(value: i64, name: &str) -> Result<u64> {
    u64::try_from(value).map_err(|_| Error::invalid(format!("{name} must not be negative: {value}")))
}

/// A size or an offset as the wire has it. No file is larger than an `i64` says.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A digest that may be absent.
pub(crate) fn optional_digest(text: &str) -> Result<Option<Digest>> {
    if text.is_empty() { Ok(None) } else { Digest::parse(text).map(Some) }
}

pub(crate) fn descriptor_from_wire(descriptor: types::Descriptor) -> Result<image::Descriptor> {
    Ok(image::Descriptor {
        media_type: descriptor.media_type,
        digest: Digest::parse(&descriptor.digest)?,
        size: descriptor.size,
        annotations: descriptor.annotations,
        platform: None,
    })
}

pub(crate) fn descriptor_to_wire(descriptor: image::Descriptor) -> types::Descriptor {
    types::Descriptor {
        media_type: descriptor.media_type,
        digest: descriptor.digest.to_string(),
        size: descriptor.size,
        annotations: descriptor.annotations,
    }
}

pub(crate) fn platform_from_wire(platform: types::Platform) -> image::Platform {
    image::Platform {
        os: platform.os,
        architecture: platform.architecture,
        variant: platform.variant,
        os_version: platform.os_version,
    }
}

pub(crate) fn mounts_from_wire(mounts: Vec<types::Mount>) -> Vec<snapshot::Mount> {
    let convert = |mount: types::Mount| snapshot::Mount {
        kind: mount.r#type,
        source: mount.source,
        target: mount.target,
        options: mount.options,
    };
    mounts.into_iter().map(convert).collect()
}

pub(crate) fn mounts_to_wire(mounts: Vec<snapshot::Mount>) -> Vec<types::Mount> {
    let convert = |mount: snapshot::Mount| types::Mount {
        r#type: mount.kind,
        source: mount.source,
        target: mount.target,
        options: mount.options,
    };
    mounts.into_iter().map(convert).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_round_trip() {
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::new(1_700_000_000, 123_456_789);
        assert_eq!(system_time(timestamp(time).unwrap()).unwrap(), time);
    }

    #[test]
    fn negative_sizes_are_named() {
        let error = unsigned(-1, "total").unwrap_err();
        assert_eq!(error.to_string(), "total must not be negative: -1");
    }

    #[test]
    fn absent_digests_are_none() {
        assert_eq!(optional_digest("").unwrap(), None);
        assert!(optional_digest("sha256:xyz").is_err());
    }
}
