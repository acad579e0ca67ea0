//! TLS and `hosts.toml` against a real registry.

use std::path::Path;

use errors::{Kind, Result};
use image::{Image, PullOptions, RegistryConfig};

use crate::local::{Local, unpacking};
use crate::tools::{Layout, Registry, have, run};

const TOOLS: [&str; 4] = ["docker-registry", "umoci", "skopeo", "openssl"];

/// A certificate for `name` that signs itself; as docker's documentation makes it, it is its own authority.
fn certificate(folder: &Path, name: &str, authority: bool) {
    let (key, certificate) = (folder.join("key.pem"), folder.join("ca.pem"));
    let (alternative, basic) = (
        format!("subjectAltName={name}"),
        format!("basicConstraints=critical,CA:{authority}").to_uppercase(),
    );
    let basic = basic.replace("BASICCONSTRAINTS=CRITICAL", "basicConstraints=critical");
    run(
        "openssl",
        &[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=test",
            "-addext",
            &alternative,
            "-addext",
            &basic,
            "-keyout",
            key.to_str().unwrap(),
            "-out",
            certificate.to_str().unwrap(),
        ],
    );
}

/// Pulls `r.example/a:v1` with this hosts.toml.
async fn pull(hosts: &str, options: &PullOptions) -> Result<Image> {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("r.example")).unwrap();
    std::fs::write(root.path().join("r.example/hosts.toml"), hosts).unwrap();
    let local = Local::with(RegistryConfig { attempts: 1, ..RegistryConfig::default() });
    let options = PullOptions { hosts_directory: Some(root.path().into()), ..options.clone() };
    local.pull("r.example/a:v1", &options).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_verified_unless_told_otherwise() {
    if !have("certificates_are_verified_unless_told_otherwise", &TOOLS) {
        return;
    }
    for authority in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        certificate(folder.path(), "IP:127.0.0.1", authority);
        let registry = Registry::start_tls(folder.path());
        Layout::shared().push(&registry, "a:v1", &[]);
        let server = format!("server = \"https://{}\"\n", registry.host);
        let error = pull(&server, &unpacking()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(error.chain().to_lowercase().contains("certificate"), "{error:?}");

        let ca = format!("{server}ca = {:?}\n", folder.path().join("ca.pem"));
        pull(&ca, &unpacking()).await.unwrap();
        pull(&format!("{server}skip_verify = true\n"), &unpacking()).await.unwrap();
        pull(&server, &PullOptions { insecure: true, ..unpacking() }).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configured_certificate_for_another_host_is_refused() {
    if !have("a_configured_certificate_for_another_host_is_refused", &TOOLS) {
        return;
    }
    for authority in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        certificate(folder.path(), "DNS:elsewhere.example", authority);
        let registry = Registry::start_tls(folder.path());
        let ca = format!("server = \"https://{}\"\nca = {:?}\n", registry.host, folder.path().join("ca.pem"));
        let error = pull(&ca, &unpacking()).await.unwrap_err();
        assert!(error.chain().contains("not valid for name"), "{error:?}");
    }
}

#[test]
fn a_machine_without_roots_still_pulls_over_http() {
    // The roots are found through the environment, which is the whole process's: so a process of its own.
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "credentials::redirects_that_go_round_end",
            "credentials::an_identity_token_goes_by_post",
        ])
        .env("SSL_CERT_FILE", "/nonexistent")
        .env("SSL_CERT_DIR", "/nonexistent")
        .status();
    assert!(status.unwrap().success());
}
