//! How a layer is packed.

use std::io::{BufRead, BufReader, Read, Write};

use errors::{Error, Result};

/// Compressed bytes read at once.
const BUFFER: usize = 256 << 10;

/// The smallest window of a zstd frame (RFC 8878, "Window Descriptor").
const MIN_WINDOW: u64 = 1 << 10;

/// How a layer is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Plain tar.
    None,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

impl Compression {
    /// Of a layer's media type (OCI and docker); `InvalidArgument` when the type is no layer's.
    pub fn of_media_type(media_type: &str) -> Result<Compression> {
        let layer = match media_type.split(';').next().unwrap_or_default().trim() {
            "application/vnd.docker.image.rootfs.diff.tar"
            | "application/vnd.docker.image.rootfs.foreign.diff.tar" => return Ok(Compression::None),
            "application/vnd.docker.image.rootfs.diff.tar.gzip"
            | "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" => return Ok(Compression::Gzip),
            "application/vnd.docker.image.rootfs.diff.tar.zstd"
            | "application/vnd.docker.image.rootfs.foreign.diff.tar.zstd" => return Ok(Compression::Zstd),
            other => other
                .strip_prefix("application/vnd.oci.image.layer.v1.tar")
                .or_else(|| other.strip_prefix("application/vnd.oci.image.layer.nondistributable.v1.tar")),
        };
        match layer {
            Some("") => Ok(Compression::None),
            Some("+gzip") => Ok(Compression::Gzip),
            Some("+zstd") => Ok(Compression::Zstd),
            _ => Err(Error::invalid(format!(
                "media type {:?} is no layer's that can be applied",
                media_type.chars().take(160).collect::<String>()
            ))),
        }
    }

    /// What the first bytes say; `None` when they are neither gzip's (RFC 1952) nor zstd's (RFC 8878) mark, which no
    /// tar stream begins with.
    fn of_bytes(start: &[u8]) -> Compression {
        match start {
            [0x1f, 0x8b, 0x08, ..] => Compression::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
            // A skippable frame: 0x184D2A50 to 0x184D2A5F.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
            _ => Compression::None,
        }
    }

    /// Unpacks `layer`. The bytes decide, as with containerd: docker's media types say gzip for anything. A zstd frame
    /// that asks for more than `window` bytes of memory is refused.
    pub(crate) fn decoder<'a>(
        self,
        layer: impl Read + 'a,
        window: u64,
    ) -> std::io::Result<Box<dyn Read + 'a>> {
        let mut layer = BufReader::with_capacity(BUFFER, Chained::begin(layer)?);
        let found = Compression::of_bytes(layer.fill_buf()?);
        if found != self {
            tracing::debug!(said = ?self, ?found, "layer is packed otherwise than said");
        }
        Ok(match found {
            Compression::None => Box::new(layer),
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(layer)),
            Compression::Zstd => Box::new(zstd_decoder(layer, window)?),
        })
    }

    /// Packs what is written; ends with [`Encoder::finish`].
    pub(crate) fn encoder<W: Write>(self, out: W) -> std::io::Result<Encoder<W>> {
        Ok(match self {
            Compression::None => Encoder::None(out),
            Compression::Gzip => {
                // No name and no time in the header: equal trees make equal layers.
                Encoder::Gzip(flate2::write::GzEncoder::new(out, flate2::Compression::default()))
            }
            Compression::Zstd => Encoder::Zstd(zstd::stream::write::Encoder::new(out, 0)?),
        })
    }
}

/// Unpacks zstd frames whose window has at most `window` bytes; at least the 1 KiB that every frame may have.
fn zstd_decoder<'a, R: BufRead>(
    packed: R,
    window: u64,
) -> std::io::Result<zstd::stream::read::Decoder<'a, R>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
    decoder.window_log_max(window.max(MIN_WINDOW).ilog2())?;
    Ok(decoder)
}

/// A reader whose first bytes were read already: a short first read must not hide the mark.
struct Chained<R> {
    start: std::io::Cursor<Vec<u8>>,
    rest: R,
}

impl<R: Read> Chained<R> {
    fn begin(mut rest: R) -> std::io::Result<Chained<R>> {
        let mut start = Vec::with_capacity(4);
        rest.by_ref().take(4).read_to_end(&mut start)?;
        Ok(Chained { start: std::io::Cursor::new(start), rest })
    }
}

impl<R: Read> Read for Chained<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.start.read(buffer)? {
            0 => self.rest.read(buffer),
            read => Ok(read),
        }
    }
}

/// Packs a stream.
pub(crate) enum Encoder<W: Write> {
    /// Not at all.
    None(W),
    /// gzip.
    Gzip(flate2::write::GzEncoder<W>),
    /// zstd.
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

impl<W: Write> Encoder<W> {
    /// Writes what is left.
    pub(crate) fn finish(self) -> std::io::Result<()> {
        let mut out = match self {
            Encoder::None(out) => out,
            Encoder::Gzip(encoder) => encoder.finish()?,
            Encoder::Zstd(encoder) => encoder.finish()?,
        };
        out.flush()
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Encoder::None(out) => out.write(bytes),
            Encoder::Gzip(encoder) => encoder.write(bytes),
            Encoder::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Encoder::None(out) => out.flush(),
            Encoder::Gzip(encoder) => encoder.flush(),
            Encoder::Zstd(encoder) => encoder.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_media_types() {
        for (media_type, compression) in [
            ("application/vnd.oci.image.layer.v1.tar", Compression::None),
            ("application/vnd.oci.image.layer.v1.tar+gzip", Compression::Gzip),
            ("application/vnd.oci.image.layer.v1.tar+zstd", Compression::Zstd),
            ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", Compression::Gzip),
            ("application/vnd.docker.image.rootfs.diff.tar.gzip", Compression::Gzip),
            ("application/vnd.docker.image.rootfs.diff.tar", Compression::None),
        ] {
            assert_eq!(Compression::of_media_type(media_type).unwrap(), compression, "{media_type}");
        }
        for bad in
            ["", "application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar+br"]
        {
            assert!(Compression::of_media_type(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_bytes_decide() {
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let mut packed = Vec::new();
            let mut encoder = compression.encoder(&mut packed).unwrap();
            encoder.write_all(b"content").unwrap();
            encoder.finish().unwrap();
            for said in [Compression::None, Compression::Gzip, Compression::Zstd] {
                let mut text = String::new();
                said.decoder(&packed[..], 1 << 27).unwrap().read_to_string(&mut text).unwrap();
                assert_eq!(text, "content", "{compression:?} said to be {said:?}");
            }
        }
    }
}
