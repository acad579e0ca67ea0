//! What people read: tables, times, sizes.

/// Prints to standard output, as `print!`, without what a terminal would obey: most of what is printed was written by others. A reader that has
/// gone ends the program instead of making it panic.
macro_rules! out {
    ($($text:tt)*) => { $crate::output::emit(format_args!($($text)*)) };
}

/// Prints a line to standard output, as `println!`, in the manner of `out!`.
macro_rules! outln {
    ($($text:tt)*) => { $crate::output::emit(format_args!("{}\n", format_args!($($text)*))) };
}

/// Prints a line to standard error, as `eprintln!`, without what a terminal would obey.
macro_rules! errln {
    ($($text:tt)*) => { eprintln!("{}", $crate::failure::plain(&format!($($text)*))) };
}

/// Prints what this program, or the person at the terminal, wrote on purpose for it: commands to the terminal, and templates, whose values are
/// harmless already.
macro_rules! raw {
    ($($text:tt)*) => { $crate::output::emit_raw(format_args!($($text)*)) };
}

pub mod format;
pub mod progress;
pub mod table;
pub mod time;
pub mod waterfall;

use crate::failure::plain;

/// Writes to standard output at once, and nothing that a terminal would obey.
pub fn emit(text: std::fmt::Arguments<'_>) {
    emit_raw(format_args!("{}", plain(&text.to_string())));
}

/// Writes to standard output at once. When nobody reads any more, such as behind `head`, there is nothing left to do; a full disk is an error.
pub fn emit_raw(text: std::fmt::Arguments<'_>) {
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
        assert_eq!(familiar("Right\u{202e}Left"), "Right\u{fffd}Left");
    }
}
