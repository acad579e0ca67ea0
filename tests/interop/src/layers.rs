//! An image whose second layer takes back part of the first, made by umoci, and the check that it is what was made.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use anyhow::{Result, ensure};
use harness::image;

use crate::{run, text};

/// What [`CHECK`] prints in a container of the image.
pub const CHECKED: &str = "c\nnew\nlinks 2\n4711 7:8\netc\nfifo\n1000000000\n";
/// Looks at all that the second layer changed.
pub const CHECK: &str = "test ! -e /etc/gone || exit 3; test ! -e /there/old || exit 4; \
     ls /there; cat /there/c; stat -c 'links %h' /there/c; stat -c '%a %u:%g' /special; readlink /link; \
     stat -c %F /pipe; stat -c %Y /there/c";

/// Makes it in the OCI layout `layout` under the tags `1`, the first layer, and `2`, both.
pub fn make(scratch: &Path, layout: &Path) -> Result<()> {
    image::busybox(scratch, layout, "base")?;
    let bundle = scratch.join("unpacked");
    let root = bundle.join("rootfs");
    let image = |tag: &str| format!("{}:{tag}", layout.display());
    run("umoci", &["unpack", "--image", &image("base"), text(&bundle)?])?;
    fs::create_dir(root.join("there"))?;
    fs::write(root.join("there/old"), "old")?;
    fs::write(root.join("etc/gone"), "gone")?;
    fs::write(root.join("link"), "a file, later a link")?;
    run("umoci", &["repack", "--refresh-bundle", "--image", &image("1"), text(&bundle)?])?;
    change(&root)?;
    run("umoci", &["repack", "--image", &image("2"), text(&bundle)?])?;
    fs::remove_dir_all(&bundle)?;
    Ok(())
}

/// The second layer: a file gone, a folder replaced, a file that is now a link, a hard link, an owner, a mode, a fifo, a time.
fn change(root: &Path) -> Result<()> {
    fs::remove_file(root.join("etc/gone"))?;
    fs::remove_dir_all(root.join("there"))?;
    fs::create_dir(root.join("there"))?;
    fs::write(root.join("there/c"), "new\n")?;
    run("touch", &["-d", "@1000000000", text(&root.join("there/c"))?])?;
    fs::hard_link(root.join("there/c"), root.join("hard"))?;
    fs::remove_file(root.join("link"))?;
    symlink("etc", root.join("link"))?;
    fs::write(root.join("special"), "")?;
    chown(root.join("special"), Some(7), Some(8))?;
    fs::set_permissions(root.join("special"), fs::Permissions::from_mode(0o4711))?;
    run("mkfifo", &[text(&root.join("pipe"))?])?;
    Ok(())
}

/// Has another tool unpack the image `tag` of `layout`, and looks at what comes out.
pub fn check_layout(scratch: &Path, layout: &Path, tag: &str) -> Result<()> {
    let bundle = scratch.join("checked");
    run("umoci", &["unpack", "--image", &format!("{}:{tag}", layout.display()), text(&bundle)?])?;
    let root = bundle.join("rootfs");
    ensure!(!root.join("etc/gone").exists() && !root.join("there/old").exists(), "what was removed is back");
    let file = fs::metadata(root.join("there/c"))?;
    ensure!(file.nlink() == 2 && file.mtime() == 1_000_000_000, "{file:?}");
    let special = fs::metadata(root.join("special"))?;
    ensure!(special.uid() == 7 && special.gid() == 8 && special.mode() & 0o7777 == 0o4711, "{special:?}");
    ensure!(fs::read_link(root.join("link"))? == Path::new("etc"));
    fs::remove_dir_all(&bundle)?;
    Ok(())
}
