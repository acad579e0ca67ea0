//! What a header's fields mean, and whether they can be believed.

use errors::{Error, Result};
use tar::Header;

use super::{Kind, number};

/// What an entry is.
pub(super) fn kind(header: &Header, flag: u8, name: &[u8]) -> Result<Kind> {
    let device = || -> Result<(u32, u32)> {
        let (major, minor) = match (header.as_ustar(), header.as_gnu()) {
            (Some(ustar), _) => (ustar.dev_major, ustar.dev_minor),
            (_, Some(gnu)) => (gnu.dev_major, gnu.dev_minor),
            _ => return Ok((0, 0)),
        };
        let part = |bytes: &[u8], what| id(number::unsigned(bytes, what)?, what);
        Ok((part(&major, "device major")?, part(&minor, "device minor")?))
    };
    Ok(match flag {
        // V7 knew folders by their names.
        b'0' | b'\0' | b'7' if name.ends_with(b"/") => Kind::Folder,
        b'0' | b'\0' | b'7' | b'S' => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => device().map(|(major, minor)| Kind::CharDevice { major, minor })?,
        b'4' => device().map(|(major, minor)| Kind::BlockDevice { major, minor })?,
        b'5' => Kind::Folder,
        b'6' => Kind::Fifo,
        other => {
            return Err(Error::invalid(format!(
                "unhandled tar header type {:?} of {:?}",
                char::from(other),
                String::from_utf8_lossy(name)
            )));
        }
    })
}

/// The sum of all bytes, with its own field as blanks; some old writers summed signed bytes.
pub(super) fn check_sum(header: &Header) -> Result<()> {
    let said = number::field(&header.as_old().cksum, "checksum")?;
    let (mut unsigned, mut signed) = (0i64, 0i64);
    for (index, byte) in header.as_bytes().iter().enumerate() {
        let byte = if (148..156).contains(&index) { b' ' } else { *byte };
        unsigned += i64::from(byte);
        signed += i64::from(byte as i8);
    }
    if said != unsigned && said != signed {
        return Err(Error::invalid(format!("invalid tar header: checksum {said} is not {unsigned}")));
    }
    Ok(())
}

/// Refuses what no call takes as a name, or what is longer than `limit`.
pub(super) fn check_name(name: &[u8], limit: usize) -> Result<()> {
    if name.contains(&0) {
        return Err(Error::invalid(format!("tar name {:?} holds a NUL", name.escape_ascii().to_string())));
    }
    if name.len() > limit {
        let start = name[..name.len().min(64)].escape_ascii();
        return Err(Error::invalid(format!(
            "tar name of {} bytes, \"{start}...\", is longer than the limit of {limit}",
            name.len()
        )));
    }
    Ok(())
}

/// An owner, group or device number.
pub(super) fn id(value: u64, what: &str) -> Result<u32> {
    // The last one means "leave as it is" to chown(2).
    u32::try_from(value)
        .ok()
        .filter(|id| *id != u32::MAX)
        .ok_or_else(|| Error::invalid(format!("invalid tar header: {what} {value} is out of range")))
}
