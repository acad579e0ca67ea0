//! Real images, made from Debian packages.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::sh;

/// The base: what every dynamic program needs.
const BASE: &[&str] = &["base-files", "libc6", "libgcc-s1", "gcc-12-base"];
/// A shell and the usual tools, with what they link to.
const TOOLS: &[&str] = &[
    "bash",
    "coreutils",
    "grep",
    "sed",
    "libtinfo6",
    "libselinux1",
    "libpcre2-8-0",
    "libacl1",
    "libattr1",
    "libgmp10",
    "libssl3",
    "procps",
    "libproc2-0",
    "libsystemd0",
    "libcap2",
    "libgcrypt20",
    "libgpg-error0",
    "liblz4-1",
    "liblzma5",
    "libzstd1",
    "libncursesw6",
];

/// Makes an image of two layers, a shell and the usual tools, in the OCI layout `layout` under `tag`.
pub fn debian(scratch: &Path, layout: &Path, tag: &str) -> Result<()> {
    let downloads = scratch.join("packages");
    std::fs::create_dir_all(&downloads)?;
    let image = format!("{}:{tag}", layout.display());
    umoci(&["init", "--layout", &layout.display().to_string()])?;
    umoci(&["new", "--image", &image])?;
    for (name, packages) in [("base", BASE), ("tools", TOOLS)] {
        let root = scratch.join(name);
        unpack(&downloads, packages, &root)?;
        if name == "base" {
            accounts(&root)?;
        }
        umoci(&["insert", "--image", &image, &root.display().to_string(), "/"])?;
    }
    umoci(&[
        "config",
        "--image",
        &image,
        "--config.cmd",
        "bash",
        "--config.env",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "--config.workingdir",
        "/",
        "--config.label",
        "made.from=debian",
    ])
}

/// Makes a small image of one layer, busybox, in the OCI layout `layout` under `tag`. Needs Debian's busybox-static and umoci.
pub fn busybox(scratch: &Path, layout: &Path, tag: &str) -> Result<()> {
    let root = scratch.join("busybox");
    let bin = root.join("bin");
    std::fs::create_dir_all(&bin)?;
    for folder in ["tmp", "etc", "root", "proc", "sys", "dev"] {
        std::fs::create_dir_all(root.join(folder))?;
    }
    std::fs::copy("/bin/busybox", bin.join("busybox")).context("copy busybox")?;
    let applets = sh::read(Command::new("/bin/busybox").arg("--list"))?;
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        std::os::unix::fs::symlink("busybox", bin.join(applet))?;
    }
    accounts(&root)?;
    let image = format!("{}:{tag}", layout.display());
    umoci(&["init", "--layout", &layout.display().to_string()])?;
    umoci(&["new", "--image", &image])?;
    umoci(&["insert", "--image", &image, &root.display().to_string(), "/"])?;
    umoci(&["config", "--image", &image, "--config.cmd", "sh", "--config.label", "made.from=busybox"])
}

/// Makes an image of two tiny layers that has nothing to run, in the OCI layout `layout` under `tag`. Needs Debian's umoci.
pub fn small(scratch: &Path, layout: &Path, tag: &str) -> Result<()> {
    let image = format!("{}:{tag}", layout.display());
    umoci(&["init", "--layout", &layout.display().to_string()])?;
    umoci(&["new", "--image", &image])?;
    for name in ["one", "two"] {
        let root = scratch.join(name);
        std::fs::create_dir_all(root.join("etc"))?;
        std::fs::write(root.join("etc").join(name), name)?;
        umoci(&["insert", "--image", &image, &root.display().to_string(), "/"])?;
    }
    Ok(())
}

/// Puts an image of an OCI layout into an archive, under `name`; returns the archive's path. Needs Debian's skopeo.
pub fn archive(layout: &Path, tag: &str, archive: &Path, name: &str) -> Result<std::path::PathBuf> {
    let (from, to) =
        (format!("oci:{}:{tag}", layout.display()), format!("docker-archive:{}:{name}", archive.display()));
    sh::read(Command::new("skopeo").args(["copy", "--quiet", "--insecure-policy", &from, &to]))?;
    Ok(archive.to_owned())
}

/// Busybox as an archive that `docker load` and `rctl load` read; returns its path.
pub fn busybox_archive(scratch: &Path) -> Result<std::path::PathBuf> {
    let layout = scratch.join("busybox-layout");
    busybox(scratch, &layout, "1")?;
    archive(&layout, "1", &scratch.join("busybox.tar"), "busybox:latest")
}

/// Downloads packages and unpacks them, without running anything of theirs.
fn unpack(downloads: &Path, packages: &[&str], root: &Path) -> Result<()> {
    std::fs::create_dir_all(root)?;
    // The folders that Debian has merged into /usr.
    for folder in ["bin", "sbin", "lib", "lib64"] {
        std::fs::create_dir_all(root.join("usr").join(folder))?;
        std::os::unix::fs::symlink(format!("usr/{folder}"), root.join(folder))?;
    }
    let wanted: Vec<&str> = packages.iter().copied().filter(|name| find(downloads, name).is_none()).collect();
    if !wanted.is_empty() {
        let mut command = Command::new("apt-get");
        sh::run(
            command
                .current_dir(downloads)
                .args(["-q", "-o", "APT::Sandbox::User=root", "download"])
                .args(&wanted),
        )?;
    }
    for package in packages {
        let Some(file) = find(downloads, package) else { bail!("the package {package} was not downloaded") };
        // A plain -x would put a folder in place of each link.
        let mut command = Command::new("sh");
        let script = "dpkg-deb --fsys-tarfile \"$0\" | tar -x --keep-directory-symlink -C \"$1\"";
        sh::run(command.args(["-c", script]).arg(&file).arg(root))?;
    }
    Ok(())
}

fn find(downloads: &Path, package: &str) -> Option<std::path::PathBuf> {
    let prefix = format!("{package}_");
    let entries = std::fs::read_dir(downloads).ok()?;
    entries.flatten().map(|entry| entry.path()).find(|path| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(&prefix))
    })
}

/// What the package base-passwd would make when it is configured.
fn accounts(root: &Path) -> Result<()> {
    let etc = root.join("etc");
    std::fs::create_dir_all(&etc)?;
    std::fs::write(
        etc.join("passwd"),
        "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    )
    .context("write /etc/passwd")?;
    std::fs::write(etc.join("group"), "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n").context("write /etc/group")
}

fn umoci(args: &[&str]) -> Result<()> {
    sh::read(Command::new("umoci").args(args)).map(drop)
}
