//! The root of a container that is being made: mounted before the executor is called, or while it makes itself ready.

use std::fs::DirBuilder;
use std::io::Write;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use errors::{Context, Kind, Result, WithKind};
use proto_shim::task::v3::CreateTaskRequest;

use crate::bundle::Bundle;
use crate::log;
use crate::mounts::{self, Mount};

/// The root of a container that is being made.
pub(super) struct Root<'a> {
    request: &'a CreateTaskRequest,
    bundle: &'a Bundle,
    mounted: Option<Mounted>,
}

impl<'a> Root<'a> {
    /// What is asked for, and not mounted yet.
    pub(super) fn new(request: &'a CreateTaskRequest, bundle: &'a Bundle) -> Root<'a> {
        Root { request, bundle, mounted: None }
    }

    /// The container's id.
    pub(super) fn id(&self) -> &'a str {
        &self.request.id
    }

    /// The container's bundle.
    pub(super) fn bundle(&self) -> &'a Bundle {
        self.bundle
    }

    /// Mounts it; unmounted again unless it is [kept](Root::keep).
    pub(super) fn mount(&mut self) -> Result<()> {
        let _step = marks::step("shim.create.mount")?;
        self.mounted = Some(Mounted::new(self.request, self.bundle)?);
        Ok(())
    }

    /// What an executor waits on for the root, and the other end of it; nothing where the root is there.
    pub(super) fn to_be_told(&self) -> Result<(Option<OwnedFd>, Option<Told>)> {
        if self.mounted.is_some() {
            return Ok((None, None));
        }
        let named = || "make a socket for the executor";
        let (ours, theirs) = UnixStream::pair().context(named)?;
        ours.set_nonblocking(true).context(named)?;
        // Nobody else is started before the executor is, which has to inherit this end alone.
        rustix::io::fcntl_setfd(&theirs, rustix::io::FdFlags::empty()).kind(Kind::Internal, named)?;
        let listen = ours.try_clone().context(named)?;
        let listen = tokio::net::UnixStream::from_std(listen).context(named)?;
        Ok((Some(theirs.into()), Some(Told { say: ours, listen })))
    }

    /// Says so to whoever waits; the end of the socket without a word says that it failed.
    pub(super) fn mount_and_tell(&mut self, say: &UnixStream) -> Result<()> {
        let mounted = self.mount();
        match mounted {
            // An executor that has ended says itself why.
            Ok(()) => drop((&*say).write(b"1")),
            Err(_) => drop(say.shutdown(Shutdown::Write)),
        }
        mounted
    }

    /// It stays.
    pub(super) fn keep(self) {
        self.mounted.into_iter().for_each(Mounted::keep);
    }
}

/// This end of the socket that our own executor has as well.
pub(super) struct Told {
    /// On which it is told that the root is mounted.
    pub(super) say: UnixStream,
    listen: tokio::net::UnixStream,
}

impl Told {
    /// Resolves when the executor says that it is done. It need not: its end says so, too.
    pub(super) async fn done(&self) {
        let mut word = [0];
        loop {
            if self.listen.readable().await.is_err() {
                break;
            }
            match self.listen.try_read(&mut word) {
                Ok(1) => return,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                // It has ended, and did not say so.
                Ok(_) | Err(_) => break,
            }
        }
        std::future::pending().await
    }
}

/// The root filesystem, unmounted again unless kept.
struct Mounted {
    rootfs: Option<PathBuf>,
}

impl Mounted {
    fn new(request: &CreateTaskRequest, bundle: &Bundle) -> Result<Mounted> {
        if request.rootfs.is_empty() {
            return Ok(Mounted { rootfs: None });
        }
        let rootfs = bundle.rootfs();
        match DirBuilder::new().mode(0o711).create(&rootfs) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(error).context(|| format!("create {}", rootfs.display()));
            }
            _ => {}
        }
        let mounts: Vec<Mount> = request
            .rootfs
            .iter()
            .map(|mount| Mount {
                kind: mount.type_.clone(),
                source: mount.source.clone(),
                target: mount.target.clone(),
                options: mount.options.clone(),
            })
            .collect();
        mounts::mount_all(&mounts, &rootfs).context(|| "failed to mount rootfs component")?;
        Ok(Mounted { rootfs: Some(rootfs) })
    }

    fn keep(mut self) {
        self.rootfs = None;
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(rootfs) = &self.rootfs
            && let Err(error) = mounts::unmount_below(rootfs)
        {
            log::warning!("{}", error.chain());
        }
    }
}
