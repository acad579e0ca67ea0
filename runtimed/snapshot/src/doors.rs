//! Doors for tests: mounts as a client may ask for them.

use crate::Mount;
use crate::mounter::options;

/// Parts the options of a mount. What is the file system's own was among them.
pub fn options(mount: &Mount) {
    let parsed = options::parse(&mount.options);
    assert!(parsed.data.iter().all(|data| mount.options.contains(data)));
    let _ = (mount.is_bind(), mount.is_read_only(), mount.lower_folders(), mount.value("upperdir"));
}
