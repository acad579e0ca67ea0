//! Values on disk: MessagePack with named fields, large ones in pieces.
//!
//! The value under a record's key begins with a byte that says where the rest is: here, or in so many pieces under
//! the keys [`piece_key`]. Pieces keep sled from storing large pages outside of its log, where it does not sync them.

use errors::{Error, Kind, Result, WithKind};
use serde::{Serialize, de::DeserializeOwned};

/// The most bytes of a value under one key.
pub(crate) const PIECE: usize = 2048;
/// The largest record, in bytes: no request that could hold one is larger.
pub(crate) const MAX: usize = 16 << 20;

const HERE: u8 = 0;
const PIECES: u8 = 1;

/// What stands under a record's key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Head<'a> {
    /// The whole value.
    Here(&'a [u8]),
    /// How many pieces there are.
    Pieces(u32),
}

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

/// The head of a value, and the pieces it needs.
pub(crate) fn split(value: &[u8]) -> (Vec<u8>, std::slice::Chunks<'_, u8>) {
    if value.len() <= PIECE {
        let mut head = Vec::with_capacity(value.len() + 1);
        head.push(HERE);
        head.extend_from_slice(value);
        return (head, [].chunks(PIECE));
    }
    let pieces = value.chunks(PIECE);
    let mut head = vec![PIECES];
    // MAX / PIECE fits.
    head.extend_from_slice(&(pieces.len() as u32).to_be_bytes());
    (head, pieces)
}

/// Reads what [`split`] wrote; `None` when it is damaged.
pub(crate) fn head(bytes: &[u8]) -> Option<Head<'_>> {
    match bytes.split_first()? {
        (&HERE, rest) => Some(Head::Here(rest)),
        (&PIECES, rest) => Some(Head::Pieces(u32::from_be_bytes(rest.try_into().ok()?))),
        _ => None,
    }
}

/// Where piece `index` of the value under `key` stands.
pub(crate) fn piece_key(key: &[u8], index: u32) -> Vec<u8> {
    let mut piece = Vec::with_capacity(key.len() + 5);
    piece.push(crate::key::Sort::Piece.byte());
    piece.extend_from_slice(key);
    piece.extend_from_slice(&index.to_be_bytes());
    piece
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_values_stay_in_the_head() {
        let (bytes, pieces) = split(b"abc");
        assert_eq!((head(&bytes), pieces.len()), (Some(Head::Here(b"abc")), 0));
        assert_eq!(head(&split(b"").0), Some(Head::Here(b"")));
    }

    #[test]
    fn large_values_go_into_pieces() {
        let value = vec![7; 2 * PIECE + 1];
        let (bytes, pieces) = split(&value);
        assert_eq!(head(&bytes), Some(Head::Pieces(3)));
        assert_eq!(pieces.map(<[u8]>::len).collect::<Vec<_>>(), [PIECE, PIECE, 1]);
    }

    #[test]
    fn damage_is_noticed() {
        assert_eq!(head(&[]), None);
        assert_eq!(head(&[PIECES, 0]), None);
        assert_eq!(head(&[9, 1]), None);
    }
}
