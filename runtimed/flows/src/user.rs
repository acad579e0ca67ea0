//! Who a process runs as: docker's `USER` text against the container's own /etc/passwd and /etc/group.

use std::collections::HashMap;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use container::Container;
use errors::{Context, Error, Kind, Result, WithKind};
use ids::Namespace;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use snapshot::{Mount, TemporaryMount};

use crate::Flows;

/// The most of /etc/passwd or /etc/group that is read, in bytes: an image is a stranger's.
const LIMIT: u64 = 4 << 20;

/// A user as the OCI runtime spec has it (config.md "User").
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Further groups, the first one included, as docker gives them.
    pub groups: Vec<u32>,
}

/// The two files of one image.
#[derive(Debug, Default)]
pub struct Accounts {
    pub(crate) passwd: String,
    pub(crate) group: String,
}

/// Users that were looked up, by snapshotter, chain of layers and `USER` text: layers never change, and to look a user up in
/// them takes a mount. When it is full it is emptied.
#[derive(Default)]
pub struct Known(Mutex<HashMap<Place, User>>);

type Place = (String, String, String);

/// Users that are kept.
const MOST: usize = 256;

impl Known {
    fn users(&self) -> std::sync::MutexGuard<'_, HashMap<Place, User>> {
        // A map of finished answers: whole between two statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, place: Place, user: &User) {
        let mut users = self.users();
        if users.len() >= MOST {
            users.clear();
        }
        users.insert(place, user.clone());
    }
}

/// `process.user` of the OCI runtime spec.
pub fn to_json(user: &User) -> serde_json::Value {
    serde_json::json!({ "uid": user.uid, "gid": user.gid, "additionalGids": user.groups })
}

impl Flows {
    /// Resolves `user` within the root of a container that exists.
    pub(crate) async fn resolve_user(
        &self,
        namespace: &Namespace,
        container: &Container,
        user: &str,
    ) -> Result<User> {
        let mounts = self
            .rooms()
            .snapshotters
            .get(&container.snapshotter)?
            .mounts(namespace, &container.snapshot_key)?;
        self.user_in(mounts, user).await
    }

    /// Resolves `user` within a new root on the layers of `chain`, which nobody has written to yet.
    pub(crate) async fn user_of_layers(
        &self,
        snapshotter: &str,
        chain: &str,
        mounts: Vec<Mount>,
        user: &str,
    ) -> Result<User> {
        let place = (snapshotter.to_owned(), chain.to_owned(), user.to_owned());
        if let Some(known) = self.inner.users.users().get(&place) {
            return Ok(known.clone());
        }
        let found = self.user_in(mounts, user).await?;
        self.inner.users.note(place, &found);
        Ok(found)
    }

    /// Resolves `user` within a root that `mounts` describe, mounted read-only for a moment.
    pub(crate) async fn user_in(&self, mounts: Vec<Mount>, user: &str) -> Result<User> {
        let (scratch, user) = (self.rooms().scratch.clone(), user.to_owned());
        let work = move || {
            let mounted = TemporaryMount::new(&scratch, &read_only(mounts))?;
            resolve(&user, &Accounts::read(mounted.path())?)
        };
        match tokio::task::spawn_blocking(marks::carry_call(work)).await {
            Ok(user) => user,
            Err(error) => Err(Error::with_source(Kind::Internal, "resolve a user", error)),
        }
    }
}

/// A second mount of an overlay's upper folder that writes nothing and opens no device: only the lower folders and the upper one are read.
fn read_only(mounts: Vec<Mount>) -> Vec<Mount> {
    let mut mounts = mounts;
    for mount in &mut mounts {
        // An image may hold any device under these names, and to open one can do something.
        mount.options.push("nodev".to_owned());
        if mount.kind != "overlay" {
            mount.options.retain(|option| option != "rw");
            mount.options.push("ro".to_owned());
            continue;
        }
        let upper =
            mount.options.iter().find_map(|option| option.strip_prefix("upperdir=").map(str::to_owned));
        mount.options.retain(|option| !option.starts_with("upperdir=") && !option.starts_with("workdir="));
        if let Some(upper) = upper
            && let Some(lower) = mount.options.iter_mut().find(|option| option.starts_with("lowerdir="))
        {
            *lower = format!("lowerdir={upper}:{}", &lower["lowerdir=".len()..]);
        }
    }
    mounts
}

impl Accounts {
    /// Reads both files below `root`; one that is missing is empty.
    fn read(root: &Path) -> Result<Accounts> {
        let root = nix::fcntl::open(
            root,
            OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            nix::sys::stat::Mode::empty(),
        )
        .kind(Kind::Internal, || format!("open {}", root.display()))?;
        Ok(Accounts { passwd: read_in(&root, "etc/passwd")?, group: read_in(&root, "etc/group")? })
    }
}

fn read_in(root: &OwnedFd, path: &str) -> Result<String> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let file = match openat2(root, path, how) {
        Ok(file) => std::fs::File::from(file),
        Err(nix::Error::ENOENT | nix::Error::ENOTDIR) => return Ok(String::new()),
        Err(error) => return Err(error).kind(Kind::Internal, || format!("open /{path} of the image")),
    };
    let metadata = file.metadata().context(|| format!("stat /{path} of the image"))?;
    if !metadata.is_file() {
        return Err(Error::precondition(format!("/{path} of the image is not a regular file")));
    }
    if metadata.len() > LIMIT {
        return Err(Error::precondition(format!(
            "/{path} of the image has {} bytes, more than {LIMIT}",
            metadata.len()
        )));
    }
    let mut bytes = Vec::new();
    file.take(LIMIT).read_to_end(&mut bytes).context(|| format!("read /{path} of the image"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Resolves `UID`, `NAME`, `UID:GID`, `NAME:GROUP` and mixtures, with docker's errors. Without a group in the text, the user's own groups come along.
pub fn resolve(text: &str, accounts: &Accounts) -> Result<User> {
    let (name, group) = match text.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (text, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let entry = accounts
        .passwd
        .lines()
        .filter_map(passwd_entry)
        .find(|(user, uid, _)| *user == name || name.parse() == Ok(*uid));
    let (uid, own_gid, login) = match entry {
        Some((user, uid, gid)) => (uid, gid, Some(user)),
        None => {
            let uid = number(name).ok_or_else(|| {
                Error::invalid(format!("unable to find user {name}: no matching entries in passwd file"))
            })?;
            (uid, 0, None)
        }
    };
    if let Some(group) = group.filter(|group| !group.is_empty()) {
        let found = accounts
            .group
            .lines()
            .filter_map(group_entry)
            .find(|(name, gid, _)| *name == group || group.parse() == Ok(*gid));
        let gid = match found {
            Some((_, gid, _)) => gid,
            None => number(group).ok_or_else(|| {
                Error::invalid(format!("unable to find group {group}: no matching entries in group file"))
            })?,
        };
        return Ok(User { uid, gid, groups: vec![gid] });
    }
    let mut groups = vec![own_gid];
    if let Some(login) = login {
        for (_, gid, members) in accounts.group.lines().filter_map(group_entry) {
            if members.split(',').any(|member| member.trim() == login) && !groups.contains(&gid) {
                groups.push(gid);
            }
        }
    }
    Ok(User { uid, gid: own_gid, groups })
}

/// passwd(5): name, uid, gid.
fn passwd_entry(line: &str) -> Option<(&str, u32, u32)> {
    let mut fields = line.trim().split(':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let uid = number(fields.nth(1)?)?;
    let gid = number(fields.next()?)?;
    Some((name, uid, gid))
}

/// group(5): name, gid, members.
fn group_entry(line: &str) -> Option<(&str, u32, &str)> {
    let mut fields = line.trim().split(':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let gid = number(fields.nth(1)?)?;
    Some((name, gid, fields.next().unwrap_or_default()))
}

/// An id, at most docker's largest: the kernel takes -1 for "as it is" (setresuid(2)), which would be root's.
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id <= i32::MAX as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts {
            passwd: "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\nbroken\n:x:5:5::\n"
                .into(),
            group: "root:x:0:root\nwheel:x:10:root,app\nstaff:x:1001:\n".into(),
        }
    }

    #[test]
    fn resolves_what_docker_resolves() {
        let user = |uid, gid, groups: &[u32]| User { uid, gid, groups: groups.to_vec() };
        for (text, expected) in [
            ("", user(0, 0, &[0, 10])),
            ("root", user(0, 0, &[0, 10])),
            ("app", user(1000, 1001, &[1001, 10])),
            ("1000", user(1000, 1001, &[1001, 10])),
            ("app:wheel", user(1000, 10, &[10])),
            ("7:8", user(7, 8, &[8])),
            ("7", user(7, 0, &[0])),
        ] {
            assert_eq!(resolve(text, &accounts()).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn refuses_unknown_names_and_wild_numbers() {
        for bad in ["nobody", "app:nogroup", "-1", "4294967295", "99999999999", "a b"] {
            assert!(
                resolve(bad, &accounts()).unwrap_err().to_string().starts_with("unable to find"),
                "{bad}"
            );
        }
    }
}
