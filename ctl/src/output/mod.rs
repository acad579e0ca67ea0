//! What people read: tables, times, sizes.

/// Prints to standard output, as `print!`; a reader that has gone ends the program instead of making it panic.
macro_rules! out {
    ($($text:tt)*) => { $crate::output::emit(format_args!($($text)*)) };
}

/// Prints a line to standard output, as `println!`; a reader that has gone ends the program instead of making it panic.
macro_rules! outln {
    ($($text:tt)*) => { $crate::output::emit(format_args!("{}\n", format_args!($($text)*))) };
}

pub mod format;
pub mod progress;
pub mod table;
pub mod time;
pub mod waterfall;

use crate::failure::plain;

/// Writes to standard output at once. When nobody reads any more, such as behind `head`, there is nothing left to do; a full disk is an error.
pub fn emit(text: std::fmt::Arguments<'_>) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_fmt(text).and_then(|()| out.flush()) {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            std::process::exit(0);
        }
        eprintln!("rctl: write to standard output: {error}");
        std::process::exit(1);
    }
}

/// An image's name as docker's users write it, without the default domain; what is no name stays as it is.
pub fn familiar(name: &str) -> String {
    let Ok(reference) = ids::Reference::parse(name) else { return plain(name) };
    let tag = reference.tag().map(|tag| format!(":{tag}")).unwrap_or_default();
    let digest = reference.digest().map(|digest| format!("@{digest}")).unwrap_or_default();
    format!("{}{tag}{digest}", reference.familiar_name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shortened_as_docker_does() {
        assert_eq!(familiar("docker.io/library/busybox:latest"), "busybox:latest");
        assert_eq!(familiar("example.com/team/tool:2"), "example.com/team/tool:2");
        assert_eq!(familiar("No\u{1b}Name"), "No\u{fffd}Name");
    }
}
