//! Who we are to a registry: basic credentials, or a token got for them (distribution's token and oauth2 protocols).

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use errors::{Error, Kind, Result, WithKind};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::Credentials;
use super::challenge::Challenge;
use super::client::{Http, Led, Sent, server_message};
use super::hosts::is_loopback;
use super::reach::{OutOfReach, Reach};
use crate::json::null_is_default;

/// The most bytes of a token answer.
const MAX_TOKEN: u64 = 1 << 20;
/// How long a token lives when the server does not say (distribution's token specification).
const DEFAULT_LIFE: i64 = 60;
/// Tokens are renewed this long before their end.
const MARGIN: Duration = Duration::from_secs(5);

/// The host that asks who we are.
pub(crate) struct Asker<'a> {
    /// Connections to hosts of its sort.
    pub(crate) http: &'a Http,
    /// Where it is.
    pub(crate) base: &'a Url,
    /// What it may lead to.
    pub(crate) reach: Reach,
}

/// What one host is told. Tokens are for one scope: what one pull or push does with one repository.
pub(crate) struct Authorizer {
    credentials: Option<Credentials>,
    scope: String,
    current: Mutex<Option<Authorization>>,
}

#[derive(Clone)]
pub(crate) struct Authorization {
    header: HeaderValue,
    ends: Option<Instant>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default, deserialize_with = "null_is_default")]
    token: String,
    #[serde(default, deserialize_with = "null_is_default")]
    access_token: String,
    /// In seconds; what is not positive says nothing.
    #[serde(default, deserialize_with = "null_is_default")]
    expires_in: i64,
}

impl Authorizer {
    /// For `actions` (`pull`, or `pull,push`) on `repository`; `credentials` only if they belong to this host.
    pub(crate) fn new(repository: &str, actions: &str, credentials: Option<Credentials>) -> Authorizer {
        let known =
            |credentials: &Credentials| !credentials.secret.is_empty() || !credentials.username.is_empty();
        Authorizer {
            credentials: credentials.filter(known),
            scope: format!("repository:{repository}:{actions}"),
            current: Mutex::new(None),
        }
    }

    /// What to send now, if anything is known yet.
    pub(crate) async fn header(&self) -> Option<HeaderValue> {
        let current = self.current.lock().await;
        let current = current.as_ref()?;
        let live = current.ends.is_none_or(|ends| Instant::now() < ends);
        live.then(|| current.header.clone())
    }

    /// Answers a 401 that came for `used`. Afterwards [`Authorizer::header`] is worth another try.
    pub(crate) async fn challenged(
        &self,
        asker: &Asker<'_>,
        used: Option<&HeaderValue>,
        challenges: &[Challenge],
    ) -> Result<()> {
        let base = asker.base;
        let mut current = self.current.lock().await;
        let fresh = current.as_ref().filter(|now| now.ends.is_none_or(|ends| Instant::now() < ends));
        if fresh.is_some_and(|now| Some(&now.header) != used) {
            // Another request was faster.
            return Ok(());
        }
        let scheme = |name: &str| challenges.iter().find(|challenge| challenge.scheme == name);
        let answer = if let Some(bearer) = scheme("bearer") {
            self.token(asker, bearer).await?
        } else if scheme("basic").is_some() {
            Authorization { header: self.basic(base)?, ends: None }
        } else {
            return Err(denied(base, "it asks for an authentication scheme that is not supported"));
        };
        if Some(&answer.header) == used {
            return Err(denied(base, "the credentials were refused"));
        }
        *current = Some(answer);
        Ok(())
    }

    fn basic(&self, base: &Url) -> Result<HeaderValue> {
        match &self.credentials {
            Some(credentials) if !credentials.username.is_empty() => basic_header(credentials),
            Some(_) => Err(denied(base, "it asks for a user name, and there is only a token")),
            None => Err(denied(base, "it asks for credentials, and there are none")),
        }
    }

    async fn token(&self, asker: &Asker<'_>, challenge: &Challenge) -> Result<Authorization> {
        let http = asker.http;
        let mut url = asker.realm(challenge)?;
        let service = challenge.parameters.get("service").map(String::as_str).unwrap_or_default();
        let sent = match &self.credentials {
            Some(credentials) if credentials.is_identity_token() => {
                http.follow(self.oauth(&url, service, &credentials.secret), asker.led(&url)).await?
            }
            credentials => {
                let header = credentials.as_ref().map(basic_header).transpose()?;
                self.add_query(&mut url, service);
                let sent = Sent::new(Method::GET, url.clone()).with(AUTHORIZATION, header);
                http.follow(sent, asker.led(&url)).await?
            }
        };
        let status = sent.status();
        if !status.is_success() {
            return Err(refused(&url, status, &server_message(sent).await));
        }
        let bytes = http.read_small(sent, MAX_TOKEN).await?;
        token_header(&bytes, &url)
    }

    fn add_query(&self, url: &mut Url, service: &str) {
        let mut query = url.query_pairs_mut();
        if !service.is_empty() {
            query.append_pair("service", service);
        }
        query.append_pair("scope", &self.scope);
        if let Some(credentials) = &self.credentials {
            query.append_pair("account", &credentials.username);
        }
    }

    /// The oauth2 request of an identity token (distribution's `oauth.md`).
    fn oauth(&self, realm: &Url, service: &str, refresh_token: &str) -> Sent {
        // A scratch URL: its query is the form's encoding.
        let mut form = realm.clone();
        form.set_query(None);
        form.query_pairs_mut()
            .append_pair("grant_type", "refresh_token")
            .append_pair("service", service)
            .append_pair("client_id", "runtimed")
            .append_pair("refresh_token", refresh_token)
            .append_pair("scope", &self.scope);
        let mut sent = Sent::new(Method::POST, realm.clone());
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        sent.headers = headers;
        sent.body = form.query().unwrap_or_default().to_owned().into();
        sent
    }
}

impl Asker<'_> {
    /// Where its challenge says that tokens are to be had. The user's credentials for this registry go there, as the token
    /// protocol has it (docker's own hub keeps its tokens on another host): so by https, or else to this machine when the
    /// registry is on it too, or to the very host that the user has chosen to speak http to.
    fn realm(&self, challenge: &Challenge) -> Result<Url> {
        let realm = challenge.parameters.get("realm").map(String::as_str).unwrap_or_default();
        let shown: String = realm.chars().filter(|c| !c.is_control()).take(200).collect();
        let url = Url::parse(realm)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some())
            .filter(|url| url.username().is_empty() && url.password().is_none())
            .ok_or_else(|| denied(self.base, &format!("its challenge names no usable realm: {shown:?}")))?;
        if let Err(near) = self.check(&url) {
            return Err(denied(self.base, &format!("its challenge names a realm out of reach: {near}")));
        }
        let own = self.base.scheme() == "http" && self.base.host_str() == url.host_str();
        let here = self.base.scheme() == "http" && is_loopback(url.host_str().unwrap_or_default());
        if url.scheme() == "http" && !own && !here {
            return Err(denied(
                self.base,
                &format!("its challenge would send credentials in the clear to {shown:?}"),
            ));
        }
        Ok(url)
    }

    /// The registry's own host may be anywhere, since the user named it.
    fn check(&self, url: &Url) -> Result<(), OutOfReach> {
        if self.base.host_str() == url.host_str() { Ok(()) } else { self.reach.check(url) }
    }

    fn led(&self, url: &Url) -> Led {
        match self.base.host_str() == url.host_str() {
            true => Led::ByUser,
            false => Led::ByHost(self.reach),
        }
    }
}

impl Credentials {
    /// docker's logins keep `<token>` as the user name of an identity token.
    fn is_identity_token(&self) -> bool {
        self.username.is_empty() || self.username == "<token>"
    }
}

fn basic_header(credentials: &Credentials) -> Result<HeaderValue> {
    let text = format!("{}:{}", credentials.username, credentials.secret);
    sensitive(format!("Basic {}", BASE64.encode(text)))
}

/// The header that a token server's answer leads to.
pub(crate) fn token_header(bytes: &[u8], url: &Url) -> Result<Authorization> {
    let host = url.host_str().unwrap_or_default();
    let answer: TokenAnswer = serde_json::from_slice(bytes)
        .kind(Kind::Unauthenticated, || format!("token from {host}: the answer is not understood"))?;
    let token = if answer.token.is_empty() { answer.access_token } else { answer.token };
    if token.is_empty() {
        return Err(Error::new(Kind::Unauthenticated, format!("token from {host}: the answer has no token")));
    }
    let life = Duration::from_secs(answer.expires_in.clamp(DEFAULT_LIFE, 24 * 3600).unsigned_abs());
    Ok(Authorization {
        header: sensitive(format!("Bearer {token}"))?,
        ends: Some(Instant::now() + life.saturating_sub(MARGIN)),
    })
}

fn sensitive(text: String) -> Result<HeaderValue> {
    let mut header = HeaderValue::try_from(text)
        .map_err(|_| Error::invalid("credentials have characters that a header cannot carry"))?;
    header.set_sensitive(true);
    Ok(header)
}

fn denied(base: &Url, why: &str) -> Error {
    let host = base.host_str().unwrap_or_default();
    Error::new(Kind::Unauthenticated, format!("registry {host}: authorization failed: {why}"))
}

fn refused(url: &Url, status: StatusCode, message: &str) -> Error {
    let host = url.host_str().unwrap_or_default();
    let kind = if status.is_server_error() { Kind::Unavailable } else { Kind::Unauthenticated };
    Error::new(kind, format!("token from {host}: {status}{message}"))
}
