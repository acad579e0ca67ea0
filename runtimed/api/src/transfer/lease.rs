//! What a transfer brings is held: by the caller's lease, or by one of the transfer's own.

use std::sync::Arc;
use std::time::SystemTime;

use errors::{Error, Kind, Result, WithKind};
use ids::{Labels, Namespace};
use image::Hold;
use lease::{Leases, Resource};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};
use tokio::runtime::Handle;

use crate::caller::Caller;

/// Ends a lease that a daemon which died left behind.
const EXPIRES: &str = "containerd.io/gc.expire";

/// A lease for the time of one transfer.
pub(super) struct Leased {
    leases: Leases,
    namespace: Namespace,
    id: String,
    /// It was made here, so it ends here.
    own: bool,
    /// Where it ends, since dropping cannot wait.
    runtime: Handle,
}

impl Leased {
    /// Takes the caller's lease, or makes one.
    pub(super) async fn new(leases: &Leases, caller: &Caller) -> Result<Leased> {
        let leased = |id, own| Leased {
            leases: leases.clone(),
            namespace: caller.namespace.clone(),
            id,
            own,
            runtime: Handle::current(),
        };
        if let Some(id) = &caller.lease {
            return Ok(leased(id.clone(), false));
        }
        let id = format!("transfer-{}", uuid::Uuid::new_v4());
        let expires = (OffsetDateTime::from(SystemTime::now()) + Duration::hours(24))
            .format(&Rfc3339)
            .kind(Kind::Internal, || "format a lease's end")?;
        let transient = (lease::TRANSIENT.to_owned(), "transfer".to_owned());
        let labels = Labels::from([(EXPIRES.to_owned(), expires), transient]);
        leases.create(&caller.namespace, &id, labels).await?;
        Ok(leased(id, true))
    }

    /// What puts a thing under this lease.
    pub(super) fn hold(&self) -> Hold {
        let (leases, namespace, lease) = (self.leases.clone(), self.namespace.clone(), self.id.clone());
        Arc::new(move |kind, id| {
            let (leases, namespace, lease) = (leases.clone(), namespace.clone(), lease.clone());
            Box::pin(async move { leases.add(&namespace, &lease, Resource { kind, id }).await })
        })
    }
}

impl Drop for Leased {
    /// Also when the client goes away in the middle.
    fn drop(&mut self) {
        if !self.own {
            return;
        }
        let (leases, namespace, id) = (self.leases.clone(), self.namespace.clone(), self.id.clone());
        self.runtime.spawn(async move {
            let deleted: Result<(), Error> = leases.delete(&namespace, &id).await;
            if let Err(error) = deleted {
                tracing::warn!(lease = id, error = %error.chain(), "could not delete a transfer's lease");
            }
        });
    }
}
