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
