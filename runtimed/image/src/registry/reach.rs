//! Where a registry may send us: not to this machine's own services, nor to the metadata service of a cloud, unless the
//! registry is such a neighbour itself.
//!
//! Redirects, token realms and upload places are a stranger's words, and the daemon stands where the stranger does not: on
//! loopback, and beside link-local services that hand out the machine's credentials to whoever asks. What is written as an
//! address is checked as it is; a name when it is resolved, so that no second answer can differ from the checked one.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// The metadata service of one large cloud, at an address that is not link-local.
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254);

/// Addresses that only neighbours should be sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Near {
    /// This machine: 127.0.0.0/8, ::1, and the unspecified addresses, which lead here too.
    Loopback,
    /// 169.254.0.0/16, fe80::/10, and metadata services elsewhere.
    LinkLocal,
}

/// What the answers of one host may lead to: anything far, and what is near in the way that the host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Reach {
    near: Option<Near>,
}

/// A name that leads where it must not.
#[derive(Debug)]
pub(crate) struct OutOfReach {
    name: String,
    near: Near,
}

impl Near {
    /// Is the address near?
    pub(crate) fn of(address: IpAddr) -> Option<Near> {
        match address {
            IpAddr::V4(v4) if v4.is_loopback() || v4.is_unspecified() => Some(Near::Loopback),
            IpAddr::V4(v4) if v4.is_link_local() => Some(Near::LinkLocal),
            IpAddr::V4(_) => None,
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) => Near::of(IpAddr::V4(v4)),
                None if v6.is_loopback() || v6.is_unspecified() => Some(Near::Loopback),
                None if v6.is_unicast_link_local() || v6 == METADATA_V6 => Some(Near::LinkLocal),
                None => None,
            },
        }
    }

    /// Is the host of a URL near, as it is written?
    fn of_host(url: &Url) -> Option<Near> {
        let host = url.host_str().unwrap_or_default();
        let name = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = name.parse::<IpAddr>() {
            return Near::of(address);
        }
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        (name == "localhost" || name.ends_with(".localhost")).then_some(Near::Loopback)
    }
}

impl Reach {
    /// The reach of a host that was asked at `url` and answered from `address`. Where a proxy stands between, its address
    /// says nothing.
    pub(crate) fn of(url: &Url, address: Option<SocketAddr>) -> Reach {
        let answered = address.filter(|_| !has_proxy()).and_then(|address| Near::of(address.ip()));
        Reach { near: Near::of_host(url).or(answered) }
    }

    /// May a host with this reach lead to `url`, as far as that is told by how it is written? If not, what it is.
    pub(crate) fn check(self, url: &Url) -> Result<(), OutOfReach> {
        self.permits(Near::of_host(url))
            .map_err(|near| OutOfReach { name: url.host_str().unwrap_or_default().to_owned(), near })
    }

    fn permits(self, near: Option<Near>) -> Result<(), Near> {
        match near {
            Some(near) if self.near != Some(near) => Err(near),
            _ => Ok(()),
        }
    }
}

/// Resolves names, but not to what is out of reach.
impl Resolve for Reach {
    fn resolve(&self, name: Name) -> Resolving {
        let (reach, name) = (*self, name.as_str().to_owned());
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let (mut good, mut bad) = (Vec::new(), None);
            for address in found {
                match reach.permits(Near::of(address.ip())) {
                    Ok(()) => good.push(address),
                    Err(near) => bad = Some(near),
                }
            }
            match bad {
                Some(near) if good.is_empty() => Err(OutOfReach { name, near }.into()),
                _ => Ok(Box::new(good.into_iter()) as Addrs),
            }
        })
    }
}

fn has_proxy() -> bool {
    ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

impl fmt::Display for OutOfReach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let near = match self.near {
            Near::Loopback => "this machine itself",
            Near::LinkLocal => "a link-local address",
        };
        write!(f, "{:?} is {near}, where a registry elsewhere must not send us", self.name)
    }
}

impl std::error::Error for OutOfReach {}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(host: &str) -> Url {
        Url::parse(&format!("http://{host}/x")).unwrap()
    }

    #[test]
    fn hosts_far_away_lead_to_nothing_near() {
        let far = Reach::of(&url("registry.example"), "203.0.113.7:443".parse().ok());
        for near in [
            "127.0.0.1",
            "127.9.9.9:8080",
            "2130706433",
            "0x7f.1",
            "localhost",
            "LOCALHOST.",
            "a.localhost",
            "0.0.0.0",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "169.254.169.254",
            "[fe80::1]",
            "[::ffff:169.254.169.254]",
            "[fd00:ec2::254]",
        ] {
            assert!(far.check(&url(near)).is_err(), "{near}");
        }
        for good in ["cdn.example", "203.0.113.9", "10.0.0.1", "[2001:db8::1]"] {
            assert!(far.check(&url(good)).is_ok(), "{good}");
        }
    }

    #[test]
    fn neighbours_lead_to_their_like_alone() {
        let loopback = Reach::of(&url("127.0.0.1:5000"), None);
        assert!(loopback.check(&url("localhost:7")).is_ok());
        let text = loopback.check(&url("169.254.169.254")).unwrap_err().to_string();
        assert_eq!(
            text,
            "\"169.254.169.254\" is a link-local address, where a registry elsewhere must not send us"
        );
        let link = Reach::of(&url("[fe80::7]"), None);
        assert!(link.check(&url("169.254.1.1")).is_ok() && link.check(&url("127.0.0.1")).is_err());
        if !has_proxy() {
            let by_name = Reach::of(&url("registry.internal"), "127.0.0.1:5000".parse().ok());
            assert!(by_name.check(&url("127.0.0.1:6000")).is_ok());
        }
    }

    #[tokio::test]
    async fn a_name_is_checked_when_it_is_resolved() {
        let name = || "localhost".parse::<Name>().unwrap();
        let Err(refused) = Reach::default().resolve(name()).await else { panic!("localhost was resolved") };
        assert!(refused.downcast_ref::<OutOfReach>().is_some(), "{refused}");
        let loopback = Reach::of(&url("localhost"), None);
        assert!(loopback.resolve(name()).await.is_ok_and(|mut found| found.next().is_some()));
    }
}
