//! A Debian of this machine's own release: its cloud kernel, and a root with systemd as it comes. Both are kept for the next time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use harness::sh;

use super::disk;

/// The package that names the newest cloud kernel.
const KERNEL: &str = "linux-image-cloud-amd64";
/// What the root has besides Debian's smallest set.
const PACKAGES: &str = "apparmor,busybox-static,criu,dbus,dbus-user-session,iproute2,iptables,libpam-systemd,netavark,podman,\
    procps,secilc,systemd,systemd-sysv,uidmap";
/// Folders that are of no use in it.
const LEFT_OUT: [&str; 5] =
    ["usr/share/doc", "usr/share/locale", "usr/share/man", "var/cache/apt", "var/lib/apt/lists"];
/// Units that a machine of a minute's life does not need.
const MASKED: [&str; 10] = [
    "apparmor.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "podman-auto-update.service",
    "podman-restart.service",
    "podman.service",
    "systemd-tmpfiles-clean.timer",
];
/// The user that rootless tests run as.
const USER: &str = "user";
/// Size of the disk, most of which is a hole.
const DISK: &str = "2G";

const UNIT: &str = include_str!("../../../tests/vm/guest/vm-test.service");
const DELEGATION: &str = include_str!("../../../tests/vm/guest/delegate.conf");

/// An unpacked kernel package.
#[derive(Debug)]
pub struct Kernel {
    /// What boots.
    pub image: PathBuf,
    /// `lib/modules/RELEASE/kernel`.
    pub modules: PathBuf,
}

/// Fetches and unpacks the kernel, if that was not done before.
pub fn kernel(folder: &Path) -> Result<Kernel> {
    let package = newest()?;
    let unpacked = folder.join(&package);
    if !unpacked.exists() {
        println!("Fetching {package}");
        let scratch = fresh(&folder.join("kernel.part"))?;
        sh::run(Command::new("apt-get").current_dir(&scratch).args([
            "-q",
            "-o",
            "APT::Sandbox::User=root",
            "download",
            &package,
        ]))?;
        let deb = only_file(&scratch, ".deb")?;
        let tree = scratch.join("tree");
        sh::run(Command::new("dpkg-deb").arg("-x").args([&deb, &tree]))?;
        fs::rename(&tree, &unpacked)?;
        fs::remove_dir_all(&scratch)?;
    }
    let release = package.strip_prefix("linux-image-").unwrap_or(&package);
    Ok(Kernel {
        image: unpacked.join(format!("boot/vmlinuz-{release}")),
        modules: unpacked.join(format!("lib/modules/{release}/kernel")),
    })
}

/// The package that [`KERNEL`] stands for now.
fn newest() -> Result<String> {
    let text = sh::read(Command::new("apt-cache").args(["depends", "--important", KERNEL]))?;
    let name = text.lines().find_map(|line| line.trim().strip_prefix("Depends: linux-image-"));
    let name =
        name.with_context(|| format!("{KERNEL} depends on no kernel: {text:?}; has apt-get update run?"))?;
    Ok(format!("linux-image-{name}"))
}

/// Makes the root's disk, if that was not done before by the same recipe.
pub fn root(folder: &Path) -> Result<PathBuf> {
    let (disk, made) = (folder.join("root.img"), folder.join("root.recipe"));
    let suite = release()?;
    let recipe = [suite.as_str(), PACKAGES, &MASKED.join(","), DISK, UNIT, DELEGATION].join("\n");
    if disk.exists() && fs::read_to_string(&made).is_ok_and(|text| text == recipe) {
        return Ok(disk);
    }
    println!("Making a root of Debian {suite}");
    let _ = fs::remove_file(&made);
    let tree = fresh(&folder.join("root.part"))?;
    let include = format!("--include={PACKAGES}");
    let log = fs::File::create(folder.join("debootstrap.log"))?;
    let mut debootstrap = Command::new("debootstrap");
    debootstrap.args(["--variant=minbase", &include, &suite]).arg(&tree);
    sh::run(debootstrap.stdout(log.try_clone()?).stderr(log))
        .with_context(|| format!("see {}", folder.join("debootstrap.log").display()))?;
    furnish(&tree)?;
    disk::make(&tree, &disk, DISK)?;
    fs::remove_dir_all(&tree)?;
    fs::write(&made, recipe)?;
    Ok(disk)
}

/// This machine's own release: what is built here finds its libraries there.
fn release() -> Result<String> {
    let text = fs::read_to_string("/etc/os-release").context("read /etc/os-release")?;
    let name = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    name.map(str::to_owned).context("/etc/os-release names no release: this takes Debian")
}

/// What the root has that Debian's does not: the unit that runs the tests, and a user with cgroups of its own.
fn furnish(root: &Path) -> Result<()> {
    for name in LEFT_OUT {
        fs::remove_dir_all(root.join(name)).with_context(|| format!("remove {name}"))?;
    }
    let units = root.join("etc/systemd/system");
    fs::write(units.join("vm-test.service"), UNIT)?;
    fs::create_dir_all(units.join("multi-user.target.wants"))?;
    std::os::unix::fs::symlink("../vm-test.service", units.join("multi-user.target.wants/vm-test.service"))?;
    for name in MASKED {
        let _ = fs::remove_file(units.join(name));
        std::os::unix::fs::symlink("/dev/null", units.join(name))?;
    }
    fs::create_dir_all(units.join("user@.service.d"))?;
    fs::write(units.join("user@.service.d/delegate.conf"), DELEGATION)?;
    fs::create_dir_all(root.join("vm"))?;
    sh::run(Command::new("chroot").arg(root).args(["useradd", "--create-home", "--uid", "1000", USER]))?;
    // Its service manager and its bus are there without anybody logging in.
    fs::create_dir_all(root.join("var/lib/systemd/linger"))?;
    fs::write(root.join("var/lib/systemd/linger").join(USER), "")?;
    Ok(())
}

/// An empty folder in the place of what a run that was broken off has left.
pub fn fresh(folder: &Path) -> Result<PathBuf> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    Ok(folder.to_owned())
}

fn only_file(folder: &Path, suffix: &str) -> Result<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(suffix) {
            found.push(path);
        }
    }
    ensure!(found.len() == 1, "{} holds not one file *{suffix}: {found:?}", folder.display());
    Ok(found.remove(0))
}
