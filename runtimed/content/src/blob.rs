//! An open blob.

use std::fs::File;
use std::io::IoSliceMut;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use errors::{Context, Error, Kind, Result};
use ids::Digest;
use rustix::io::ReadWriteFlags;

use crate::blocking::blocking;
use crate::layout::Layout;

/// The most bytes that are copied at once on a thread which others wait for.
const SHORT: usize = 64 << 10;

/// An open blob. Reads are positioned; nothing is held in memory.
#[derive(Debug)]
pub struct Blob {
    digest: Digest,
    file: Arc<File>,
    size: u64,
}

impl Blob {
    /// Opens the file of `digest`, which the record says has `size` bytes; `DataLoss` when it is missing or has not.
    pub(crate) fn open(layout: &Layout, digest: &Digest, size: u64) -> Result<Blob> {
        let path = layout.blob(digest);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(lost(digest, &format!("its file {} is missing", path.display())));
            }
            Err(error) => return Err(error).context(|| format!("open {}", path.display())),
        };
        let found = file.metadata().context(|| format!("stat {}", path.display()))?.len();
        if found != size {
            return Err(lost(digest, &format!("its file {} has {found} bytes, not {size}", path.display())));
        }
        Ok(Blob { digest: digest.clone(), file: Arc::new(file), size })
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Up to `length` bytes from `offset`: fewer only at the end. `OutOfRange` past the end.
    pub async fn read_at(&self, offset: u64, length: usize) -> Result<Bytes> {
        if offset > self.size {
            return Err(Error::new(
                Kind::OutOfRange,
                format!("read past object length {} bytes: out of range", self.size),
            ));
        }
        let length = usize::try_from(self.size - offset).unwrap_or(usize::MAX).min(length);
        if let Some(bytes) = self.short(offset, length) {
            return Ok(bytes);
        }
        let file = self.file.clone();
        let digest = self.digest.clone();
        blocking(move || {
            let mut buffer = vec![0; length];
            file.read_exact_at(&mut buffer, offset)
                .context(|| format!("read {length} bytes of content {digest} at {offset}"))?;
            Ok(Bytes::from(buffer))
        })
        .await
    }

    /// A short piece that the kernel has in memory, which is not worth another thread: manifests and configurations are read again and again.
    fn short(&self, offset: u64, length: usize) -> Option<Bytes> {
        if length > SHORT {
            return None;
        }
        let mut buffer = vec![0; length];
        let mut slices = [IoSliceMut::new(&mut buffer)];
        // EAGAIN for what would have to be fetched (preadv2(2)).
        let read = rustix::io::preadv2(&self.file, &mut slices, offset, ReadWriteFlags::NOWAIT);
        (read == Ok(length)).then(|| Bytes::from(buffer))
    }

    /// A blocking reader from the start, for parsers that run on a thread of their own.
    pub fn into_std(self) -> Result<File> {
        use std::io::Seek as _;
        let mut file = match Arc::try_unwrap(self.file) {
            Ok(file) => file,
            Err(shared) => shared.try_clone().context(|| format!("duplicate content {}", self.digest))?,
        };
        file.rewind().context(|| format!("rewind content {}", self.digest))?;
        Ok(file)
    }
}

/// Is the file of `digest` there with `size` bytes?
pub(crate) fn is_whole(layout: &Layout, digest: &Digest, size: u64) -> bool {
    std::fs::metadata(layout.blob(digest)).is_ok_and(|found| found.len() == size)
}

fn lost(digest: &Digest, how: &str) -> Error {
    Error::new(Kind::DataLoss, format!("content {digest} is damaged: {how}; pull it again"))
}
