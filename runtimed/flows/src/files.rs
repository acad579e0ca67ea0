//! The files that a container is given from outside its image: hostname, hosts and resolv.conf.

use std::fs;
use std::path::Path;

use errors::{Context, Result};

/// The most of the host's files that is taken over, in bytes.
const LIMIT: u64 = 1 << 20;

/// Writes the three files into `directory` (made if missing) for a container that is called `hostname`; with the host's network they are
/// copies of the host's.
pub fn write(directory: &Path, hostname: &str, host_network: bool) -> Result<()> {
    fs::create_dir_all(directory).context(|| format!("create {}", directory.display()))?;
    let hosts = match host_network {
        true => read_bounded(Path::new("/etc/hosts"))?,
        false => own_hosts(hostname),
    };
    let resolv = match host_network {
        true => read_bounded(Path::new("/etc/resolv.conf"))?,
        false => Vec::new(),
    };
    put(&directory.join("hostname"), format!("{hostname}\n").as_bytes())?;
    put(&directory.join("hosts"), &hosts)?;
    put(&directory.join("resolv.conf"), &resolv)
}

/// Writes them again if they are gone, with all that may vanish with a reboot.
pub fn restore(directory: &Path, hostname: &str, host_network: bool) -> Result<()> {
    if directory.join("resolv.conf").exists() { Ok(()) } else { write(directory, hostname, host_network) }
}

fn own_hosts(hostname: &str) -> Vec<u8> {
    format!(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\n\
         ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n127.0.1.1\t{hostname}\n"
    )
    .into_bytes()
}

fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).context(|| format!("write {}", path.display()))
}

/// A file of the host that may be missing.
fn read_bounded(path: &Path) -> Result<Vec<u8>> {
    use std::io::Read;
    let file = match fs::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened.context(|| format!("open {}", path.display()))?,
    };
    let mut bytes = Vec::new();
    file.take(LIMIT).read_to_end(&mut bytes).context(|| format!("read {}", path.display()))?;
    Ok(bytes)
}
