//! How the programs that are one file each are linked.
//!
//! With musl: glibc asks the processor some seventy questions (`cpuid`) whenever a program starts, each of which is a trap in a virtual
//! machine, and together they take longer than the rest of the start. Where the compiler has no library for musl and none is to be had,
//! with glibc, which is said aloud: the programs do the same, and start a little later.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result};

use harness::sh;

/// The target of everything else. Naming it keeps flags from build scripts and macros.
pub const GLIBC: &str = concat!(env!("XTASK_ARCH"), "-unknown-linux-gnu");
const MUSL: &str = concat!(env!("XTASK_ARCH"), "-unknown-linux-musl");

/// The table of relocations, which a position independent program reads as a whole when it starts, takes a hundredth of the place when
/// it is packed (musl reads both forms since 1.2.4, glibc since 2.36).
const FLAGS: &str = "-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs";

/// The target that they are built for. The compiler gets its library when it is first asked for.
pub fn target() -> &'static str {
    static TARGET: OnceLock<&str> = OnceLock::new();
    TARGET.get_or_init(|| {
        if has_library() || (add_library() && has_library()) {
            return MUSL;
        }
        println!("LINKED WITH GLIBC: rustup cannot add {MUSL}; static programs will start 0.3 ms later");
        GLIBC
    })
}

/// Flags and environment of a build for [`target`], for a release or for tests.
pub fn prepare(command: &mut Command, target_folder: &Path, release: bool) -> Result<()> {
    command.args(["--target", target()]);
    if release || target() == GLIBC {
        command.env("RUSTFLAGS", FLAGS);
    }
    if target() == MUSL {
        command.env("LIBSECCOMP_LIB_PATH", seccomp_alone(target_folder)?);
    }
    Ok(())
}

/// A folder with libseccomp and nothing else: glibc's own libraries are beside Debian's, and would be found there.
fn seccomp_alone(target_folder: &Path) -> Result<PathBuf> {
    let folder = target_folder.join("libseccomp");
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let (library, link) = (archive(), folder.join("libseccomp.a"));
    if std::fs::read_link(&link).ok().as_deref() != Some(&library) {
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(&library, &link)
            .with_context(|| format!("link {} to {}", link.display(), library.display()))?;
    }
    Ok(folder)
}

/// Debian's place for it.
fn archive() -> PathBuf {
    format!("/usr/lib/{}/libseccomp.a", GLIBC.replace("unknown-", "")).into()
}

fn has_library() -> bool {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(rustc);
    command.args(["--print", "target-libdir", "--target", MUSL]);
    sh::read(&mut command).is_ok_and(|folder| Path::new(folder.trim()).is_dir())
}

fn add_library() -> bool {
    println!("$ rustup target add {MUSL}");
    sh::output(Command::new("rustup").args(["target", "add", MUSL])).is_ok_and(|done| done.status.success())
}
