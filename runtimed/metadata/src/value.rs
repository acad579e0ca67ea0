//! Values on disk: MessagePack with named fields, so that records may gain fields.

use errors::{Error, Kind, Result, WithKind};
use serde::{Serialize, de::DeserializeOwned};

/// The largest record, in bytes: no request that could hold one is larger.
pub(crate) const MAX: usize = 16 << 20;

/// Encodes a record.
pub(crate) fn encode<V: Serialize>(table: &str, record: &V) -> Result<Vec<u8>> {
    let bytes = rmp_serde::to_vec_named(record)
        .kind(Kind::Internal, || format!("encode a record of table {table}"))?;
    if bytes.len() > MAX {
        let size = bytes.len();
        return Err(Error::invalid(format!("record of table {table} is {size} bytes, more than {MAX}")));
    }
    Ok(bytes)
}

/// Decodes a record; one that does not fit is `DataLoss` and names its key.
pub(crate) fn decode<V: DeserializeOwned>(table: &str, key: &[&str], bytes: &[u8]) -> Result<V> {
    rmp_serde::from_slice(bytes)
        .kind(Kind::DataLoss, || format!("decode record {:?} of table {table}", key.join("/")))
}
