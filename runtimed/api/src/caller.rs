//! On whose behalf a request is made: containerd's two headers.

use errors::{Error, Result};
use ids::Namespace;
use lease::{Leases, Resource};
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

use crate::status::refuse;

/// Names the namespace; required by all calls on what lives in one.
const NAMESPACE: &str = "containerd-namespace";
/// Names a lease that is to hold what the call makes.
const LEASE: &str = "containerd-lease";

/// The namespace, and the lease if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) namespace: Namespace,
    pub(crate) lease: Option<String>,
}

impl Caller {
    /// Reads the headers; without a namespace it is `FailedPrecondition` "namespace is required".
    pub(crate) fn of<T>(request: &Request<T>) -> Result<Caller, Status> {
        Caller::from_headers(request.metadata()).map_err(refuse)
    }

    fn from_headers(headers: &MetadataMap) -> Result<Caller> {
        let namespace = match text(headers, NAMESPACE)? {
            None | Some("") => return Err(Error::precondition("namespace is required: failed precondition")),
            Some(name) => Namespace::parse(name)
                .map_err(|error| Error::with_source(error.kind(), "namespace validation", error))?,
        };
        let lease = text(headers, LEASE)?.filter(|id| !id.is_empty()).map(str::to_owned);
        Ok(Caller { namespace, lease })
    }

    /// Puts what is about to be made under the caller's lease, if it has one: before it exists, so that no collection comes
    /// between.
    pub(crate) async fn hold(
        &self,
        leases: &Leases,
        kind: impl Into<String>,
        id: impl Into<String>,
    ) -> Result<()> {
        match &self.lease {
            None => Ok(()),
            Some(lease) => {
                let resource = Resource { kind: kind.into(), id: id.into() };
                leases.hold(&self.namespace, lease, resource).await
            }
        }
    }

    /// Takes what is gone, or has another name now, from the caller's lease. A lease that has ended holds nothing.
    pub(crate) async fn release(
        &self,
        leases: &Leases,
        kind: impl Into<String>,
        id: impl Into<String>,
    ) -> Result<()> {
        let Some(lease) = &self.lease else { return Ok(()) };
        let resource = Resource { kind: kind.into(), id: id.into() };
        match leases.release(&self.namespace, lease, resource).await {
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }
}

fn text<'a>(headers: &'a MetadataMap, name: &str) -> Result<Option<&'a str>> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    match value.to_str() {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(Error::invalid(format!("header {name} is not printable ASCII"))),
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn request(headers: &[(&'static str, &str)]) -> Request<()> {
        let mut request = Request::new(());
        for (name, value) in headers {
            request.metadata_mut().insert(*name, value.parse().unwrap());
        }
        request
    }

    #[test]
    fn namespace_is_required() {
        for headers in [&[][..], &[(NAMESPACE, "")]] {
            let status = Caller::of(&request(headers)).unwrap_err();
            assert_eq!(status.code(), Code::FailedPrecondition);
            assert!(status.message().starts_with("namespace is required"));
        }
    }

    #[test]
    fn namespace_is_checked() {
        let status = Caller::of(&request(&[(NAMESPACE, "../x")])).unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains("\"../x\""), "{status}");
    }

    #[test]
    fn empty_lease_is_none() {
        let caller = Caller::of(&request(&[(NAMESPACE, "default"), (LEASE, "")])).unwrap();
        assert_eq!(caller.lease, None);
        let caller = Caller::of(&request(&[(NAMESPACE, "default"), (LEASE, "l")])).unwrap();
        assert_eq!((caller.namespace.as_str(), caller.lease.as_deref()), ("default", Some("l")));
    }
}
