//! Packs messages into `Any` and back, with containerd's bare type names.

use prost::{DecodeError, Message, Name};
use prost_types::Any;

/// Packs `message` under its bare full name ("containerd.events.TaskExit"), as containerd does.
pub fn pack<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::full_name(), value: message.encode_to_vec() }
}

/// The message inside `any`, or `None` when it holds another type.
///
/// Whatever stands before the type name's last slash ("type.googleapis.com/") does not count, as `google/protobuf/any.proto`
/// asks. An error means the type is right and its bytes are not.
pub fn unpack<M: Message + Name + Default>(any: &Any) -> Result<Option<M>, DecodeError> {
    let name = any.type_url.rsplit('/').next().unwrap_or_default();
    if name != M::full_name() {
        return Ok(None);
    }
    M::decode(any.value.as_slice()).map(Some)
}
