//! Which hosts serve a registry: the registry itself, and the mirrors of containerd's `hosts.toml`.
//!
//! The folder is searched as containerd's `config_path`: `HOST_PORT_/`, `HOST:PORT/`, then `_default/`; the first that
//! exists counts. Without `hosts.toml` in it, docker's certificate files (`*.crt`, `*.cert` with `*.key`) are read.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use errors::{Context, Error, Kind, Result, WithKind};
use reqwest::Url;
use serde::Deserialize;
use toml::Spanned;

/// The largest configuration or certificate file that is read.
const MAX_FILE: u64 = 1 << 20;

/// One place to ask.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Host {
    /// Scheme, host and the path below which the API lies, without a slash at the end.
    pub(crate) base: Url,
    /// May it be asked what a tag points to?
    pub(crate) resolve: bool,
    /// May it be asked for manifests and blobs?
    pub(crate) pull: bool,
    /// May it be given manifests and blobs?
    pub(crate) push: bool,
    /// Is it the registry itself, to which the caller's credentials belong?
    pub(crate) own: bool,
    /// Header fields for this host alone.
    pub(crate) headers: Vec<(String, String)>,
    /// How it is trusted.
    pub(crate) tls: Tls,
}

/// How a host is trusted, and how it is told who we are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Tls {
    /// Do not verify certificates.
    pub(crate) skip_verify: bool,
    /// More roots, PEM.
    pub(crate) roots: Vec<PathBuf>,
    /// Client certificate and key, PEM; the key may be in the same file.
    pub(crate) identities: Vec<(PathBuf, Option<PathBuf>)>,
}

/// How a caller wants the registry to be reached, where no file says otherwise.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Access {
    pub(crate) plain_http: bool,
    pub(crate) insecure: bool,
}

#[derive(Deserialize)]
struct File {
    server: Option<String>,
    #[serde(default)]
    host: BTreeMap<Spanned<String>, Entry>,
    #[serde(flatten)]
    own: Entry,
}

#[derive(Deserialize, Default)]
struct Entry {
    capabilities: Option<Vec<String>>,
    ca: Option<OneOrMany>,
    client: Option<Clients>,
    skip_verify: Option<bool>,
    #[serde(default)]
    header: BTreeMap<String, OneOrMany>,
    #[serde(default)]
    override_path: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Clients {
    One(String),
    Many(Vec<Client>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Client {
    File(String),
    Pair(Vec<String>),
}

impl OneOrMany {
    fn into_vec(self) -> Vec<String> {
        match self {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many,
        }
    }
}

/// The hosts for the registry `domain`, in the order in which they are tried. Reads files.
pub(crate) fn hosts_for(directory: Option<&Path>, domain: &str, access: Access) -> Result<Vec<Host>> {
    let Some(folder) = directory.and_then(|root| folder_of(root, domain)) else {
        return Ok(vec![registry_itself(domain, access)?]);
    };
    let file = folder.join("hosts.toml");
    if !file.exists() {
        let mut host = registry_itself(domain, access)?;
        certificate_files(&folder, &mut host.tls)?;
        return Ok(vec![host]);
    }
    let text = read_text(&file)?;
    parse(&text, &folder, domain, access).context(|| format!("read {}", file.display()))
}

/// The first folder that exists.
fn folder_of(root: &Path, domain: &str) -> Option<PathBuf> {
    let with_port = match domain.rfind(':') {
        Some(at) if at > 0 && !domain.ends_with(']') => {
            Some(format!("{}_{}_", &domain[..at], &domain[at + 1..]))
        }
        _ => None,
    };
    let names = with_port.into_iter().chain([domain.to_owned(), "_default".to_owned()]);
    names.map(|name| root.join(name)).find(|folder| folder.is_dir())
}

/// What a hosts.toml says, whose certificates lie in `folder`.
pub(crate) fn parse(text: &str, folder: &Path, domain: &str, access: Access) -> Result<Vec<Host>> {
    let file: File = toml::from_str(text).kind(Kind::InvalidArgument, || "parse")?;
    let mut entries: Vec<(Spanned<String>, Entry)> = file.host.into_iter().collect();
    // Mirrors are tried in the order of the file.
    entries.sort_by_key(|(name, _)| name.span().start);
    let mut hosts = Vec::with_capacity(entries.len() + 1);
    for (name, entry) in entries {
        let base = base_url(name.get_ref(), entry.override_path, access)?;
        let own = base.origin() == registry_itself(domain, access)?.base.origin();
        hosts.push(host_of(base, own, entry, folder, access)?);
    }
    let own = match file.server {
        Some(server) => base_url(&server, file.own.override_path, access)?,
        None => registry_itself(domain, access)?.base,
    };
    hosts.push(host_of(own, true, file.own, folder, access)?);
    Ok(hosts)
}

fn host_of(base: Url, own: bool, entry: Entry, folder: &Path, access: Access) -> Result<Host> {
    let capabilities =
        entry.capabilities.unwrap_or_else(|| vec!["pull".into(), "resolve".into(), "push".into()]);
    for capability in &capabilities {
        if !matches!(capability.as_str(), "pull" | "resolve" | "push" | "referrers") {
            return Err(Error::invalid(format!("host {base}: unknown capability {capability:?}")));
        }
    }
    let has = |wanted: &str| capabilities.iter().any(|capability| capability == wanted);
    let at = |path: String| folder.join(path);
    let headers = entry.header.into_iter();
    Ok(Host {
        resolve: has("resolve"),
        pull: has("pull"),
        push: has("push"),
        own,
        headers: headers
            .flat_map(|(key, values)| values.into_vec().into_iter().map(move |v| (key.clone(), v)))
            .collect(),
        tls: Tls {
            skip_verify: entry.skip_verify.unwrap_or(access.insecure),
            roots: entry.ca.map(OneOrMany::into_vec).unwrap_or_default().into_iter().map(at).collect(),
            identities: identities(entry.client, folder)?,
        },
        base,
    })
}

fn identities(clients: Option<Clients>, folder: &Path) -> Result<Vec<(PathBuf, Option<PathBuf>)>> {
    let clients = match clients {
        None => Vec::new(),
        Some(Clients::One(one)) => vec![Client::File(one)],
        Some(Clients::Many(many)) => many,
    };
    let identity = |client| match client {
        Client::File(file) => Ok((folder.join(file), None)),
        Client::Pair(pair) => match &pair[..] {
            [file] => Ok((folder.join(file), None)),
            [certificate, key] if key.is_empty() => Ok((folder.join(certificate), None)),
            [certificate, key] => Ok((folder.join(certificate), Some(folder.join(key)))),
            _ => Err(Error::invalid(format!("client {pair:?}: must be a file, or a certificate and a key"))),
        },
    };
    clients.into_iter().map(identity).collect()
}

/// docker's `certs.d`: every `*.crt` is a root, every `*.cert` a client certificate with its `*.key`.
fn certificate_files(folder: &Path, tls: &mut Tls) -> Result<()> {
    let list = || format!("list {}", folder.display());
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(folder).context(list)? {
        paths.push(entry.context(list)?.path());
    }
    paths.sort();
    for path in paths {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => tls.roots.push(path),
            Some("cert") => tls.identities.push((path.clone(), Some(path.with_extension("key")))),
            _ => {}
        }
    }
    Ok(())
}

/// The registry by its name alone: docker's hub under its real name, http for this machine, https elsewhere.
fn registry_itself(domain: &str, access: Access) -> Result<Host> {
    let real = if domain == "docker.io" { "registry-1.docker.io" } else { domain };
    let base = base_url(real, false, access)?;
    let tls = Tls { skip_verify: access.insecure, ..Tls::default() };
    Ok(Host { base, resolve: true, pull: true, push: true, own: true, headers: Vec::new(), tls })
}

/// `HOST[:PORT]` or a URL, with `/v2` at the end unless the path is the user's own affair.
fn base_url(text: &str, override_path: bool, access: Access) -> Result<Url> {
    let invalid = |why: &str| Error::invalid(format!("invalid registry host {text:?}: {why}"));
    let full = if text.contains("://") {
        text.to_owned()
    } else if access.plain_http || is_loopback(text) {
        format!("http://{text}")
    } else {
        format!("https://{text}")
    };
    let mut url = Url::parse(&full).map_err(|error| invalid(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(invalid("must be http or https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("must not have credentials"));
    }
    url.set_query(None);
    url.set_fragment(None);
    let path = url.path().trim_end_matches('/').to_owned();
    let path = if override_path || path.ends_with("/v2") { path } else { format!("{path}/v2") };
    url.set_path(&path);
    Ok(url)
}

/// Is `host[:port]` this machine: `localhost`, 127.0.0.0/8 or ::1?
pub(crate) fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((inner, _)) => inner,
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A file as text, if it is not absurdly large.
fn read_text(path: &Path) -> Result<String> {
    String::from_utf8(read_file(path)?)
        .kind(Kind::InvalidArgument, || format!("read {}: not UTF-8", path.display()))
}

/// A file's bytes, if it is not absurdly large.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).context(|| format!("open {}", path.display()))?;
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).context(|| format!("read {}", path.display()))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Error::invalid(format!("{} is larger than {MAX_FILE} bytes", path.display())));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bases(hosts: &[Host]) -> Vec<&str> {
        hosts.iter().map(|host| host.base.as_str()).collect()
    }

    #[test]
    fn this_machine_is_http_and_all_others_https() {
        for (domain, base) in [
            ("localhost:5000", "http://localhost:5000/v2"),
            ("127.8.9.1:5000", "http://127.8.9.1:5000/v2"),
            ("[::1]:5000", "http://[::1]:5000/v2"),
            ("docker.io", "https://registry-1.docker.io/v2"),
            ("registry.example:5000", "https://registry.example:5000/v2"),
            ("127.0.0.1.example", "https://127.0.0.1.example/v2"),
        ] {
            assert_eq!(bases(&hosts_for(None, domain, Access::default()).unwrap()), [base]);
        }
        let plain = Access { plain_http: true, insecure: false };
        assert_eq!(bases(&hosts_for(None, "r.example", plain).unwrap()), ["http://r.example/v2"]);
    }

    #[test]
    fn hosts_file_keeps_its_order_and_ends_with_the_server() {
        let text = r#"
            server = "https://registry.example"
            [host."https://zeta.example"]
              capabilities = ["pull"]
              ca = "ca.pem"
              client = [["c.cert", "c.key"], "both.pem"]
              skip_verify = true
              [host."https://zeta.example".header]
                x-one = "1"
                x-two = ["2", "3"]
            [host."http://alpha.example/proxy/v2/"]
              capabilities = ["pull", "resolve"]
            [host."https://mid.example/root"]
              override_path = true
        "#;
        let folder = Path::new("/certs");
        let hosts = parse(text, folder, "registry.example", Access::default()).unwrap();
        assert_eq!(
            bases(&hosts),
            [
                "https://zeta.example/v2",
                "http://alpha.example/proxy/v2",
                "https://mid.example/root",
                "https://registry.example/v2"
            ]
        );
        assert_eq!((hosts[0].pull, hosts[0].resolve, hosts[0].own), (true, false, false));
        assert_eq!([hosts[0].push, hosts[3].push], [false, true]);
        assert_eq!(hosts[0].tls.roots, [PathBuf::from("/certs/ca.pem")]);
        assert_eq!(
            hosts[0].tls.identities,
            [("/certs/c.cert".into(), Some("/certs/c.key".into())), ("/certs/both.pem".into(), None)]
        );
        assert!(hosts[0].tls.skip_verify && !hosts[1].tls.skip_verify);
        assert_eq!(hosts[0].headers.len(), 3);
        assert!(hosts[3].own && hosts[3].resolve);
    }

    #[test]
    fn unknown_capabilities_and_schemes_are_named() {
        let parse =
            |text: &str| parse(text, Path::new("/"), "r.example", Access::default()).unwrap_err().chain();
        assert!(parse("[host.\"https://a.example\"]\ncapabilities=[\"fly\"]").contains("\"fly\""));
        assert!(parse("server = \"ftp://a.example\"").contains("must be http or https"));
        assert!(parse("server = 3").contains("parse"));
    }

    #[test]
    fn folders_are_found_as_containerd_finds_them() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("_default")).unwrap();
        assert_eq!(folder_of(root.path(), "r.example:5000").unwrap(), root.path().join("_default"));
        std::fs::create_dir(root.path().join("r.example:5000")).unwrap();
        assert_eq!(folder_of(root.path(), "r.example:5000").unwrap(), root.path().join("r.example:5000"));
        std::fs::create_dir(root.path().join("r.example_5000_")).unwrap();
        assert_eq!(folder_of(root.path(), "r.example:5000").unwrap(), root.path().join("r.example_5000_"));
        std::fs::write(root.path().join("r.example_5000_/x.crt"), "").unwrap();
        let hosts = hosts_for(Some(root.path()), "r.example:5000", Access::default()).unwrap();
        assert_eq!(hosts[0].tls.roots.len(), 1);
    }
}
