//! Filters that were compiled before. Compiling docker's default profile takes longer than everything else that a start
//! takes of this program, and most containers have the same one.
//!
//! A filter is kept in `RUNC_RS_CACHE`, or in `@cache` in the folder of `--root` (which is no id of a container), in a file
//! with all that it depends on: the profile's text, the kernel, libseccomp, this program. It is taken only if that is the same
//! byte for byte, from a file that nobody but this user may write. Whatever fails here costs time and nothing else.

use std::fs::{DirBuilder, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use oci::runtime::LinuxSeccomp;
use rustix::fs::OFlags;

use crate::steps::seccomp::Program;

/// The first bytes of a file; the number changes with its form.
const MAGIC: &[u8; 8] = b"runcrs\x00\x02";
/// What a profile and its filter need at the most.
const LONGEST: u64 = 4 << 20;
/// Filters that are kept; more profiles than that are not in use at the same time.
const MOST: usize = 64;

/// The folder, and what a filter depends on.
pub struct Cache {
    folder: PathBuf,
    key: Vec<u8>,
    name: String,
}

impl Cache {
    /// The cache for `seccomp`, with containers in `root`.
    pub fn of(root: &Path, seccomp: &LinuxSeccomp) -> Option<Self> {
        let asked = std::env::var_os("RUNC_RS_CACHE").map(PathBuf::from).filter(|path| path.is_absolute());
        let folder = asked.unwrap_or_else(|| root.join("@cache"));
        let kernel = rustix::system::uname();
        let library = libseccomp::ScmpVersion::current().ok()?;
        let mut key = format!(
            "{} {} {} {library}\n",
            env!("CARGO_PKG_VERSION"),
            kernel.release().to_string_lossy(),
            kernel.machine().to_string_lossy(),
        )
        .into_bytes();
        serde_json::to_writer(&mut key, seccomp).ok()?;
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        Some(Self { folder, key, name: format!("{:016x}", hasher.finish()) })
    }

    /// The filter, if it was compiled before.
    pub fn find(&self) -> Option<Program> {
        let flags = OFlags::NOFOLLOW.bits().cast_signed();
        let file = File::options().read(true).custom_flags(flags).open(self.folder.join(&self.name)).ok()?;
        let meta = file.metadata().ok()?;
        let own = meta.uid() == rustix::process::geteuid().as_raw() && meta.mode() & 0o7777 == 0o600;
        if !own || !meta.is_file() || meta.len() > LONGEST {
            return None;
        }
        let mut bytes = Vec::new();
        file.take(LONGEST).read_to_end(&mut bytes).ok()?;
        let rest = bytes.strip_prefix(MAGIC)?;
        let (key_len, rest) = number(rest)?;
        let key = rest.get(..key_len)?;
        let (flags, rest) = number(rest.get(key_len..)?)?;
        let (length, filter) = number(rest)?;
        let whole = key == self.key && length == filter.len();
        whole.then(|| Program { filter: filter.to_vec(), flags: flags as u32 })
    }

    /// Keeps a filter.
    pub fn keep(&self, program: &Program) {
        if let Err(e) = self.write(program) {
            crate::log::debug(format!("the seccomp filter is not kept: {e}"));
        }
    }

    fn write(&self, program: &Program) -> std::io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        if std::fs::read_dir(&self.folder)?.count() >= MOST {
            return Err(std::io::Error::other(format!("{MOST} filters are kept")));
        }
        let temporary = self.folder.join(format!(".{}.{}", self.name, std::process::id()));
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&temporary)?;
        let mut bytes = MAGIC.to_vec();
        for (number, text) in [(self.key.len(), self.key.as_slice()), (program.flags as usize, &[])] {
            bytes.extend((number as u64).to_le_bytes());
            bytes.extend(text);
        }
        bytes.extend((program.filter.len() as u64).to_le_bytes());
        bytes.extend(&program.filter);
        let written =
            file.write_all(&bytes).and_then(|()| std::fs::rename(&temporary, self.folder.join(&self.name)));
        if written.is_err() {
            // The first error says why.
            let _ = std::fs::remove_file(&temporary);
        }
        written
    }
}

fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<8>()?;
    Some((usize::try_from(u64::from_le_bytes(*number)).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::steps::seccomp::compile;

    fn profile(text: &str) -> LinuxSeccomp {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_filter_is_found_again_unless_something_else_was_asked_for() {
        let root = tempfile::tempdir().unwrap();
        let allow = profile(r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#);
        let program = compile(&allow).unwrap();
        let cache = Cache::of(root.path(), &allow).unwrap();
        assert!(cache.find().is_none());
        cache.keep(&program);
        assert_eq!(cache.find().unwrap(), program);
        let other = Cache::of(root.path(), &profile(r#"{"defaultAction": "SCMP_ACT_ERRNO"}"#)).unwrap();
        assert!(other.find().is_none());
        // Another profile under the same name, as if their hashes were the same.
        std::fs::rename(cache.folder.join(&cache.name), other.folder.join(&other.name)).unwrap();
        assert!(other.find().is_none());
    }

    #[test]
    fn a_file_that_is_damaged_or_another_users_is_not_taken() {
        let root = tempfile::tempdir().unwrap();
        let allow = profile(r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#);
        let cache = Cache::of(root.path(), &allow).unwrap();
        cache.keep(&compile(&allow).unwrap());
        let path = cache.folder.join(&cache.name);
        let bytes = std::fs::read(&path).unwrap();
        for cut in 0..bytes.len() {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            assert!(cache.find().is_none(), "{cut} of {} bytes", bytes.len());
        }
        std::fs::write(&path, &bytes).unwrap();
        assert!(cache.find().is_some());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o620)).unwrap();
        assert!(cache.find().is_none());
    }
}
