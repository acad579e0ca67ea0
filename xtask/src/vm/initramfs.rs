//! The first programs that the kernel runs: they load what the disk needs, and hand over to systemd on it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use harness::sh;

use super::debian::{Kernel, fresh};

/// What a disk of qemu's needs, each after those that it builds on.
const MODULES: [&str; 6] = [
    "drivers/virtio/virtio_ring.ko",
    "drivers/virtio/virtio.ko",
    "drivers/virtio/virtio_pci_legacy_dev.ko",
    "drivers/virtio/virtio_pci_modern_dev.ko",
    "drivers/virtio/virtio_pci.ko",
    "drivers/block/virtio_blk.ko",
];
const INIT: &str = include_str!("../../../tests/vm/guest/init");

/// Makes it, and says where it is.
pub fn make(kernel: &Kernel, folder: &Path) -> Result<PathBuf> {
    let tree = fresh(&folder.join("initramfs"))?;
    for name in ["bin", "modules", "proc", "dev", "root"] {
        fs::create_dir(tree.join(name))?;
    }
    fs::copy("/bin/busybox", tree.join("bin/busybox")).context("copy /bin/busybox")?;
    symlink("busybox", tree.join("bin/sh"))?;
    for (number, module) in MODULES.iter().enumerate() {
        let from = kernel.modules.join(module);
        // Their order is that of their names.
        fs::copy(&from, tree.join(format!("modules/{number}.ko")))
            .with_context(|| format!("copy {}", from.display()))?;
    }
    fs::write(tree.join("init"), INIT)?;
    fs::set_permissions(tree.join("init"), fs::Permissions::from_mode(0o755))?;
    let archive = folder.join("initramfs.cpio");
    let mut pack = Command::new("sh");
    pack.args(["-c", "find . | busybox cpio -o -H newc"]).current_dir(&tree);
    sh::run(pack.stdout(fs::File::create(&archive)?).stderr(std::process::Stdio::null()))?;
    Ok(archive)
}
