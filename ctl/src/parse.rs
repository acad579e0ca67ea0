//! Texts that people write on command lines: sizes, environment, mounts, limits.

use std::path::Path;

use proto_engine::v1;

/// The most bytes of a file that a flag names.
const FILE_LIMIT: u64 = 4 << 20;

/// docker's sizes: a number with b, k, m, g, t or p (and an optional `b` or `ib` behind), powers of 1024; -1 stays.
pub fn size(text: &str) -> Result<i64, String> {
    let invalid = || format!("invalid size: '{text}'");
    if text == "-1" {
        return Ok(-1);
    }
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let number: f64 = lower[..digits].parse().map_err(|_| invalid())?;
    let shift = match lower[digits..].trim() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return Err(invalid()),
    };
    let bytes = number * (1u64 << shift) as f64;
    if bytes.is_finite() && bytes < i64::MAX as f64 { Ok(bytes as i64) } else { Err(invalid()) }
}

/// `--cpus`: a decimal number, in billionths.
pub fn cpus(text: &str) -> Result<i64, String> {
    let invalid = || format!("failed to parse {text} as a rational number");
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && part.is_empty()) || !digits(whole) || !digits(part) {
        return Err(invalid());
    }
    if part.len() > 9 {
        return Err("value is too precise".to_owned());
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
    let part: i64 = format!("{part:0<9}").parse().map_err(|_| invalid())?;
    whole.checked_mul(1_000_000_000).and_then(|nanos| nanos.checked_add(part)).ok_or_else(invalid)
}

/// Environment from `--env-file` files and `-e` flags, in docker's order: a name without a value takes this process's, or is left out.
pub fn environment(files: &[std::path::PathBuf], flags: &[String]) -> Result<Vec<String>, String> {
    let mut entries = Vec::new();
    for file in files {
        for (number, line) in read(file)?.lines().enumerate() {
            let line = line.strip_prefix('\u{feff}').unwrap_or(line).trim_start();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let name = line.split_once('=').map_or(line, |(name, _)| name);
            if name.is_empty() {
                return Err(format!("{}:{}: no variable name on line '{line}'", file.display(), number + 1));
            }
            if name.contains(char::is_whitespace) {
                return Err(format!(
                    "{}:{}: variable '{name}' contains whitespaces",
                    file.display(),
                    number + 1
                ));
            }
            entries.extend(with_value(line));
        }
    }
    for flag in flags {
        if flag.is_empty() || flag.starts_with('=') {
            return Err(format!("invalid environment variable: {flag}"));
        }
        entries.extend(with_value(flag));
    }
    Ok(entries)
}

fn with_value(entry: &str) -> Option<String> {
    if entry.contains('=') {
        return Some(entry.to_owned());
    }
    std::env::var(entry).ok().map(|value| format!("{entry}={value}"))
}

/// Reads a text that a flag names, bounded.
pub fn read(path: &Path) -> Result<String, String> {
    use std::io::Read;
    let failed = |error: std::io::Error| format!("open {}: {error}", path.display());
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(FILE_LIMIT + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > FILE_LIMIT {
        return Err(format!("open {}: the file has more than {FILE_LIMIT} bytes", path.display()));
    }
    Ok(text)
}

/// `KEY=VALUE` labels; a key alone has an empty value.
pub fn labels(flags: &[String]) -> std::collections::HashMap<String, String> {
    let pair = |flag: &String| match flag.split_once('=') {
        Some((key, value)) => (key.to_owned(), value.to_owned()),
        None => (flag.clone(), String::new()),
    };
    flags.iter().map(pair).collect()
}

/// `-v`: `SOURCE:TARGET[:OPTIONS]`; a source that is missing on the host is made.
pub fn volume(flag: &str) -> Result<v1::Mount, String> {
    let invalid = || format!("invalid volume specification: '{flag}'");
    let parts: Vec<&str> = flag.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] => ("", *target, ""),
        [source, target] => (*source, *target, ""),
        [source, target, options] => (*source, *target, *options),
        _ => return Err(invalid()),
    };
    if target.is_empty() || (parts.len() > 1 && source.is_empty()) {
        return Err(invalid());
    }
    if !target.starts_with('/') {
        return Err(format!("{}: mount path must be absolute", invalid()));
    }
    let is_path = source.starts_with(['/', '.']);
    if options.split(',').filter(|option| matches!(*option, "ro" | "readonly" | "rw")).count() > 1 {
        return Err(format!("{}: invalid mode: {options}", invalid()));
    }
    let mut mount = v1::Mount {
        r#type: if is_path { "bind" } else { "volume" }.to_owned(),
        source: if is_path { absolute(source)? } else { source.to_owned() },
        target: target.to_owned(),
        create_source: is_path,
        ..v1::Mount::default()
    };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" | "readonly" => mount.read_only = true,
            "rw" => mount.read_only = false,
            "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave" => {
                option.clone_into(&mut mount.propagation)
            }
            // Labels of SELinux, which has nothing to say where it does not run.
            "z" | "Z" => {}
            other => return Err(format!("{}: invalid mode: {other}", invalid())),
        }
    }
    Ok(mount)
}

fn absolute(path: &str) -> Result<String, String> {
    let path = std::path::absolute(path).map_err(|error| format!("{path}: {error}"))?;
    path.into_os_string().into_string().map_err(|path| format!("{}: not valid UTF-8", path.display()))
}

/// `--mount`: `type=bind,source=/x,target=/y,readonly`.
pub fn mount(flag: &str) -> Result<v1::Mount, String> {
    let mut mount = v1::Mount { r#type: "volume".to_owned(), ..v1::Mount::default() };
    for field in flag.split(',') {
        let (key, value) = field.split_once('=').map_or((field, None), |(key, value)| (key, Some(value)));
        let boolean = || match value {
            None | Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => Err(format!("invalid value for {key}: {other}")),
        };
        let text = || {
            value
                .map(str::to_owned)
                .ok_or_else(|| format!("invalid field '{field}' must be a key=value pair"))
        };
        match key.to_ascii_lowercase().as_str() {
            "type" => mount.r#type = text()?.to_ascii_lowercase(),
            "source" | "src" => mount.source = text()?,
            "target" | "dst" | "destination" => mount.target = text()?,
            "readonly" | "ro" => mount.read_only = boolean()?,
            "bind-propagation" => mount.propagation = text()?,
            "bind-nonrecursive" => mount.non_recursive = boolean()?,
            "bind-create-src" => mount.create_source = boolean()?,
            "tmpfs-size" => mount.tmpfs_size = size(&text()?)?,
            "tmpfs-mode" => mount.tmpfs_mode = octal(&text()?)?,
            other => return Err(format!("unexpected key '{other}' in '{field}'")),
        }
    }
    if mount.target.is_empty() {
        return Err("target is required".to_owned());
    }
    if mount.r#type == "bind" {
        if mount.source.is_empty() {
            return Err("source is required for a bind mount".to_owned());
        }
        mount.source = absolute(&mount.source)?;
    }
    if mount.r#type == "tmpfs" && !mount.source.is_empty() {
        return Err("invalid mount config for type \"tmpfs\": field Source must not be specified".to_owned());
    }
    Ok(mount)
}

fn octal(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8).map_err(|_| format!("invalid value for tmpfs-mode: {text}"))
}

/// `--tmpfs`: `TARGET[:OPTIONS]`.
pub fn tmpfs(flag: &str) -> Result<v1::Mount, String> {
    let (target, options) = flag.split_once(':').unwrap_or((flag, ""));
    if !target.starts_with('/') {
        return Err(format!("invalid tmpfs '{flag}': mount path must be absolute"));
    }
    Ok(v1::Mount {
        r#type: "tmpfs".to_owned(),
        target: target.to_owned(),
        options: options.split(',').filter(|option| !option.is_empty()).map(str::to_owned).collect(),
        ..v1::Mount::default()
    })
}

/// `--ulimit`: `NAME=SOFT[:HARD]`.
pub fn ulimit(flag: &str) -> Result<v1::Ulimit, String> {
    let invalid = || format!("invalid ulimit argument: {flag}");
    let (name, limits) = flag.split_once('=').ok_or_else(invalid)?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let number = |text: &str| match text {
        "unlimited" => Ok(-1),
        text => text.parse::<i64>().map_err(|_| invalid()),
    };
    Ok(v1::Ulimit { name: name.to_ascii_lowercase(), soft: number(soft)?, hard: number(hard)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in
            [("512", 512), ("1k", 1024), ("10M", 10 << 20), ("1.5g", 3 << 29), ("2GiB", 2 << 30), ("-1", -1)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "x", "1x", "1.2.3m", "-5m", "99999999p"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn parts_of_processors() {
        assert_eq!(cpus("1.5"), Ok(1_500_000_000));
        assert_eq!(cpus(".25"), Ok(250_000_000));
        assert!(cpus("1e3").is_err());
        assert!(cpus("0.0000000001").is_err());
    }

    #[test]
    fn volumes_and_mounts() {
        let bind = volume("/a:/b:ro,rslave").unwrap();
        assert_eq!(
            (bind.r#type.as_str(), bind.read_only, bind.propagation.as_str()),
            ("bind", true, "rslave")
        );
        assert!(bind.create_source);
        assert_eq!(volume("data:/b").unwrap().r#type, "volume");
        for bad in ["", ":/b", "/a:", "/a:b", "/a:/b:nope", "/a:/b:ro:x", "/a:/b:ro,rw"] {
            assert!(volume(bad).is_err(), "{bad}");
        }
        let long = mount("type=bind,src=/a,dst=/b,ro").unwrap();
        assert!(long.read_only && !long.create_source);
        assert_eq!(mount("type=tmpfs,target=/t,tmpfs-mode=1770").unwrap().tmpfs_mode, 0o1770);
        for bad in ["type=bind,target=/b", "type=bind,src=/a", "nope=1,target=/b", "type=tmpfs,src=/a,dst=/b"]
        {
            assert!(mount(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn limits() {
        let limit = ulimit("nofile=1024:2048").unwrap();
        assert_eq!((limit.soft, limit.hard), (1024, 2048));
        assert_eq!(ulimit("core=unlimited").unwrap().hard, -1);
        assert!(ulimit("nofile").is_err());
    }
}
