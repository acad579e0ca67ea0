//! Programs that tests write and then execute.

use std::io::{Error, Result, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// Writes `text` into an executable file at `path`, which can be executed at once.
///
/// Another process holds it open while it is written: a child that some other thread of this one forks just then would hold it open too,
/// and for as long as anybody can write to a file the kernel refuses to execute it (ETXTBSY, execve(2)).
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, text: &str) -> Result<()> {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "cat >\"$0\" && chmod 755 \"$0\""]).arg(path);
    let mut child = shell.stdin(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(text.as_bytes())?;
    }
    let status = child.wait()?;
    if status.success() { Ok(()) } else { Err(Error::other(format!("write {}: {status}", path.display()))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_executed_while_others_fork() {
        let folder = std::env::temp_dir().join(format!("programs-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::thread::scope(|threads| {
            for number in 0..4 {
                let path = folder.join(format!("answer-{number}"));
                threads.spawn(move || {
                    for turn in 0..25 {
                        write(&path, &format!("#!/bin/sh\nexit {turn}\n")).unwrap();
                        assert_eq!(Command::new(&path).status().unwrap().code(), Some(turn));
                    }
                });
            }
        });
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let error = write(Path::new("/nonexistent/program"), "").unwrap_err();
        assert!(error.to_string().contains("write /nonexistent/program"), "{error}");
    }
}
