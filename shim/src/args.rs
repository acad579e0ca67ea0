//! The command line, in the manner of Go's flag package: `-name value`, `-name=value`, one dash or two, and
//! the action as the first word that is no flag.

use std::ffi::OsString;
use std::path::PathBuf;

/// What the shim was called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Leave a server behind.
    Start,
    /// Clean up after a server that died.
    Delete,
    /// Be the server.
    Serve,
    /// `-info`: tell of this shim and its executor.
    Info,
    /// `-v`.
    Version,
}

/// The parsed command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Args {
    pub(crate) action: Action,
    /// Whose container it is.
    pub(crate) namespace: String,
    /// The container, or the sandbox.
    pub(crate) id: String,
    /// The daemon's gRPC address.
    pub(crate) address: String,
    /// The daemon's program, which could publish an event on the shim's behalf. Part of the protocol; events
    /// go over ttrpc instead.
    pub(crate) publish_binary: PathBuf,
    /// The bundle, if it is not the working directory. Given with `delete`.
    pub(crate) bundle: Option<PathBuf>,
    /// Where to serve, in place of descriptor 3.
    pub(crate) socket: Option<PathBuf>,
    /// Log more.
    pub(crate) debug: bool,
}

impl Args {
    /// Parses all arguments after the program's name.
    ///
    /// # Errors
    /// A sentence that names the argument.
    pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Args, String> {
        let mut args = Args {
            action: Action::Serve,
            namespace: String::new(),
            id: String::new(),
            address: String::new(),
            publish_binary: PathBuf::new(),
            bundle: None,
            socket: None,
            debug: false,
        };
        let (mut version, mut info) = (false, false);
        let mut words = words.into_iter().map(text);
        let action = loop {
            let Some(word) = words.next().transpose()? else { break None };
            let Some(flag) = flag_of(&word) else { break Some(word) };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (flag.to_owned(), None),
            };
            match name.as_str() {
                "debug" => args.debug = boolean(&name, value)?,
                "v" | "version" => version = boolean(&name, value)?,
                "info" => info = boolean(&name, value)?,
                _ => {
                    let target = args.text_flag(&name)?;
                    let value = match value {
                        Some(value) => value,
                        None => {
                            words.next().transpose()?.ok_or(format!("flag needs an argument: -{name}"))?
                        }
                    };
                    target(&mut args, value);
                }
            }
        };
        args.action = match action.as_deref() {
            _ if version => Action::Version,
            _ if info => Action::Info,
            None => Action::Serve,
            Some("start") => Action::Start,
            Some("delete") => Action::Delete,
            Some(other) => return Err(format!("unknown action {other:?}: start and delete are known")),
        };
        args.check()
    }

    fn text_flag(&self, name: &str) -> Result<fn(&mut Args, String), String> {
        Ok(match name {
            "namespace" => |args, value| args.namespace = value,
            "id" => |args, value| args.id = value,
            "address" => |args, value| args.address = value,
            "publish-binary" => |args, value| args.publish_binary = value.into(),
            "bundle" => |args, value| {
                args.bundle = Some(value.into()).filter(|path: &PathBuf| !path.as_os_str().is_empty())
            },
            "socket" => |args, value| {
                args.socket = Some(value.into()).filter(|path: &PathBuf| !path.as_os_str().is_empty())
            },
            _ => return Err(format!("flag provided but not defined: -{name}")),
        })
    }

    fn check(self) -> Result<Args, String> {
        if matches!(self.action, Action::Version | Action::Info) {
            return Ok(self);
        }
        if self.namespace.is_empty() {
            return Err("shim namespace cannot be empty".to_owned());
        }
        for (name, value) in [("namespace", &self.namespace), ("id", &self.id)] {
            if value.contains('/') || value == ".." || value == "." {
                return Err(format!("-{name} {value:?} is not a plain name"));
            }
        }
        if self.id.is_empty() && self.action != Action::Serve {
            return Err("shim id cannot be empty".to_owned());
        }
        Ok(self)
    }
}

fn text(word: OsString) -> Result<String, String> {
    word.into_string().map_err(|word| format!("argument {word:?} is not UTF-8"))
}

/// The flag in `-flag` or `--flag`; `None` for a word that is none.
fn flag_of(word: &str) -> Option<&str> {
    let flag = word.strip_prefix('-')?;
    let flag = flag.strip_prefix('-').unwrap_or(flag);
    (!flag.is_empty()).then_some(flag)
}

fn boolean(name: &str, value: Option<String>) -> Result<bool, String> {
    match value.as_deref() {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(other) => Err(format!("invalid boolean value {other:?} for -{name}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, String> {
        Args::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn the_daemons_call_is_understood() {
        let args =
            parse("-namespace ns -address /a.sock -publish-binary /bin/d -id c1 -debug start").unwrap();
        assert_eq!(args.action, Action::Start);
        assert_eq!((args.namespace.as_str(), args.id.as_str(), args.debug), ("ns", "c1", true));
        assert_eq!(args.address, "/a.sock");
        let args = parse("--namespace=ns -id=c1 -bundle=/b -debug=false delete").unwrap();
        assert_eq!((args.action, args.debug, args.bundle), (Action::Delete, false, Some("/b".into())));
        assert_eq!(parse("-namespace ns -id c -bundle= -socket /s").unwrap().bundle, None);
    }

    #[test]
    fn informative_flags_need_nothing_else() {
        assert_eq!(parse("-v").unwrap().action, Action::Version);
        assert_eq!(parse("--version").unwrap().action, Action::Version);
        assert_eq!(parse("-info").unwrap().action, Action::Info);
    }

    #[test]
    fn mistakes_are_named() {
        for (line, complaint) in [
            ("-id c start", "namespace cannot be empty"),
            ("-namespace ns start", "id cannot be empty"),
            ("-namespace ns -id ../c start", "not a plain name"),
            ("-namespace ns -id c -colour start", "-colour"),
            ("-namespace ns -id", "needs an argument: -id"),
            ("-namespace ns -id c stop", "\"stop\""),
            ("-namespace ns -debug=maybe start", "\"maybe\""),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(complaint), "{line}: {error}");
        }
    }
}
