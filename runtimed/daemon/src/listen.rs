//! The daemon's sockets.

use std::fs::Permissions;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use errors::{Context, Error, Kind, Result, WithKind};
use nix::unistd::{Gid, Uid};
use tokio::net::UnixListener;

/// A child that a killed daemon had forked holds the socket until it executes its program: it answers nobody, but only what lasts is another
/// daemon.
const PATIENCE: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_millis(5);

/// Makes the socket at `path` anew: a socket that an earlier daemon left is replaced, one that somebody answers on is not,
/// and neither is anything that is no socket.
pub async fn bind(path: &Path, uid: u32, gid: u32) -> Result<UnixListener> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(folder).context(|| format!("create {}", folder.display()))?;
    clear(path).await?;
    let listener = UnixListener::bind(path).context(|| format!("listen on {}", path.display()))?;
    nix::unistd::chown(path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
        .kind(Kind::Internal, || format!("chown {} to {uid}:{gid}", path.display()))?;
    std::fs::set_permissions(path, Permissions::from_mode(0o660))
        .context(|| format!("chmod 0660 {}", path.display()))?;
    Ok(listener)
}

async fn clear(path: &Path) -> Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).context(|| format!("stat {}", path.display())),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(Error::precondition(format!("{} exists and is no socket", path.display())));
        }
        Ok(_) => {}
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while tokio::net::UnixStream::connect(path).await.is_ok() {
        if tokio::time::Instant::now() > deadline {
            return Err(Error::already_exists(format!("another daemon answers on {}", path.display())));
        }
        // Nobody is told when a child becomes another program.
        tokio::time::sleep(RETRY).await;
    }
    std::fs::remove_file(path).context(|| format!("remove the old socket {}", path.display()))
}

/// The socket on which shims report events.
pub fn ttrpc_path(address: &Path) -> PathBuf {
    let mut path = address.as_os_str().to_owned();
    path.push(".ttrpc");
    path.into()
}
