//! Asks the client for credentials when a registry wants some.

use std::time::Duration;

use errors::{Error, Kind, Result, WithKind};
use ids::Reference;
use image::Credentials;
use proto_containerd::types::transfer::{AuthRequest, AuthResponse, AuthType};
use proto_containerd::unpack;

use crate::streaming::Duplex;

/// How long a client, and the person behind it, may take to answer.
const PATIENCE: Duration = Duration::from_secs(120);

/// Asks for credentials for the registry of `reference`; `None` when the client has none.
pub(super) async fn ask(stream: &mut Duplex, reference: &Reference) -> Result<Option<Credentials>> {
    let host = match reference.domain() {
        "docker.io" => "registry-1.docker.io",
        domain => domain,
    };
    let request =
        AuthRequest { host: host.to_owned(), reference: reference.to_string(), ..Default::default() };
    stream.outgoing.send(&request).await?;
    let answer = tokio::time::timeout(PATIENCE, stream.incoming.next());
    let answer = answer
        .await
        .kind(Kind::DeadlineExceeded, || format!("ask the client for credentials for {host}"))??;
    let Some(answer) = answer else { return Ok(None) };
    let answer: Option<AuthResponse> = unpack(&answer)
        .kind(Kind::InvalidArgument, || format!("decode the client's credentials for {host}"))?;
    credentials(answer.ok_or_else(|| Error::invalid("the client's answer holds no credentials"))?)
}

fn credentials(answer: AuthResponse) -> Result<Option<Credentials>> {
    let credentials = match answer.auth_type() {
        _ if answer.secret.is_empty() => return Ok(None),
        AuthType::None => return Ok(None),
        AuthType::Credentials => Credentials { username: answer.username, secret: answer.secret },
        AuthType::Refresh => Credentials { username: String::new(), secret: answer.secret },
        AuthType::Header => {
            return Err(Error::unimplemented("an Authorization header from the client is not served"));
        }
    };
    Ok(Some(credentials))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(kind: AuthType, username: &str, secret: &str) -> AuthResponse {
        AuthResponse {
            auth_type: kind.into(),
            username: username.into(),
            secret: secret.into(),
            expire_at: None,
        }
    }

    #[test]
    fn empty_secrets_are_none() {
        assert!(credentials(answer(AuthType::Refresh, "", "")).unwrap().is_none());
        assert!(credentials(answer(AuthType::None, "", "x")).unwrap().is_none());
    }

    #[test]
    fn tokens_have_no_user() {
        let token = credentials(answer(AuthType::Refresh, "ignored", "t")).unwrap().unwrap();
        assert_eq!((token.username.as_str(), token.secret.as_str()), ("", "t"));
        let user = credentials(answer(AuthType::Credentials, "u", "p")).unwrap().unwrap();
        assert_eq!((user.username.as_str(), user.secret.as_str()), ("u", "p"));
        assert!(credentials(answer(AuthType::Header, "", "Bearer x")).is_err());
    }
}
