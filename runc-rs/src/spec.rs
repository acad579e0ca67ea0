//! Reading config.json.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use oci::runtime::{Process, Spec};

use crate::error::{Context, Error, Result};

/// More than any real config.json; a larger one is refused rather than read into memory.
const MAX: u64 = 16 << 20;

/// A config.json, as typed values and as it was written.
#[derive(Debug)]
pub struct Loaded {
    /// What it says.
    pub spec: Spec,
    /// How it says it.
    pub text: Vec<u8>,
}

/// Reads a config.json.
pub fn load(path: &Path) -> Result<Loaded> {
    let text = read_bounded(path)?;
    let spec = parse(&text, path)?;
    Ok(Loaded { spec, text })
}

/// Reads the config.json of a bundle, or the file that stands for it.
pub fn load_of(bundle: &Path, config: Option<&Path>) -> Result<Loaded> {
    let path = config.map_or_else(|| bundle.join("config.json"), Path::to_owned);
    match path.exists() {
        true => load(&path),
        false => Err(Error::new(format!("JSON specification file {} not found", path.display()))),
    }
}

/// Reads a config.json that has been read before: its warnings have been given.
pub fn load_again(path: &Path) -> Result<Spec> {
    oci::runtime::parse(&read_bounded(path)?)
        .map_err(|e| Error::new(format!("parse {}: {e}", path.display())))
}

/// Reads what `exec --process` names: the `process` of a config.json, alone.
pub fn load_process(path: &Path) -> Result<Process> {
    parse_process(&read_bounded(path)?, path)
}

/// The process that `text` describes; `path` is for errors.
pub fn parse_process(text: &[u8], path: &Path) -> Result<Process> {
    let failed = |reason: String| Error::new(format!("parse {}: {reason}", path.display()));
    let process = oci::runtime::first_value(text).map_err(|e| failed(e.to_string()))?;
    let whole = serde_json::json!({"ociVersion": crate::SPEC_VERSION, "process": process});
    let spec = parse(whole.to_string().as_bytes(), path)?;
    spec.process().clone().ok_or_else(|| Error::new(format!("{} describes no process", path.display())))
}

/// The spec that `text` is; `path` is for errors.
pub fn parse(text: &[u8], path: &Path) -> Result<Spec> {
    let parsed = oci::runtime::parse_with_warnings(text)
        .map_err(|e| Error::new(format!("parse {}: {e}", path.display())))?;
    parsed.warnings.iter().for_each(crate::log::warn);
    Ok(parsed.spec)
}

/// Reads a file that should not be large.
pub fn read_bounded(path: &Path) -> Result<Vec<u8>> {
    let open = || format!("open {}", path.display());
    let file = File::open(path).with_context(open)?;
    let size = file.metadata().map_or(0, |m| m.len().min(MAX));
    let mut text = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
    file.take(MAX + 1).read_to_end(&mut text).with_context(|| format!("read {}", path.display()))?;
    if text.len() as u64 > MAX {
        return Err(Error::new(format!("{} is larger than {MAX} bytes", path.display())));
    }
    Ok(text)
}
