//! One pull's view of a registry: its hosts in order, each with connections and authorization.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use errors::{Error, Kind, Result, WithKind};
use ids::Reference;
use reqwest::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, WWW_AUTHENTICATE,
};
use reqwest::{Method, Response, StatusCode, Url};

use tokio::sync::Notify;

use super::Login;
use super::auth::{Asker, Authorizer};
use super::challenge::{self, Challenge};
use super::client::{Failure, Http, Led, Sent, host_of};
use super::hosts::Host;
use super::reach::Reach;

/// How often one request answers a challenge: once for a token, once for a token that just ran out.
const MAX_CHALLENGES: usize = 2;
/// The first pause between two rounds over the hosts; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// One pull's hosts.
pub(crate) struct Session {
    pub(crate) endpoints: Vec<Arc<Endpoint>>,
    pub(crate) reference: Reference,
    pub(crate) manifest_limit: u64,
    pub(crate) attempts: u32,
}

/// One host.
pub(crate) struct Endpoint {
    http: Http,
    pub(crate) host: Host,
    headers: HeaderMap,
    authorizer: Authorizer,
    repository: String,
    /// The registry's name, for a mirror that serves several.
    namespace: Option<String>,
}

impl Endpoint {
    pub(crate) fn new(http: Http, host: Host, reference: &Reference, login: &Login) -> Result<Endpoint> {
        let mut headers = HeaderMap::new();
        let callers = login.headers.iter().filter(|_| host.own);
        for (name, value) in host.headers.iter().chain(callers) {
            let wrong = || format!("host {}: header {name:?}", host.base);
            let name = HeaderName::try_from(name).kind(Kind::InvalidArgument, wrong)?;
            headers.append(name, HeaderValue::try_from(value).kind(Kind::InvalidArgument, wrong)?);
        }
        let credentials = login.credentials.clone().filter(|_| host.own);
        Ok(Endpoint {
            http,
            headers,
            authorizer: Authorizer::new(reference.path(), login.actions(), credentials),
            repository: reference.path().to_owned(),
            namespace: (!host.own).then(|| reference.domain().to_owned()),
            host,
        })
    }

    /// The host, as errors name it.
    pub(crate) fn name(&self) -> String {
        host_of(&self.host.base)
    }

    fn url(&self, sort: &str, object: &str) -> Result<Url> {
        let mut url = self.host.base.clone();
        let path = format!("{}/{}/{sort}/{object}", url.path().trim_end_matches('/'), self.repository);
        url.set_path(&path);
        if let Some(namespace) = &self.namespace {
            url.query_pairs_mut().append_pair("ns", namespace);
        }
        Ok(url)
    }

    /// Asks for `sort`/`object` (`manifests` or `blobs`), answering challenges. The answer is a success, or a failure.
    pub(crate) async fn request(
        &self,
        method: Method,
        sort: &str,
        object: &str,
        fields: &[(HeaderName, HeaderValue)],
    ) -> Result<Response, Failure> {
        self.request_with(method, sort, object, fields, Bytes::new()).await
    }

    /// As [`Endpoint::request`], with a body.
    pub(crate) async fn request_with(
        &self,
        method: Method,
        sort: &str,
        object: &str,
        fields: &[(HeaderName, HeaderValue)],
        body: Bytes,
    ) -> Result<Response, Failure> {
        let url = self.url(sort, object).map_err(Failure::final_)?;
        let what = format!("{}/{}@{object}", self.name(), self.repository);
        for round in 0.. {
            let authorization = self.authorizer.header().await;
            let mut sent = Sent::new(method.clone(), url.clone()).with(AUTHORIZATION, authorization.clone());
            sent.headers.extend(self.headers.clone());
            sent.headers.extend(fields.iter().map(|(name, value)| (Some(name.clone()), value.clone())));
            sent.body = body.clone();
            let response = self.http.try_follow(sent, Led::ByUser).await?;
            let status = response.status();
            if status.is_success() {
                return Ok(response);
            }
            // Only the host itself may ask who we are; not one that it sends us on to.
            let asks = status == StatusCode::UNAUTHORIZED && response.url().origin() == url.origin();
            if !asks || round >= MAX_CHALLENGES {
                return Err(Failure::of_answer(response, &what).await);
            }
            let challenges = challenges(response.headers());
            let asker = Asker {
                http: &self.http,
                base: &self.host.base,
                reach: Reach::of(&self.host.base, response.remote_addr()),
            };
            let answered = self.authorizer.challenged(&asker, authorization.as_ref(), &challenges);
            if let Err(error) = answered.await {
                let transient = error.kind() == Kind::Unavailable || error.kind() == Kind::DeadlineExceeded;
                return Err(Failure { transient, ..Failure::final_(explain(error, &what)) });
            }
        }
        Err(Failure::final_(Error::internal(format!("{what}: no answer"))))
    }

    /// Sends `body` to where the host said, whose reach is `reach`; what the host may know goes along only if it is the
    /// host itself.
    pub(crate) async fn upload(
        &self,
        url: Url,
        reach: Reach,
        length: u64,
        body: reqwest::Body,
        moved: &Notify,
    ) -> Result<Response, Failure> {
        let mut sent = Sent::new(Method::PUT, url);
        let mut led = Led::ByHost(reach);
        if sent.url.origin() == self.host.base.origin() {
            led = Led::ByUser;
            sent = sent.with(AUTHORIZATION, self.authorizer.header().await);
            sent.headers.extend(self.headers.clone());
        }
        sent.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        sent.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        let response = self.http.send_stream(sent, body, moved, led).await?;
        match response.status().is_success() {
            true => Ok(response),
            false => Err(Failure::of_answer(response, &format!("{}/{}", self.name(), self.repository)).await),
        }
    }

    /// The failure of a connection to this host.
    pub(crate) fn broken(&self, error: reqwest::Error) -> Failure {
        self.http.failure(error, &self.host.base)
    }
}

impl Session {
    /// Calls `ask` on the endpoints that `able` lets through until one answers, in rounds as long as a failure may pass.
    /// The one at `start`, counted round, comes first.
    pub(crate) async fn first<'a, T, F>(
        &'a self,
        start: usize,
        able: impl Fn(&Endpoint) -> bool,
        ask: impl Fn(&'a Arc<Endpoint>) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let able: Vec<&Arc<Endpoint>> = self.endpoints.iter().filter(|endpoint| able(endpoint)).collect();
        let order = || able.iter().cycle().skip(start % able.len().max(1)).take(able.len());
        let mut worst: Option<Error> = None;
        for attempt in 0..self.attempts {
            let (mut transient, mut wait) = (false, pause(attempt));
            for endpoint in order() {
                match ask(endpoint).await {
                    Ok(answer) => return Ok(answer),
                    Err(failure) => {
                        transient |= failure.transient;
                        wait = failure.retry_after.unwrap_or_default().clamp(wait, LONGEST_PAUSE);
                        worst = Some(telling(worst, failure.error));
                    }
                }
            }
            if !transient || attempt + 1 == self.attempts {
                break;
            }
            tokio::time::sleep(wait).await;
        }
        let none =
            || Error::precondition(format!("no host of {} may be asked for this", self.reference.domain()));
        Err(worst.unwrap_or_else(none))
    }
}

/// The pause after round `attempt`.
pub(crate) fn pause(attempt: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << attempt.min(16)).min(LONGEST_PAUSE)
}

/// Of two failures the one that tells more: "not found" is what any mirror may say.
fn telling(earlier: Option<Error>, later: Error) -> Error {
    match earlier {
        Some(earlier) if later.is_not_found() => earlier,
        _ => later,
    }
}

fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    values.take(8).flat_map(challenge::parse).collect()
}

/// Puts docker's words, which callers look for, in front of a failed authorization.
fn explain(error: Error, what: &str) -> Error {
    if error.kind() != Kind::Unauthenticated {
        return error;
    }
    let text = format!("{what}: pull access denied, repository does not exist or may require authorization");
    Error::with_source(Kind::Unauthenticated, text, error)
}
