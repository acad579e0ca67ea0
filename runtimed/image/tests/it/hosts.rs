//! TLS and `hosts.toml` against a real registry.

use std::path::Path;

use errors::Kind;
use image::{PullOptions, RegistryConfig};

use crate::local::{Local, unpacking};
use crate::tools::{Layout, Registry, have, run};

const TOOLS: [&str; 4] = ["docker-registry", "umoci", "skopeo", "openssl"];

/// A certificate for 127.0.0.1 that nobody has signed.
fn certificate(folder: &Path) {
    let (key, certificate) = (folder.join("key.pem"), folder.join("ca.pem"));
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
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-keyout",
            key.to_str().unwrap(),
            "-out",
            certificate.to_str().unwrap(),
        ],
    );
}

fn local_with(root: &Path, domain: &str, hosts: &str) -> Local {
    let folder = root.join(domain);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("hosts.toml"), hosts).unwrap();
    Local::with(RegistryConfig {
        hosts_directory: Some(root.into()),
        attempts: 1,
        ..RegistryConfig::default()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_verified_unless_told_otherwise() {
    if !have("certificates_are_verified_unless_told_otherwise", &TOOLS) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path());
    let registry = Registry::start_tls(folder.path());
    let layout = Layout::make();
    layout.push(&registry, "a:v1", &[]);
    let host = &registry.host;
    let try_pull = async |hosts: String, options: &PullOptions| {
        let root = tempfile::tempdir().unwrap();
        let local = local_with(root.path(), "r.example", &hosts);
        local.pull("r.example/a:v1", options).await
    };
    let server = format!("server = \"https://{host}\"\n");
    let error = try_pull(server.clone(), &unpacking()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.chain().to_lowercase().contains("certificate"), "{error:?}");

    let ca = format!("{server}ca = {:?}\n", folder.path().join("ca.pem"));
    try_pull(ca, &unpacking()).await.unwrap();
    try_pull(format!("{server}skip_verify = true\n"), &unpacking()).await.unwrap();
    let insecure = PullOptions { insecure: true, ..unpacking() };
    try_pull(server, &insecure).await.unwrap();
}

#[test]
fn a_machine_without_roots_still_pulls_over_http() {
    // The roots are found through the environment, which is the whole process's: so a process of its own.
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "hostile::redirects_that_go_round_end", "hostile::an_identity_token_goes_by_post"])
        .env("SSL_CERT_FILE", "/nonexistent")
        .env("SSL_CERT_DIR", "/nonexistent")
        .status();
    assert!(status.unwrap().success());
}
