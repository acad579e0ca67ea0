//! What went wrong, in docker's words and with docker's exit codes.

use tonic::{Code, Status};

/// Why a command ends without success.
#[derive(Debug)]
pub enum Failure {
    /// The daemon's answer.
    Daemon(Status),
    /// The daemon's answer to a command that runs something: its code says how far it came.
    Run(Status),
    /// Something on this side.
    Local(String),
    /// Something on this side of a command that runs something: docker has a code of its own for that.
    Unrun(String),
    /// The command line makes no sense.
    Usage(String),
    /// Several of the things asked for failed; each was told of already.
    Told,
}

/// The result of a command.
pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// docker's exit code for a mistake of its own or its user's.
    pub const USAGE: u8 = 125;

    /// The process's exit code.
    pub fn code(&self) -> u8 {
        match self {
            Failure::Daemon(_) | Failure::Local(_) | Failure::Told => 1,
            Failure::Usage(_) | Failure::Unrun(_) => Failure::USAGE,
            Failure::Run(status) => run_code(status.message()),
        }
    }

    /// Tells the user.
    pub fn print(&self) {
        match self {
            Failure::Daemon(status) | Failure::Run(status) => eprintln!("{}", describe(status)),
            Failure::Local(text) | Failure::Unrun(text) => eprintln!("rctl: {}", plain(text)),
            Failure::Usage(text) => eprintln!("rctl: {}\n\nSee 'rctl --help'.", plain(text)),
            Failure::Told => {}
        }
    }

    /// The same failure, of a command that was to run a container: what went wrong before that has docker's code 125.
    pub fn of_run(self) -> Failure {
        match self {
            Failure::Daemon(status) => Failure::Run(status),
            Failure::Local(text) => Failure::Unrun(text),
            other => other,
        }
    }

    /// A failure of this side, with its cause.
    pub fn local(what: impl Into<String>, cause: impl std::fmt::Display) -> Failure {
        Failure::Local(format!("{}: {cause}", what.into()))
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Failure {
        Failure::Daemon(status)
    }
}

/// The daemon's answer, and what to do about it where that is known.
pub fn describe(status: &Status) -> String {
    let text = plain(status.message());
    if status.code() == Code::Unavailable && text.contains("transport error") {
        return "Cannot connect to the daemon: the connection broke. Is runtimed running?".to_owned();
    }
    let next = advice(&text).map(|advice| format!("\n{advice}")).unwrap_or_default();
    format!("Error response from daemon: {text}{next}")
}

/// What to do next, on a line of its own: the first line is what callers match.
fn advice(text: &str) -> Option<&'static str> {
    let advice = [
        (
            "No such container",
            "'rctl ps --all' lists the containers of this namespace, 'rctl namespaces ls' the namespaces.",
        ),
        ("No such image", "'rctl images' lists the images that are here; 'rctl pull' brings others."),
        ("container is running", "'rctl rm --force' kills it first."),
        ("volumes are not supported", "A folder of the host can be mounted: -v /folder:/target."),
    ];
    advice.iter().find(|(symptom, _)| text.contains(symptom)).map(|(_, advice)| *advice)
}

/// Text of others, without what a terminal would obey, and without what makes text read otherwise than it is.
pub fn plain(text: &str) -> String {
    let harmless = |c: char| matches!(c, '\n' | '\t') || !(c.is_control() || turns(c));
    text.chars().map(|c| if harmless(c) { c } else { '\u{fffd}' }).collect()
}

/// Does the character turn the direction of text (Unicode TR 36, "Bidirectional Text Spoofing"), or end a line without being seen?
pub fn turns(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// docker's way to tell, from the executor's words, a command that is not there from one that may not be run.
fn run_code(text: &str) -> u8 {
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&["executable file not found", "no such file or directory", "not a directory"]) && says(&["exec"])
    {
        127
    } else if says(&["permission denied", "is a directory"]) && says(&["exec"]) {
        126
    } else {
        Failure::USAGE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_dockers() {
        let run = |text: &str| Failure::Run(Status::internal(text)).code();
        assert_eq!(run("exec: \"nope\": executable file not found in $PATH"), 127);
        assert_eq!(run("exec: \"/etc\": permission denied"), 126);
        assert_eq!(run("No such image: x"), 125);
        assert_eq!(Failure::Daemon(Status::not_found("x")).code(), 1);
    }

    #[test]
    fn terminals_are_not_commanded_by_errors() {
        assert_eq!(plain("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\n");
    }
}
