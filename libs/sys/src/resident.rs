//! Giving back pages of the program itself (madvise(2), MADV_DONTNEED).
//!
//! What a program needs to start, it maps and mostly never needs again. The pages stay in the page cache for everybody, and
//! come back with a minor fault when they are touched.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

/// More than any process has of mappings.
const LONGEST: u64 = 16 << 20;

/// Lets go of this process's pages of its program and of shared libraries, as far as they are read-only and as the file has
/// them; says how many bytes are mapped there.
///
/// # Errors
/// If /proc/self/smaps cannot be read, or whatever madvise(2) says.
pub fn let_go() -> io::Result<u64> {
    use io::Read;
    let own = fs::metadata("/proc/self/exe")?.ino();
    let mut text = String::new();
    fs::File::open("/proc/self/smaps")?.take(LONGEST).read_to_string(&mut text)?;
    let mut bytes = 0;
    for (start, end) in unchanged(&text, own) {
        let length = end - start;
        // SAFETY: the range is a mapping of a file, without write access and without pages of its own, of the running program
        // or a library, which nobody unmaps: what is read there later is what the file has, as before.
        let result = unsafe { libc::madvise(start as *mut libc::c_void, length, libc::MADV_DONTNEED) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        bytes += length as u64;
    }
    Ok(bytes)
}

/// Ranges of the program with inode `own` and of libraries, whose pages are all the file's (proc_pid_smaps(5)).
fn unchanged(smaps: &str, own: u64) -> Vec<(usize, usize)> {
    let mut ranges = Vec::new();
    let mut current = None;
    for line in smaps.lines() {
        if let Some(range) = mapping(line, own) {
            current = range;
        } else if let Some(amount) = line.strip_prefix("Anonymous:") {
            if amount.split_ascii_whitespace().next() == Some("0") {
                ranges.extend(current);
            }
            current = None;
        }
    }
    ranges
}

/// What a first line of a mapping says: `Some(None)` if the mapping is none to let go of, `None` for other lines.
#[expect(clippy::option_option, reason = "no such line, and a line that does not count")]
fn mapping(line: &str, own: u64) -> Option<Option<(usize, usize)>> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
    let access = words.next()?;
    let inode: u64 = words.nth(2)?.parse().ok()?;
    let name = words.next().unwrap_or_default();
    let ours = inode != 0 && (inode == own || name.contains(".so"));
    Some((ours && access.starts_with("r-") && access.ends_with('p')).then_some((start, end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_or_is_not_ours_stays() {
        let smaps = "1000-3000 r-xp 00000000 fe:00 7 /bin/x\nRss: 8 kB\nAnonymous:             0 kB\n\
                     3000-4000 r--p 00002000 fe:00 7 /bin/x\nAnonymous:             4 kB\n\
                     4000-5000 rw-p 00003000 fe:00 7 /bin/x\nAnonymous:             0 kB\n\
                     5000-6000 r--p 00000000 00:00 0\nAnonymous:             0 kB\n\
                     6000-7000 r-xp 00000000 fe:00 9 /lib/libc.so.6\nAnonymous:             0 kB\n\
                     7000-8000 r--s 00000000 fe:00 8 /var/log.so\nAnonymous:             0 kB\n";
        assert_eq!(unchanged(smaps, 7), [(0x1000, 0x3000), (0x6000, 0x7000)]);
    }

    #[test]
    fn the_program_goes_on() {
        assert!(let_go().unwrap() > 0);
        assert_eq!(format!("{}", 6 * 7), "42");
    }
}
