//! What the extra headers before an entry say: pax records, and GNU's long names.

use std::collections::BTreeMap;

use errors::Result;

use super::{Time, libarchive, number, pax, sparse};

/// What the extra headers before an entry say.
#[derive(Default)]
pub(super) struct Extra {
    pub(super) name: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<Time>,
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) sparse: sparse::Records,
    pub(super) sparse_name: Option<Vec<u8>>,
}

impl Extra {
    /// Of several records of one key the last counts; an empty value takes an earlier one back.
    pub(super) fn take_pax(&mut self, bytes: &[u8]) -> Result<()> {
        let present = |value: &[u8]| (!value.is_empty()).then(|| value.to_vec());
        for (key, value) in pax::records(bytes)? {
            match key {
                b"path" => self.name = present(value),
                b"linkpath" => self.link = present(value),
                b"size" => self.size = optional(value, "size")?,
                b"uid" => self.uid = optional(value, "uid")?,
                b"gid" => self.gid = optional(value, "gid")?,
                b"mtime" if value.is_empty() => self.mtime = None,
                b"mtime" => self.mtime = Some(number::time(value, "mtime")?),
                b"GNU.sparse.name" => self.sparse_name = present(value),
                _ => self.take_prefixed(key, value)?,
            }
        }
        Ok(())
    }

    fn take_prefixed(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            self.xattrs.insert(name.to_vec(), value.to_vec());
        } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
            // libarchive writes both; the other form needs no decoding.
            let name = libarchive::percent_decoded(name);
            if let (false, Some(value)) = (self.xattrs.contains_key(&name), libarchive::base64_decoded(value))
            {
                self.xattrs.insert(name, value);
            }
        } else if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
            self.sparse.take(key, value)?;
        }
        Ok(())
    }
}

fn optional(value: &[u8], key: &str) -> Result<Option<u64>> {
    if value.is_empty() { Ok(None) } else { number::decimal(value, key).map(Some) }
}
