//! The files that a container is given from outside its image: hostname, hosts and resolv.conf.

use std::fs;
use std::path::Path;

use errors::{Context, Result};

/// The most of the host's files that is taken over, in bytes.
const LIMIT: u64 = 1 << 20;
/// Their names, in the container's /etc as well.
const NAMES: [&str; 3] = ["hostname", "hosts", "resolv.conf"];

/// Writes the three files into `directory` (made if missing) for a container that is called `hostname`; with the host's network they are
/// copies of the host's.
pub fn write(directory: &Path, hostname: &str, host_network: bool) -> Result<()> {
    fs::create_dir_all(directory).context(|| format!("create {}", directory.display()))?;
    NAMES.iter().try_for_each(|name| put(&directory.join(name), &content(name, hostname, host_network)?))
}

/// Writes again what is gone of them, be it all, as after a reboot, or some, as after a removal that was cut. What is there may have been
/// changed by the container.
pub fn restore(directory: &Path, hostname: &str, host_network: bool) -> Result<()> {
    let gone: Vec<_> = NAMES.iter().filter(|name| !directory.join(name).exists()).collect();
    if gone.is_empty() {
        return Ok(());
    }
    fs::create_dir_all(directory).context(|| format!("create {}", directory.display()))?;
    gone.into_iter().try_for_each(|name| put(&directory.join(name), &content(name, hostname, host_network)?))
}

fn content(name: &str, hostname: &str, host_network: bool) -> Result<Vec<u8>> {
    match (name, host_network) {
        ("hostname", _) => Ok(format!("{hostname}\n").into_bytes()),
        (_, true) => read_bounded(&Path::new("/etc").join(name)),
        ("hosts", false) => Ok(own_hosts(hostname)),
        (_, false) => Ok(Vec::new()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_is_written_again_and_the_rest_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        write(folder.path(), "box", false).unwrap();
        let hosts = read("hosts");
        assert!(hosts.ends_with("127.0.1.1\tbox\n"), "{hosts}");
        put(&folder.path().join("resolv.conf"), b"nameserver 192.0.2.1\n").unwrap();
        for gone in ["hosts", "hostname"] {
            fs::remove_file(folder.path().join(gone)).unwrap();
            restore(folder.path(), "box", false).unwrap();
            assert_eq!((read("hosts"), read("hostname")), (hosts.clone(), "box\n".to_owned()));
            assert_eq!(read("resolv.conf"), "nameserver 192.0.2.1\n");
        }
        fs::remove_dir_all(folder.path()).unwrap();
        restore(folder.path(), "box", false).unwrap();
        assert_eq!(
            (read("hosts"), read("hostname"), read("resolv.conf")),
            (hosts, "box\n".into(), String::new())
        );
    }
}
