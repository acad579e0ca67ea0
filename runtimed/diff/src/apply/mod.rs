//! Unpacks a layer into what mounts describe.

mod attributes;
mod implied;
mod place;
mod policy;
mod remove;
mod unpack;
mod whiteout;

use std::io::Read;
use std::path::{Path, PathBuf};

use errors::{Context, Error, Kind, Result};
use snapshot::{Mount, TemporaryMount};

use crate::archive::Reader;
use crate::compression::Compression;
use crate::pipe::pipe;
use crate::{Applied, Limits};
use implied::Implied;
pub use implied::Unsettled;
use unpack::Unpacker;

/// How removals are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// The target holds all layers: what is removed goes.
    Plain,
    /// The target is one layer of an overlay: what is removed is marked. The attribute that marks an opaque folder.
    Overlay(&'static str),
}

/// Where to unpack.
struct Place {
    root: PathBuf,
    style: Style,
    /// The layers below, nearest first.
    lower: Vec<PathBuf>,
    /// Unmounted when the work is done.
    mounted: Option<TemporaryMount>,
}

/// Unpacks the tar stream `layer` (already decompressed when `compression` is `None`) into what `mounts` describe: an overlay's upper
/// folder directly, with whiteouts as overlayfs has them; a bind's folder directly; anything else mounted below `scratch`.
/// Reads to the end of the stream. After a failure the target is half-written: remove its snapshot.
pub fn apply(
    mounts: &[Mount],
    layer: impl Read,
    compression: Compression,
    limits: &Limits,
    scratch: &Path,
) -> Result<Applied> {
    let place = Place::find(mounts, scratch)?;
    let done = unpack_into(&place, layer, compression, limits).and_then(|(applied, implied)| {
        Unsettled::new(&place.root, implied).settle(&place.lower)?;
        Ok(applied)
    });
    match (done, place.mounted.map(TemporaryMount::close)) {
        (Ok(_), Some(Err(error))) => Err(error),
        (done, _) => done,
    }
}

/// As [`apply`], into an overlay's upper folder whose lower folders may not be there yet: whiteouts and opaque folders are
/// marks, which ask nothing of the layers below, and names resolve within the layer alone. What does ask, the look of
/// folders that the layer only implies, is left to [`Unsettled::settle`].
pub fn apply_apart(
    mount: &Mount,
    layer: impl Read,
    compression: Compression,
    limits: &Limits,
) -> Result<(Applied, Unsettled)> {
    if mount.kind != "overlay" {
        return Err(Error::internal(format!("a {} mount takes no layer apart from its parents", mount.kind)));
    }
    let place = Place::find(std::slice::from_ref(mount), Path::new(""))?;
    let (applied, implied) = unpack_into(&place, layer, compression, limits)?;
    Ok((applied, Unsettled::new(&place.root, implied)))
}

impl Place {
    fn find(mounts: &[Mount], scratch: &Path) -> Result<Place> {
        let plain = |root: PathBuf, mounted| Place { root, style: Style::Plain, lower: Vec::new(), mounted };
        match mounts {
            [] => Err(Error::invalid("a layer needs a mount to be applied to")),
            [one] if one.is_read_only() => Err(Error::new(
                Kind::FailedPrecondition,
                format!("cannot apply a layer to the read-only {} mount of {:?}", one.kind, one.source),
            )),
            [one] if one.is_bind() && one.target.is_empty() => Ok(plain(PathBuf::from(&one.source), None)),
            [one] if one.kind == "overlay" && one.target.is_empty() => match one.value("upperdir") {
                Some(upper) => Ok(Place {
                    root: PathBuf::from(upper),
                    style: Style::Overlay(match one.has("userxattr") {
                        true => "user.overlay.opaque",
                        false => "trusted.overlay.opaque",
                    }),
                    lower: one.lower_folders().into_iter().map(PathBuf::from).collect(),
                    mounted: None,
                }),
                None => Err(Error::new(
                    Kind::FailedPrecondition,
                    "cannot apply a layer to an overlay without an upper folder",
                )),
            },
            many => {
                let mounted = TemporaryMount::new(scratch, many)?;
                Ok(plain(mounted.path().to_owned(), Some(mounted)))
            }
        }
    }
}

/// This thread reads, unpacks and hashes; another writes the files.
fn unpack_into(
    place: &Place,
    layer: impl Read,
    compression: Compression,
    limits: &Limits,
) -> Result<(Applied, Implied)> {
    let (feeder, stream) = pipe();
    std::thread::scope(|scope| {
        let writing = std::thread::Builder::new()
            .name("layer-unpack".to_owned())
            .spawn_scoped(scope, move || {
                let mut reader = Reader::new(stream, limits);
                Unpacker::new(&place.root, place.style, limits)?.unpack(&mut reader)
            })
            .context(|| "start the thread that unpacks a layer")?;
        let fed = match compression.decoder(layer, limits.window) {
            Ok(source) => feeder.feed(source, limits),
            Err(error) => {
                drop(feeder);
                Err(error).context(|| "read the layer")
            }
        };
        let written = writing
            .join()
            .unwrap_or_else(|_| Err(Error::internal("the thread that unpacks a layer panicked")));
        // When the stream failed, that is why the files did.
        let applied = fed?;
        Ok((applied, written?))
    })
}
