//! The command line as runc reads it: Go's flag syntax (`-x`, `--x`, `-x=v`, `--x v`, `--bool=false`), one table a verb.

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::error::{Error, Result};

/// One flag of the program or of a verb.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// Long name, without dashes.
    pub name: &'static str,
    /// One-letter name.
    pub short: Option<&'static str>,
    /// What the value is called in the help; `None` for a switch.
    pub value: Option<&'static str>,
    /// Help text. An empty one hides the flag.
    pub help: &'static str,
    /// Whether a value can be what it has to be.
    fits: fn(&str) -> bool,
}

impl Flag {
    /// A flag that is there or not.
    pub const fn switch(name: &'static str, short: Option<&'static str>, help: &'static str) -> Self {
        Flag { name, short, value: None, help, fits: |_| true }
    }

    /// A flag that takes a value; it may be given more than once, see [`Matches::values`].
    pub const fn value(
        name: &'static str,
        short: Option<&'static str>,
        value: &'static str,
        help: &'static str,
    ) -> Self {
        Flag { name, short, value: Some(value), help, fits: |_| true }
    }

    /// The same for a value that has to be a number.
    pub const fn number(name: &'static str, help: &'static str) -> Self {
        Flag { fits: |text| text.parse::<i64>().is_ok(), ..Flag::value(name, None, "value", help) }
    }

    /// The same for a value that has to be something else, which is looked at before anything is done.
    pub const fn that_fits(self, fits: fn(&str) -> bool) -> Self {
        Flag { fits, ..self }
    }
}

/// How many arguments a verb takes.
#[derive(Debug, Clone, Copy)]
pub enum Arity {
    /// So many.
    Exact(usize),
    /// So many or more.
    Min(usize),
    /// From the first to the second.
    Range(usize, usize),
}

/// A verb of the command line.
pub struct Verb {
    /// Its name.
    pub name: &'static str,
    /// The arguments, for the help.
    pub args: &'static str,
    /// One line about it.
    pub about: &'static str,
    /// Its flags.
    pub flags: &'static [Flag],
    /// How many arguments.
    pub arity: Arity,
    /// Whether everything from the first argument on is an argument (`exec`, `ps`), flag or not.
    pub flags_stop: bool,
    /// Does it, and says the exit code.
    pub run: fn(&Global, &Matches) -> Result<i32>,
}

/// The flags before the verb.
#[derive(Debug, Clone)]
pub struct Global {
    /// Where the state of containers is kept; absolute.
    pub root: PathBuf,
    /// `--systemd-cgroup`.
    pub systemd_cgroup: bool,
}

/// Flags and arguments as they were given.
#[derive(Debug, Default)]
pub struct Matches {
    given: Vec<(&'static str, String)>,
    args: Vec<String>,
}

impl Matches {
    /// Whether a switch is on.
    pub fn flag(&self, name: &str) -> bool {
        self.value(name) == Some("true")
    }

    /// The last value given for a flag.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.given.iter().rev().find(|(n, _)| *n == name).map(|(_, v)| v.as_str())
    }

    /// All values given for a flag, in order.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.given.iter().filter(move |(n, _)| *n == name).map(|(_, v)| v.as_str())
    }

    /// The value of a flag as a number; `what` it is goes into the error.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>> {
        let Some(text) = self.value(name) else { return Ok(None) };
        text.parse()
            .map(Some)
            .map_err(|_| Error::usage(format!("invalid value {text:?} for flag -{name}: parse error")))
    }

    /// The arguments.
    pub fn args(&self) -> &[String] {
        &self.args
    }

    /// The first argument: the container's id, for most verbs.
    pub fn id(&self) -> Result<&str> {
        match self.args.first() {
            Some(id) if !id.is_empty() => Ok(id),
            _ => Err(Error::new("container id cannot be empty")),
        }
    }
}

/// Reads `args` by the table `flags`. Stops at the first argument when `flags_stop`, and always at `--`.
pub fn parse(flags: &[Flag], args: &[String], flags_stop: bool) -> Result<Matches> {
    let mut matches = Matches::default();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        if arg == "--" {
            matches.args.extend(rest.cloned());
            break;
        }
        let Some(body) = arg.strip_prefix('-').filter(|b| !b.is_empty()) else {
            matches.args.push(arg.clone());
            if flags_stop {
                matches.args.extend(rest.cloned());
                break;
            }
            continue;
        };
        let body = body.strip_prefix('-').unwrap_or(body);
        let (name, inline) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (body, None),
        };
        let flag = flags
            .iter()
            .find(|f| f.name == name || f.short == Some(name))
            .ok_or_else(|| Error::usage(format!("flag provided but not defined: -{name}")))?;
        let value = value_of(flag, name, inline, &mut rest)?;
        matches.given.push((flag.name, value));
    }
    Ok(matches)
}

/// The value of a flag; `name` is how it was written.
fn value_of<'a>(
    flag: &Flag,
    name: &str,
    inline: Option<String>,
    rest: &mut impl Iterator<Item = &'a String>,
) -> Result<String> {
    if flag.value.is_some() {
        let value = inline
            .or_else(|| rest.next().cloned())
            .ok_or_else(|| Error::usage(format!("flag needs an argument: -{name}")))?;
        return match (flag.fits)(&value) {
            true => Ok(value),
            false => Err(Error::usage(format!("invalid value {value:?} for flag -{name}: parse error"))),
        };
    }
    match inline.as_deref() {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok("true".into()),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok("false".into()),
        Some(other) => Err(Error::usage(format!("invalid boolean value {other:?} for -{name}: parse error"))),
    }
}

/// How this program was called, path and all, as Go's `os.Args[0]` tells it.
pub fn called() -> String {
    let first = std::env::args_os().next().unwrap_or_default();
    let first = first.to_string_lossy().into_owned();
    if first.is_empty() { env!("CARGO_PKG_NAME").to_owned() } else { first }
}

/// The name it was called by: in whose place it stands, it says.
pub fn program() -> String {
    let called = called();
    let name = std::path::Path::new(&called).file_name().map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or(called)
}

/// Checks the number of arguments, with runc's words.
pub fn check_arity(verb: &Verb, count: usize) -> Result<()> {
    let (called, name) = (called(), verb.name);
    match verb.arity {
        Arity::Exact(n) if count != n => {
            Err(Error::usage(format!("{called}: {name:?} requires exactly {n} argument(s)")))
        }
        Arity::Min(n) | Arity::Range(n, _) if count < n => {
            Err(Error::usage(format!("{called}: {name:?} requires a minimum of {n} argument(s)")))
        }
        Arity::Range(_, n) if count > n => {
            Err(Error::usage(format!("{called}: {name:?} requires a maximum of {n} argument(s)")))
        }
        _ => Ok(()),
    }
}

/// The help of a verb.
pub fn verb_help(verb: &Verb) -> String {
    let (program, name) = (program(), verb.name);
    let options = if verb.flags.iter().any(|flag| !flag.help.is_empty()) { "[command options] " } else { "" };
    let mut text = format!(
        "NAME:\n   {program} {name} - {}\n\nUSAGE:\n   {program} {name} {options}{}\n",
        verb.about, verb.args
    );
    text.push_str("\nOPTIONS:\n");
    text.push_str(&flag_help(verb.flags));
    text
}

/// The lines of help for a table of flags.
pub fn flag_help(flags: &[Flag]) -> String {
    let help = Flag::switch("help", Some("h"), "show help");
    let left = |flag: &Flag| {
        let value = flag.value.map(|v| format!(" {v}")).unwrap_or_default();
        let short = flag.short.map(|short| format!(", -{short}{value}")).unwrap_or_default();
        format!("--{}{value}{short}", flag.name)
    };
    let shown = flags.iter().chain(std::iter::once(&help)).filter(|flag| !flag.help.is_empty());
    let lines: Vec<_> = shown.map(|flag| (left(flag), flag.help)).collect();
    let width = lines.iter().map(|(left, _)| left.len()).max().unwrap_or_default();
    lines.iter().fold(String::new(), |mut text, (left, help)| {
        let _ = writeln!(text, "   {left:<width$}  {help}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &[Flag] = &[
        Flag::switch("force", Some("f"), "force it"),
        Flag::value("env", Some("e"), "value", "set a variable"),
        Flag::number("preserve-fds", "how many"),
    ];

    fn parsed(args: &[&str], stop: bool) -> Result<Matches> {
        let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
        parse(FLAGS, &args, stop)
    }

    #[test]
    fn every_spelling_of_a_flag() {
        let m = parsed(&["-f", "--env", "A=1", "-e=B=2", "-env", "C", "id"], false).unwrap();
        assert!(m.flag("force"));
        assert_eq!(m.values("env").collect::<Vec<_>>(), ["A=1", "B=2", "C"]);
        assert_eq!(m.args(), ["id"]);
        assert!(!parsed(&["--force=false"], false).unwrap().flag("force"));
    }

    #[test]
    fn flags_after_an_argument() {
        assert!(parsed(&["id", "--force"], false).unwrap().flag("force"));
        let m = parsed(&["id", "ls", "-l", "--force"], true).unwrap();
        assert!(!m.flag("force"));
        assert_eq!(m.args(), ["id", "ls", "-l", "--force"]);
        assert_eq!(parsed(&["-f", "--", "-x"], false).unwrap().args(), ["-x"]);
    }

    #[test]
    fn bad_flags_are_named() {
        let text = |args: &[&str]| parsed(args, false).unwrap_err().to_string();
        assert_eq!(text(&["--frob"]), "flag provided but not defined: -frob");
        assert_eq!(text(&["-e"]), "flag needs an argument: -e");
        assert_eq!(text(&["--force=maybe"]), "invalid boolean value \"maybe\" for -force: parse error");
        let not_a_number = "invalid value \"x\" for flag -preserve-fds: parse error";
        assert_eq!(text(&["--preserve-fds", "x"]), not_a_number);
        let m = parsed(&["--preserve-fds", "-1"], false).unwrap();
        assert!(m.number::<u32>("preserve-fds").unwrap_err().to_string().contains("\"-1\""));
    }
}
