//! A lease that keeps what a flow fetches or makes until the flow has ended.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use errors::{Kind, Result, WithKind};
use ids::{Labels, Namespace};
use image::Hold;
use lease::Resource;

use crate::Flows;

/// How long a flow's lease holds what it brought if the daemon dies before the name is made.
const LEASE_LIFE: Duration = Duration::from_secs(24 * 3600);
/// How long a lease that could not be ended is left alone, at first; each time twice as long.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

impl Flows {
    /// A lease for one flow, and the function that puts things under it.
    pub(crate) async fn hold(&self, namespace: &Namespace) -> Result<FlowLease> {
        let id = format!("runtimed-flow-{}", uuid::Uuid::new_v4().simple());
        let expires = time::OffsetDateTime::from(SystemTime::now() + LEASE_LIFE)
            .format(&time::format_description::well_known::Rfc3339)
            .kind(Kind::Internal, || "write a lease's end")?;
        let labels = Labels::from([
            ("containerd.io/gc.expire".to_owned(), expires),
            (lease::TRANSIENT.to_owned(), String::from("flow")),
        ]);
        let leases = self.rooms().leases.clone();
        leases.create(namespace, &id, labels).await?;
        let hold: Hold = Arc::new({
            let (leases, namespace, id) = (leases.clone(), namespace.clone(), id.clone());
            move |kind, resource| {
                let (leases, namespace, id) = (leases.clone(), namespace.clone(), id.clone());
                Box::pin(async move { leases.hold(&namespace, &id, Resource { kind, id: resource }).await })
            }
        });
        let collector = self.rooms().collector.clone();
        Ok(FlowLease { leases, collector, namespace: namespace.clone(), id, hold, ended: false })
    }
}

/// A lease that ends with its flow.
pub(crate) struct FlowLease {
    leases: lease::Leases,
    collector: gc::Collector,
    namespace: Namespace,
    id: String,
    /// Puts a resource under the lease.
    pub(crate) hold: Hold,
    ended: bool,
}

impl FlowLease {
    /// Ends the lease; what cannot be ended now is tried again behind the caller's back.
    pub(crate) async fn end(mut self) {
        self.ended = delete(&self.leases, &self.namespace, &self.id).await;
    }
}

impl Drop for FlowLease {
    /// The caller of a pull vanished: nothing needs what came so far. Or the lease could not be ended. Should it never be, it expires, and the
    /// daemon's next start ends it.
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let (leases, namespace, id) = (self.leases.clone(), self.namespace.clone(), self.id.clone());
        let collector = self.collector.clone();
        tokio::spawn(async move {
            let mut pause = SHORTEST_PAUSE;
            while !delete(&leases, &namespace, &id).await && pause < LEASE_LIFE {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            collector.schedule();
        });
    }
}

/// Says whether the lease is gone.
async fn delete(leases: &lease::Leases, namespace: &Namespace, id: &str) -> bool {
    match leases.delete(namespace, id).await {
        Err(error) if !error.is_not_found() => {
            tracing::warn!(lease = id, error = %error.chain(), "a flow's lease could not be ended, and is tried again");
            false
        }
        _ => true,
    }
}
