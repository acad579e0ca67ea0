//! Who is told what: challenges, tokens, redirects.

use errors::Kind;
use image::PullOptions;

use crate::local::{Local, credentials, unpacking};
use crate::odd::{refused, sample, stub, works};
use crate::stub::{Reply, Sample, Stub};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_do_not_follow_a_redirect_to_another_host() {
    let (local, sample) = (Local::hasty(), sample());
    let store = stub(&sample, |_| None).await;
    let (layer, elsewhere) = (sample.clone(), store.host.clone());
    let front = stub(&sample, move |request| {
        if !request.headers.contains_key("authorization") {
            return Some(Reply::new(401, "").with("www-authenticate", "Basic realm=\"x\""));
        }
        layer.is_layer(request).then(|| Reply::redirect(format!("http://{elsewhere}{}", request.path)))
    });
    let front = front.await;
    let options = PullOptions { credentials: credentials("ann", "secret"), ..unpacking() };
    local.pull(&format!("{}/a:v1", front.host), &options).await.unwrap();
    assert!(front.asked("manifests").iter().any(|request| request.headers.contains_key("authorization")));
    let there = store.asked("/");
    assert!(!there.is_empty());
    assert!(there.iter().all(|request| !request.headers.contains_key("authorization")), "{there:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_redirected_to_gets_no_credentials_even_if_it_asks() {
    let (local, sample) = (Local::hasty(), sample());
    let greedy =
        stub(&sample, |_| Some(Reply::new(401, "").with("www-authenticate", "Basic realm=\"x\""))).await;
    let (layer, elsewhere) = (sample.clone(), greedy.host.clone());
    let front = stub(&sample, move |request| {
        layer.is_layer(request).then(|| Reply::redirect(format!("http://{elsewhere}{}", request.path)))
    });
    let front = front.await;
    let options = PullOptions { credentials: credentials("ann", "secret"), ..unpacking() };
    let error = local.pull(&format!("{}/a:v1", front.host), &options).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthenticated);
    assert!(greedy.asked("/").iter().all(|request| !request.headers.contains_key("authorization")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirects_that_go_round_end() {
    let (local, sample) = (Local::hasty(), sample());
    let layer = sample.clone();
    let stub =
        stub(&sample, move |request| layer.is_layer(request).then(|| Reply::redirect(request.path.clone())));
    let error = refused(&local, &stub.await, &sample).await;
    assert!(error.chain().contains("more than 10 redirects"), "{error:?}");
}

/// A registry that wants a token from a server of its own.
async fn token_registry(sample: &Sample, realm: String) -> Stub {
    stub(sample, move |request| {
        let known = request.headers.get("authorization").is_some_and(|value| value == "Bearer the-token");
        let challenge =
            format!("Bearer realm=\"{realm}\",service=\"reg\",scope=\"repository:other:pull,push\"");
        (!known).then(|| Reply::new(401, "").with("www-authenticate", challenge))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_fetched_once_for_the_scope_of_the_pull() {
    let (local, sample) = (Local::hasty(), sample());
    let tokens = Stub::start(|_| Reply::new(200, r#"{"token":"the-token","expires_in":300}"#)).await;
    let registry = token_registry(&sample, format!("http://{}/token", tokens.host)).await;
    let reference = format!("{}/a/b:v1", registry.host);
    local.pull(&reference, &unpacking()).await.unwrap();
    let asked = tokens.asked("/token");
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(asked[0].path, "/token?service=reg&scope=repository%3Aa%2Fb%3Apull");
    assert!(!asked[0].headers.contains_key("authorization"), "anonymous");

    let options = PullOptions { credentials: credentials("ann", "secret"), ..unpacking() };
    local.pull(&reference, &options).await.unwrap();
    let asked = tokens.asked("account=ann");
    // ann:secret
    assert_eq!(asked[0].headers["authorization"], "Basic YW5uOnNlY3JldA==");
    let at_registry = registry.asked("/");
    assert!(
        !at_registry.iter().any(|r| r.headers.get("authorization").is_some_and(|v| v.starts_with("Basic")))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_identity_token_goes_by_post() {
    let (local, sample) = (Local::hasty(), sample());
    let tokens = Stub::start(|_| Reply::new(200, r#"{"access_token":"the-token"}"#)).await;
    let registry = token_registry(&sample, format!("http://{}/token", tokens.host)).await;
    let options = PullOptions { credentials: credentials("", "id&token"), ..unpacking() };
    local.pull(&format!("{}/a:v1", registry.host), &options).await.unwrap();
    let asked = tokens.asked("/token");
    assert_eq!(asked[0].method, "POST");
    assert_eq!(
        asked[0].body,
        "grant_type=refresh_token&service=reg&client_id=runtimed&refresh_token=id%26token&scope=repository%3Aa%3Apull"
    );
    assert_eq!(asked[0].headers["content-type"], "application/x-www-form-urlencoded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_token_answer_leaves_open_is_taken_as_absent() {
    let sample = sample();
    for answer in [
        r#"{"token":null,"access_token":"the-token"}"#,
        r#"{"token":"the-token","access_token":null}"#,
        r#"{"access_token":"the-token","expires_in":null}"#,
        r#"{"access_token":"the-token","expires_in":-1}"#,
        r#"{"access_token":"the-token","expires_in":0}"#,
    ] {
        let tokens = Stub::start(move |_| Reply::new(200, answer)).await;
        let registry = token_registry(&sample, format!("http://{}/token", tokens.host)).await;
        works(&Local::hasty(), &registry).await;
        assert_eq!(tokens.asked("/token").len(), 1, "{answer}: it lives as long as one that does not say");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_server_that_refuses_or_rambles_is_an_error() {
    let sample = sample();
    for (reply, words) in [
        (
            Reply::new(401, r#"{"details":"incorrect\u0007 username"}"#),
            "401 Unauthorized: incorrect username",
        ),
        (Reply::new(200, "<html>"), "not understood"),
        (Reply::new(200, "{}"), "no token"),
        (Reply::new(200, r#"{"token":null,"access_token":null}"#), "no token"),
        (Reply::new(200, vec![b' '; 2 << 20]), "longer than"),
        (Reply::new(200, r#"{"token":"another"}"#), "pull access denied"),
    ] {
        let tokens = Stub::start(move |_| reply.clone()).await;
        let registry = token_registry(&sample, format!("http://{}/token", tokens.host)).await;
        let error = refused(&Local::hasty(), &registry, &sample).await;
        assert!(error.chain().contains(words), "{words}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn realms_beside_us_and_in_the_clear_are_refused() {
    let sample = sample();
    for (realm, words) in [
        ("http://169.254.169.254/latest", "realm out of reach: \"169.254.169.254\" is a link-local address"),
        ("https://[fe80::1]/token", "realm out of reach"),
        ("http://auth.example/token", "would send credentials in the clear"),
        ("https://ann:pw@auth.example/token", "no usable realm"),
    ] {
        let registry = token_registry(&sample, realm.to_owned()).await;
        let options = PullOptions { credentials: credentials("ann", "secret"), ..unpacking() };
        let local = Local::hasty();
        let error = local.pull(&format!("{}/a:v1", registry.host), &options).await.unwrap_err();
        assert!(error.chain().contains(words), "{words}: {error:?}");
        assert!(!error.chain().contains("secret"), "{error:?}");
        assert_eq!(registry.asked("/").len(), 1, "refused at once");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_here_leads_to_no_neighbour() {
    let (local, sample) = (Local::hasty(), sample());
    for to in ["http://169.254.169.254/x", "https://[::ffff:169.254.169.254]/x", "http://[fd00:ec2::254]/x"] {
        let layer = sample.clone();
        let stub = stub(&sample, move |request| layer.is_layer(request).then(|| Reply::redirect(to))).await;
        let error = refused(&local, &stub, &sample).await;
        assert_eq!(error.kind(), Kind::PermissionDenied, "{error:?}");
        assert!(error.chain().contains("a registry elsewhere must not send us"), "{error:?}");
    }
}
