//! The daemon's sockets.

use std::fs::Permissions;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use errors::{Context, Error, Kind, Result, WithKind};
use nix::unistd::{Gid, Uid};
use tokio::net::{UnixListener, UnixStream};

/// How long a daemon that is ending may take to let go of its socket.
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
    while let Ok(stream) = UnixStream::connect(path).await {
        if !lives(&stream) {
            break;
        }
        if tokio::time::Instant::now() > deadline {
            return Err(Error::already_exists(format!("another daemon answers on {}", path.display())));
        }
        // Nobody is told when a socket is let go.
        tokio::time::sleep(RETRY).await;
    }
    std::fs::remove_file(path).context(|| format!("remove the old socket {}", path.display()))
}

/// Is there still who listens? A child that a killed daemon had forked holds its socket until it executes its program, which takes as long as the
/// machine has other things to do; but it is the one who called listen(2) that the kernel names (unix(7), SO_PEERCRED).
fn lives(stream: &UnixStream) -> bool {
    let Some(pid) = stream.peer_cred().ok().and_then(|peer| peer.pid()).filter(|pid| *pid > 0) else {
        // Of another pid namespace.
        return true;
    };
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    // The state comes after the name, which may have any characters (proc_pid_stat(5)).
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    !matches!(state, Some('Z' | 'X'))
}

/// The socket on which shims report events.
pub fn ttrpc_path(address: &Path) -> PathBuf {
    let mut path = address.as_os_str().to_owned();
    path.push(".ttrpc");
    path.into()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[tokio::test]
    async fn a_socket_is_left_to_who_lives_and_taken_from_who_is_dead() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let own = bind(&path, 0, 0).await.unwrap();
        let refused = bind(&path, 0, 0).await.unwrap_err();
        assert!(refused.to_string().contains("another daemon answers on"), "{refused}");
        drop(own);
        std::fs::remove_file(&path).unwrap();
        // It listens, is killed, and leaves a child that holds the socket.
        let script = "use Socket; $| = 1; socket(S, AF_UNIX, SOCK_STREAM, 0); bind(S, sockaddr_un($ARGV[0])); listen(S, 5); \
            if (!fork()) { print \"$$\\n\" } sleep 1000";
        let mut dead = Command::new("perl");
        let mut dead = dead.args(["-e", script]).arg(&path).stdout(Stdio::piped()).spawn().unwrap();
        let (mut child, mut said) = (String::new(), std::io::BufReader::new(dead.stdout.take().unwrap()));
        std::io::BufRead::read_line(&mut said, &mut child).unwrap();
        dead.kill().unwrap();
        let taken = bind(&path, 0, 0).await;
        dead.wait().unwrap();
        let child = nix::unistd::Pid::from_raw(child.trim().parse().unwrap());
        nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL).unwrap();
        taken.unwrap();
    }
}
