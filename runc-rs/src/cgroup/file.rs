//! Reading and writing the small files of a cgroup directory, with the file and the value in every error.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::path::Path;
use std::str::FromStr;

use super::{Error, Result};

/// The most that is read from one cgroup file; only `cgroup.procs` of a huge cgroup comes near.
const LIMIT: u64 = 16 << 20;

/// Writes `value` to an existing file in one write(2), as cgroup files want it.
pub fn write(dir: &Path, name: &str, value: &str) -> Result<()> {
    let path = dir.join(name);
    OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(&path)
        .and_then(|mut file| file.write_all(value.as_bytes()))
        .map_err(|e| Error::io(format!("failed to write {value:?}: write"), path, e))
}

/// The whole of a file.
pub fn read(dir: &Path, name: &str) -> Result<String> {
    let path = dir.join(name);
    let mut text = String::new();
    OpenOptions::new()
        .read(true)
        .open(&path)
        .and_then(|file| file.take(LIMIT).read_to_string(&mut text))
        .map_err(|e| Error::io("read", path, e))?;
    Ok(text)
}

/// A file with one number; `max` is [`u64::MAX`].
pub fn read_u64(dir: &Path, name: &str) -> Result<u64> {
    let text = read(dir, name)?;
    match text.trim() {
        "max" => Ok(u64::MAX),
        // Some version 1 files give small negative numbers where they mean nothing.
        text if text.starts_with('-') && text[1..].parse::<u64>().is_ok() => Ok(0),
        text => parse(dir, name, text),
    }
}

/// A file with one signed number.
pub fn read_i64(dir: &Path, name: &str) -> Result<i64> {
    let text = read(dir, name)?;
    parse(dir, name, text.trim())
}

/// A "flat keyed" file: a name and a number a line. Lines of another form are an error.
pub fn read_keyed(dir: &Path, name: &str) -> Result<BTreeMap<String, u64>> {
    let text = read(dir, name)?;
    text.lines()
        .map(|line| {
            let (key, value) = line
                .split_once(' ')
                .ok_or_else(|| malformed(dir, name, format!("line {line:?} is not \"key value\"")))?;
            Ok((key.to_owned(), parse(dir, name, value.trim())?))
        })
        .collect()
}

/// A list of small numbers and ranges, such as `0-3,8`.
pub fn read_list(dir: &Path, name: &str) -> Result<Vec<u16>> {
    let text = read(dir, name)?;
    parse_list(text.trim())
        .ok_or_else(|| malformed(dir, name, format!("{:?} is not a list of ranges", text.trim())))
}

/// What [`read_list`] understands. An empty text is an empty list.
pub fn parse_list(text: &str) -> Option<Vec<u16>> {
    let mut numbers = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to) = (from.parse::<u16>().ok()?, to.parse::<u16>().ok()?);
        if from > to {
            return None;
        }
        numbers.extend(from..=to);
    }
    Some(numbers)
}

/// Parses one number of a file.
pub fn parse<T: FromStr>(dir: &Path, name: &str, text: &str) -> Result<T> {
    text.parse().map_err(|_| malformed(dir, name, format!("{text:?} is not a number")))
}

/// A file whose content is not of its documented form.
pub fn malformed(dir: &Path, name: &str, reason: impl Into<String>) -> Error {
    Error::Parse { path: dir.join(name), reason: reason.into() }
}

/// `None` where the file is missing: the kernel or its configuration may not have it.
pub fn optional<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.is_not_found() => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        assert_eq!(parse_list("0-2,7"), Some(vec![0, 1, 2, 7]));
        assert_eq!(parse_list(""), Some(vec![]));
        assert_eq!(parse_list("3-1"), None);
        assert_eq!(parse_list("x"), None);
    }

    #[test]
    fn numbers_and_keys() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("pids.max"), "max\n").unwrap();
        std::fs::write(dir.path().join("cpu.stat"), "nr_periods 4\nnr_throttled 2\n").unwrap();
        std::fs::write(dir.path().join("bad"), "nr_periods\n").unwrap();
        assert_eq!(read_u64(dir.path(), "pids.max").unwrap(), u64::MAX);
        assert_eq!(read_keyed(dir.path(), "cpu.stat").unwrap()["nr_throttled"], 2);
        assert!(read_keyed(dir.path(), "bad").unwrap_err().to_string().contains("bad: line \"nr_periods\""));
        assert_eq!(optional(read_u64(dir.path(), "absent")).unwrap(), None);
    }

    #[test]
    fn a_failed_write_names_file_value_and_reason() {
        let dir = tempfile::tempdir().unwrap();
        let error = write(dir.path(), "pids.max", "5").unwrap_err().to_string();
        assert!(error.starts_with("failed to write \"5\": write /"), "{error}");
        assert!(error.ends_with("/pids.max: no such file or directory"), "{error}");
    }
}
