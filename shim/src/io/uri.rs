//! Where standard streams lead, as the daemon names them. Pure.
//!
//! | text | meaning |
//! |---|---|
//! | empty | nowhere |
//! | `/path`, `fifo:///path` | a fifo (or an existing file) |
//! | `file:///path` | a file that is appended to |
//! | `binary:///program?key=value` | a logging program that reads both outputs; `binary-v2` must say that it is ready |
//! | `log:///path?max-size=N&max-files=N&attach=/socket` | a log in CRI format, rotated, with live clients at a socket |
//! | `attach:///socket` | stdin alone: fed by the clients at that socket |

use std::path::PathBuf;

use errors::{Error, Result};

use crate::cri_log::Limits;

/// Where an output goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Output {
    Nowhere,
    Fifo(PathBuf),
    File(PathBuf),
    Binary(Binary),
    Log(Log),
}

/// Where stdin comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Input {
    Nowhere,
    Fifo(PathBuf),
    Attach(PathBuf),
}

/// A logging program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binary {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    /// End of file does not count as ready.
    pub(crate) must_say_ready: bool,
}

/// A log of our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) path: PathBuf,
    pub(crate) limits: Limits,
    pub(crate) attach: Option<PathBuf>,
}

impl Output {
    /// # Errors
    /// InvalidArgument that names the URI and what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Output> {
        if text.is_empty() {
            return Ok(Output::Nowhere);
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(Output::Fifo(absolute(text, text)?));
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = absolute(&decode(path, text)?, text)?;
        match scheme {
            "fifo" => Ok(Output::Fifo(path)),
            "file" => Ok(Output::File(path)),
            "binary" | "binary-v2" => Ok(Output::Binary(Binary {
                program: path,
                args: arguments(query, text)?,
                must_say_ready: scheme == "binary-v2",
            })),
            "log" => Log::parse(path, query, text).map(Output::Log),
            _ => Err(Error::invalid(format!("unknown STDIO scheme {scheme} in {text:?}"))),
        }
    }
}

impl Input {
    /// # Errors
    /// InvalidArgument that names the URI and what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Input> {
        if text.is_empty() {
            return Ok(Input::Nowhere);
        }
        match text.split_once("://") {
            None => Ok(Input::Fifo(absolute(text, text)?)),
            Some(("fifo", path)) => Ok(Input::Fifo(absolute(&decode(path, text)?, text)?)),
            Some(("attach", path)) => Ok(Input::Attach(absolute(&decode(path, text)?, text)?)),
            Some((scheme, _)) => {
                Err(Error::invalid(format!("unknown STDIO scheme {scheme} for stdin in {text:?}")))
            }
        }
    }
}

impl Log {
    fn parse(path: PathBuf, query: &str, text: &str) -> Result<Log> {
        let mut log = Log { path, limits: Limits { max_size: None, max_files: 1 }, attach: None };
        for (key, value) in pairs(query, text)? {
            let number = || {
                value
                    .parse::<u64>()
                    .map_err(|_| Error::invalid(format!("{key}={value} in {text:?} is no number")))
            };
            match key.as_str() {
                "max-size" => log.limits.max_size = Some(number()?).filter(|size| *size > 0),
                "max-files" => {
                    let files = u32::try_from(number()?).ok().filter(|files| (1..=1000).contains(files));
                    log.limits.max_files = files.ok_or_else(|| {
                        Error::invalid(format!("max-files={value} in {text:?} is not in 1 to 1000"))
                    })?;
                }
                "attach" => log.attach = Some(absolute(&value, text)?),
                _ => return Err(Error::invalid(format!("unknown parameter {key} in {text:?}"))),
            }
        }
        Ok(log)
    }
}

/// The command line of a logging program: every key, followed by its value if it has one.
fn arguments(query: &str, text: &str) -> Result<Vec<String>> {
    let words = pairs(query, text)?.into_iter().flat_map(|(key, value)| [key, value]);
    Ok(words.filter(|word| !word.is_empty()).collect())
}

fn pairs(query: &str, text: &str) -> Result<Vec<(String, String)>> {
    let pair = |part: &str| {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        Ok((decode(&key.replace('+', " "), text)?, decode(&value.replace('+', " "), text)?))
    };
    query.split('&').filter(|part| !part.is_empty()).map(pair).collect()
}

fn absolute(path: &str, text: &str) -> Result<PathBuf> {
    if !path.starts_with('/') || path.contains('\0') {
        return Err(Error::invalid(format!("{path:?} in {text:?} is no absolute path")));
    }
    Ok(PathBuf::from(path))
}

/// Percent-decoding (RFC 3986, section 2.1).
fn decode(part: &str, text: &str) -> Result<String> {
    let bad = || Error::invalid(format!("bad escape in {text:?}"));
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = rest.get(..2).and_then(|digits| std::str::from_utf8(digits).ok()).ok_or_else(bad)?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| bad())?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scheme() {
        assert_eq!(Output::parse("").unwrap(), Output::Nowhere);
        assert_eq!(Output::parse("/f").unwrap(), Output::Fifo("/f".into()));
        assert_eq!(Output::parse("file:///a%20b").unwrap(), Output::File("/a b".into()));
        let binary = Binary {
            program: "/bin/logger".into(),
            args: ["_NERDCTL_INTERNAL_LOGGING", "/var/lib/x", "flag"].map(Into::into).into(),
            must_say_ready: false,
        };
        let text = "binary:///bin/logger?_NERDCTL_INTERNAL_LOGGING=%2Fvar%2Flib%2Fx&flag";
        assert_eq!(Output::parse(text).unwrap(), Output::Binary(binary));
        let log = Log {
            path: "/l".into(),
            limits: Limits { max_size: Some(10), max_files: 3 },
            attach: Some("/s".into()),
        };
        assert_eq!(Output::parse("log:///l?max-size=10&max-files=3&attach=/s").unwrap(), Output::Log(log));
        let Output::Log(log) = Output::parse("log:///l?max-size=0").unwrap() else { panic!("no log") };
        assert_eq!(log.limits, Limits { max_size: None, max_files: 1 });
        assert_eq!(Input::parse("attach:///s").unwrap(), Input::Attach("/s".into()));
        assert_eq!(Input::parse("/f").unwrap(), Input::Fifo("/f".into()));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, complaint) in [
            ("http://x/y", "http"),
            ("relative", "relative"),
            ("file://host/x", "host/x"),
            ("file:///a%2", "escape"),
            ("file:///a%zz", "escape"),
            ("log:///l?max-size=x", "max-size=x"),
            ("log:///l?max-files=0", "max-files=0"),
            ("log:///l?attach=s", "\"s\""),
            ("log:///l?colour=red", "colour"),
            ("attach:///s", "attach"),
        ] {
            let error = Output::parse(text).unwrap_err();
            assert!(error.message().contains(complaint), "{text}: {error}");
        }
        assert!(Input::parse("log:///x").unwrap_err().message().contains("stdin"));
    }
}
