//! Requests: one at a time, with redirects followed by hand so that nothing secret goes to another host.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use errors::{Error, Kind, Result, WithKind};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER, USER_AGENT};
use reqwest::{Identity, Method, Response, StatusCode, Url};
use serde::Deserialize;
use tokio::sync::Notify;

use super::RegistryConfig;
use super::hosts::{Tls, is_loopback, read_file};
use super::reach::{OutOfReach, Reach};
use super::tls::client_config;

/// How many redirects are followed.
const MAX_REDIRECTS: usize = 10;
/// The most bytes of an error answer that are read.
const MAX_ERROR: u64 = 64 << 10;

/// How long an error answer may take.
const ERROR_PATIENCE: Duration = Duration::from_secs(10);
/// Who asks.
const AGENT: &str = concat!("runtimed/", env!("CARGO_PKG_VERSION"));

/// Connections to hosts that are trusted in the same way.
#[derive(Clone)]
pub(crate) struct Http {
    client: reqwest::Client,
    /// Connections to where the host has sent us, by what that may be.
    led: Arc<Mutex<HashMap<Reach, reqwest::Client>>>,
    builder: Arc<dyn Fn(Option<Reach>) -> Result<reqwest::Client> + Send + Sync>,
    idle_timeout: Duration,
}

/// Whose word a request follows: the user's, or that of a host.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Led {
    /// The user named the host.
    ByUser,
    /// A host with this reach named it.
    ByHost(Reach),
}

/// A request, kept so that it can be sent again elsewhere.
pub(crate) struct Sent {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A failed request: is it worth another try, and when?
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: Error,
    /// What the answer was, if one came that is at fault.
    pub(crate) status: Option<StatusCode>,
    pub(crate) transient: bool,
    pub(crate) retry_after: Option<Duration>,
}

/// The connections that need no files, kept between pulls.
pub(crate) struct Clients {
    config: RegistryConfig,
    /// By: plain http, this machine, for a push, trust.
    kept: Mutex<HashMap<(bool, bool, bool, Tls), Http>>,
}

impl Clients {
    pub(crate) fn new(config: RegistryConfig) -> Clients {
        // Fails when there is a provider already, which then serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Clients { config, kept: Mutex::new(HashMap::new()) }
    }

    /// The connections for a host. Reads certificate files.
    pub(crate) fn http(&self, base: &Url, tls: &Tls, push: bool) -> Result<Http> {
        let plain = base.scheme() == "http";
        let keep = tls.roots.is_empty() && tls.identities.is_empty();
        let local = is_loopback(base.host_str().unwrap_or_default());
        let key = (plain, local, push, tls.clone());
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if keep && let Some(http) = kept().get(&key) {
            return Ok(http.clone());
        }
        let http = self.build(&key)?;
        if keep {
            kept().insert(key, http.clone());
        }
        Ok(http)
    }

    fn build(&self, key: &(bool, bool, bool, Tls)) -> Result<Http> {
        let (config, key) = (self.config.clone(), key.clone());
        let builder = Arc::new(move |led| client(&config, &key, led));
        Ok(Http {
            client: builder(None)?,
            led: Arc::default(),
            builder,
            idle_timeout: self.config.idle_timeout(),
        })
    }
}

/// A client for hosts of one sort, or for where such a host has sent us.
fn client(
    config: &RegistryConfig,
    (plain, local, push, tls): &(bool, bool, bool, Tls),
    led: Option<Reach>,
) -> Result<reqwest::Client> {
    let builder = || {
        let mut builder = client_builder(config, *local, tls)?;
        if let Some(reach) = led {
            builder = builder.dns_resolver(Arc::new(reach));
        }
        // That timeout runs on while a request is still being sent: an upload has its own.
        Ok::<_, Error>(if *push { builder } else { builder.read_timeout(config.idle_timeout()) })
    };
    let mut built = builder()?.build();
    if *plain && built.is_err() {
        // A machine without any roots can still speak http; only a redirect to https will not be trusted there.
        built = builder()?.tls_certs_only([]).build();
    }
    built.kind(Kind::Internal, || "set up TLS for registries (are ca-certificates installed?)")
}

fn client_builder(config: &RegistryConfig, local: bool, tls: &Tls) -> Result<reqwest::ClientBuilder> {
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(config.connect_timeout())
        .referer(false)
        .tls_danger_accept_invalid_certs(tls.skip_verify)
        .tcp_nodelay(true);
    if local {
        // No proxy stands between this machine and itself.
        builder = builder.no_proxy();
    }
    if tls.skip_verify {
        for (certificate, key) in &tls.identities {
            builder = builder.identity(identity(certificate, key.as_deref())?);
        }
    } else if !tls.roots.is_empty() || !tls.identities.is_empty() {
        builder = builder.tls_backend_preconfigured(client_config(tls)?);
    }
    Ok(builder)
}

/// A client certificate with its key.
fn identity(certificate: &Path, key: Option<&Path>) -> Result<Identity> {
    let mut pem = read_file(certificate)?;
    if let Some(key) = key {
        pem.push(b'\n');
        pem.extend(read_file(key)?);
    }
    Identity::from_pem(&pem)
        .kind(Kind::InvalidArgument, || format!("client certificate {}", certificate.display()))
}

impl Sent {
    pub(crate) fn new(method: Method, url: Url) -> Sent {
        Sent { method, url, headers: HeaderMap::new(), body: Bytes::new() }
    }

    /// Adds a header field, if there is one.
    pub(crate) fn with(mut self, name: HeaderName, value: Option<HeaderValue>) -> Sent {
        if let Some(value) = value {
            self.headers.append(name, value);
        }
        self
    }
}

impl Http {
    /// The client for a request that follows the word of `led`; `url` is where it goes.
    fn client(&self, url: &Url, led: Led) -> Result<reqwest::Client> {
        let reach = match led {
            Led::ByUser => return Ok(self.client.clone()),
            Led::ByHost(reach) => reach,
        };
        reach
            .check(url)
            .map_err(|error| Error::with_source(Kind::PermissionDenied, "not followed", error))?;
        let mut kept = self.led.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = kept.get(&reach) {
            return Ok(client.clone());
        }
        let client = (self.builder)(Some(reach))?;
        kept.insert(reach, client.clone());
        Ok(client)
    }

    /// Sends, and follows redirects of GET and HEAD. To another origin go the method and the `Range` and `Accept`
    /// fields, nothing else; from https never to http; and nowhere near (see `reach`) unless the host that sends us is.
    pub(crate) async fn follow(&self, sent: Sent, led: Led) -> Result<Response> {
        self.try_follow(sent, led).await.map_err(|failure| failure.error)
    }

    /// As [`Http::follow`], saying whether another try may help.
    pub(crate) async fn try_follow(&self, mut sent: Sent, mut led: Led) -> Result<Response, Failure> {
        let home = sent.url.origin();
        for _ in 0..=MAX_REDIRECTS {
            let client = self.client(&sent.url, led).map_err(Failure::final_)?;
            let response = self.send(&client, &sent).await?;
            let redirected = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
            if !redirected || !matches!(sent.method, Method::GET | Method::HEAD) {
                return Ok(response);
            }
            let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let next = target(&sent.url, location).map_err(Failure::final_)?;
            if next.origin() != sent.url.origin() {
                sent.headers = public_fields(&sent.headers);
            }
            // The first host decides how far it goes: what it leads to must not lead further.
            if next.origin() != home && matches!(led, Led::ByUser) {
                led = Led::ByHost(Reach::of(&sent.url, response.remote_addr()));
            }
            sent.url = next;
        }
        let host = host_of(&sent.url);
        Err(Failure::final_(Error::unavailable(format!(
            "registry {host}: more than {MAX_REDIRECTS} redirects"
        ))))
    }

    async fn send(&self, client: &reqwest::Client, sent: &Sent) -> Result<Response, Failure> {
        let mut request = client.request(sent.method.clone(), sent.url.clone()).headers(sent.headers.clone());
        request = request.header(USER_AGENT, AGENT);
        if !sent.body.is_empty() {
            request = request.body(sent.body.clone());
        }
        match tokio::time::timeout(self.idle_timeout, request.send()).await {
            Ok(answer) => answer.map_err(|error| self.failure(error, &sent.url)),
            Err(_) => Err(self.silent(&sent.url)),
        }
    }

    /// Sends a body that can be sent once only; redirects are not followed. `moved` is notified whenever the
    /// registry takes more of it.
    pub(crate) async fn send_stream(
        &self,
        sent: Sent,
        body: reqwest::Body,
        moved: &Notify,
        led: Led,
    ) -> Result<Response, Failure> {
        let client = self.client(&sent.url, led).map_err(Failure::final_)?;
        let request = client.request(sent.method, sent.url.clone()).headers(sent.headers).body(body);
        let mut sending = std::pin::pin!(request.header(USER_AGENT, AGENT).send());
        loop {
            tokio::select! {
                answer = &mut sending => return answer.map_err(|error| self.failure(error, &sent.url)),
                () = moved.notified() => {}
                () = tokio::time::sleep(self.idle_timeout) => return Err(self.silent(&sent.url)),
            }
        }
    }

    fn silent(&self, url: &Url) -> Failure {
        let text = format!("registry {}: no answer for {:?}", host_of(url), self.idle_timeout);
        Failure::passing(Error::new(Kind::DeadlineExceeded, text))
    }

    /// A whole small answer, in no more time than a registry may be silent.
    pub(crate) async fn read_small(&self, response: Response, limit: u64) -> Result<Bytes> {
        let url = response.url().clone();
        match tokio::time::timeout(self.idle_timeout, read_bounded(response, limit, &host_of(&url))).await {
            Ok(read) => read,
            Err(_) => Err(self.silent(&url).error),
        }
    }

    /// Names the host, and whether it was silent or could not be reached.
    pub(crate) fn failure(&self, error: reqwest::Error, url: &Url) -> Failure {
        let host = host_of(url);
        if is_out_of_reach(&error) {
            let text = format!("registry {host}: not followed");
            let error = Error::with_source(Kind::PermissionDenied, text, error.without_url());
            return Failure::final_(error);
        }
        let timed_out = error.is_timeout();
        let what = match () {
            () if timed_out && error.is_connect() => "the connection did not come about in time".to_owned(),
            () if timed_out => format!("no answer for {:?}", self.idle_timeout),
            () if error.is_connect() => "cannot connect".to_owned(),
            () => "the connection broke".to_owned(),
        };
        let kind = if timed_out { Kind::DeadlineExceeded } else { Kind::Unavailable };
        // The URL may hold a signature, so it stays out of the text.
        let error = Error::with_source(kind, format!("registry {host}: {what}"), error.without_url());
        Failure::passing(error)
    }
}

impl Failure {
    /// Not worth another try.
    pub(crate) fn final_(error: Error) -> Failure {
        Failure { error, status: None, transient: false, retry_after: None }
    }

    /// Another try may help.
    fn passing(error: Error) -> Failure {
        Failure { transient: true, ..Failure::final_(error) }
    }

    /// What an answer other than success means. Reads its body, bounded.
    pub(crate) async fn of_answer(response: Response, what: &str) -> Failure {
        let status = response.status();
        let host = host_of(response.url());
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|text| text.parse().ok()).map(Duration::from_secs);
        let message = server_message(response).await;
        let kind = match status {
            StatusCode::NOT_FOUND => Kind::NotFound,
            StatusCode::UNAUTHORIZED => Kind::Unauthenticated,
            StatusCode::FORBIDDEN => Kind::PermissionDenied,
            StatusCode::TOO_MANY_REQUESTS => Kind::ResourceExhausted,
            _ => Kind::Unavailable,
        };
        let text = match status {
            StatusCode::NOT_FOUND => format!("{what}: not found"),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => format!(
                "{what}: pull access denied, repository does not exist or may require authorization: {status} from {host}{message}"
            ),
            _ => format!("{what}: unexpected status {status} from {host}{message}"),
        };
        let transient = matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504);
        Failure { error: Error::new(kind, text), status: Some(status), transient, retry_after }
    }
}

fn is_out_of_reach(error: &reqwest::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<OutOfReach>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Where a redirect leads.
fn target(from: &Url, location: Option<&str>) -> Result<Url> {
    let host = host_of(from);
    let refuse = |why: String| Error::unavailable(format!("registry {host}: redirect refused: {why}"));
    let location = location.ok_or_else(|| refuse("it names no location".to_owned()))?;
    let next = from.join(location).map_err(|error| refuse(error.to_string()))?;
    if !matches!(next.scheme(), "http" | "https") || next.host_str().is_none() {
        return Err(refuse(format!("scheme {:?}", next.scheme())));
    }
    if from.scheme() == "https" && next.scheme() == "http" {
        return Err(refuse(format!("from https to http at {}", host_of(&next))));
    }
    Ok(next)
}

/// The fields that any host may see.
fn public_fields(headers: &HeaderMap) -> HeaderMap {
    let mut public = HeaderMap::new();
    for name in [reqwest::header::ACCEPT, reqwest::header::ACCEPT_ENCODING, reqwest::header::RANGE] {
        public.extend(headers.get_all(&name).iter().map(|value| (Some(name.clone()), value.clone())));
    }
    debug_assert!(!public.contains_key(AUTHORIZATION));
    public
}

/// The host, with its port if it has one of its own.
pub(crate) fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// A whole body of at most `limit` bytes.
pub(crate) async fn read_bounded(mut response: Response, limit: u64, host: &str) -> Result<Bytes> {
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(reqwest::Error::without_url)
        .kind(Kind::Unavailable, || format!("registry {host}: the connection broke"))?
    {
        if (body.len() + chunk.len()) as u64 > limit {
            let text = format!("registry {host}: the answer is longer than {limit} bytes");
            return Err(Error::new(Kind::ResourceExhausted, text));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Bytes::from(body))
}

/// What the server says went wrong, as `: CODE: message`, or nothing (distribution-spec "Error Codes").
pub(crate) async fn server_message(response: Response) -> String {
    #[derive(Deserialize, Default)]
    struct Answer {
        #[serde(default)]
        errors: Vec<One>,
        #[serde(default)]
        details: String,
    }
    #[derive(Deserialize)]
    struct One {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let host = host_of(response.url());
    let reading = tokio::time::timeout(ERROR_PATIENCE, read_bounded(response, MAX_ERROR, &host));
    // What cannot be read in time says nothing.
    let body = reading.await.ok().and_then(Result::ok).unwrap_or_default();
    let answer: Answer = serde_json::from_slice(&body).unwrap_or_default();
    let mut text = String::new();
    for error in answer.errors.into_iter().take(4) {
        text.push_str(&format!(": {}: {}", error.code, error.message));
    }
    if !answer.details.is_empty() {
        text.push_str(&format!(": {}", answer.details));
    }
    // A stranger's words go into a terminal or a log: one line, no control characters.
    text.chars().filter(|c| !c.is_control()).take(512).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_nowhere_worse() {
        let from = Url::parse("https://registry.example/v2/a/blobs/x?secret=1").unwrap();
        let to =
            |location| target(&from, location).map(|url| url.to_string()).map_err(|error| error.to_string());
        assert_eq!(to(Some("/y")).unwrap(), "https://registry.example/y");
        assert_eq!(to(Some("https://cdn.example/y?sig=2")).unwrap(), "https://cdn.example/y?sig=2");
        for (location, words) in [
            (None, "it names no location"),
            (Some("http://registry.example/y?sig=2"), "from https to http at registry.example"),
            (Some("file:///etc/shadow"), "scheme \"file\""),
            (Some("https://"), "redirect refused"),
        ] {
            let error = to(location).unwrap_err();
            assert!(error.contains(words), "{error}");
            assert!(
                !error.contains("sig=") && !error.contains("secret="),
                "signatures stay out of the text: {error}"
            );
        }
    }

    #[test]
    fn what_any_host_may_see_holds_no_secret() {
        let mut fields = HeaderMap::new();
        for name in ["authorization", "x-mine", "cookie", "range", "accept"] {
            fields.insert(name, HeaderValue::from_static("x"));
        }
        let mut left: Vec<String> = public_fields(&fields).keys().map(|name| name.to_string()).collect();
        left.sort();
        assert_eq!(left, ["accept", "range"]);
    }
}
