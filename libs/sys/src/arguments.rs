//! What /proc shows as this process's command line (proc_pid_cmdline(5)): the memory in which the kernel left the arguments.

use std::io::{self, Read};
use std::sync::Mutex;

/// More than 52 numbers and a name take.
const LONGEST: usize = 2048;

/// Of /proc/self/stat (proc_pid_stat(5)).
pub(crate) struct Stat {
    /// How many threads there are.
    pub(crate) threads: u64,
    /// Where the arguments begin.
    start: usize,
    /// Where they end.
    end: usize,
}

pub(crate) fn stat() -> io::Result<Stat> {
    // At once: the kernel makes the text anew for each piece that is asked for.
    let mut text = vec![0; LONGEST];
    let length = std::fs::File::open("/proc/self/stat")?.read(&mut text)?;
    parse(&String::from_utf8_lossy(&text[..length]))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/self/stat"))
}

/// The name in parentheses may hold anything: fields are counted from the last parenthesis, behind which the third one is.
fn parse(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.get(text.rfind(')')? + 1..)?.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3);
    Some(Stat {
        threads: field(20)?.parse().ok()?,
        start: field(48)?.parse().ok()?,
        end: field(49)?.parse().ok()?,
    })
}

/// Shows other arguments after the program's name. They may not take more room than there was; what is over is filled with zeros. The
/// arguments that the process was started with must not be asked for any more.
///
/// # Errors
/// E2BIG when they do not fit.
pub fn show(words: &[&[u8]]) -> io::Result<()> {
    static ONE: Mutex<()> = Mutex::new(());
    // Two at once would write into each other.
    let _one = ONE.lock();
    let Stat { start, end, .. } = stat()?;
    let too_big = || io::Error::from_raw_os_error(libc::E2BIG);
    let length = end.checked_sub(start).filter(|_| start != 0).ok_or_else(too_big)?;
    let place = std::ptr::with_exposed_provenance_mut::<u8>(start);
    // SAFETY: the kernel put the arguments there when the program was executed, on the stack of the first thread, which stays for as long as
    // the process; it is readable and writable, and nobody holds a reference into it, since the standard library copies what it gives out.
    let area = unsafe { std::slice::from_raw_parts_mut(place, length) };
    let name = area.iter().position(|byte| *byte == 0).ok_or_else(too_big)? + 1;
    let room = &mut area[name..];
    if words.iter().map(|word| word.len() + 1).sum::<usize>() > room.len() {
        return Err(too_big());
    }
    room.fill(0);
    let mut at = 0;
    for word in words {
        room[at..at + word.len()].copy_from_slice(word);
        at += word.len() + 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_behind_the_name() {
        let rest: Vec<String> = (3..=52).map(|number| number.to_string()).collect();
        let stat = parse(&format!("1 (a) b) {}", rest.join(" "))).unwrap();
        assert_eq!((stat.threads, stat.start, stat.end), (20, 48, 49));
        assert!(parse("1 (a) S").is_none());
    }

    #[test]
    fn too_many_are_refused() {
        let long = vec![b'x'; 1 << 20];
        assert_eq!(show(&[&long]).unwrap_err().raw_os_error(), Some(libc::E2BIG));
    }
}
