//! Debian's buildah with `runc-rs` for its executor.

use std::fs;

use anyhow::{Result, ensure};
use harness::{Outcome, needs};
use interop::podman::{IMAGE, Podman};

const TOOLS: &[&str] = &["buildah", "podman", "conmon", "umoci", "skopeo", "busybox"];

const DOCKERFILE: &str = r#"
FROM docker.io/library/busybox:latest
ARG WORD=nothing
ENV PLACE=/made
RUN mkdir $PLACE && echo "$WORD" >$PLACE/word
RUN chown 1000:1000 $PLACE
USER 1000:1000
WORKDIR /made
RUN id -u >who && pwd >where
COPY file .
CMD ["cat", "word", "who", "where", "file"]
"#;

#[test]
fn a_dockerfile_is_built() -> Result<()> {
    if !needs("a_dockerfile_is_built", TOOLS) {
        return Ok(());
    }
    let podman = Podman::new()?;
    let context = podman.file("context");
    fs::create_dir(&context)?;
    fs::write(context.join("Dockerfile"), DOCKERFILE)?;
    fs::write(context.join("file"), "copied\n")?;
    let build = |options: &[&str]| {
        let mut buildah = podman.program("buildah");
        buildah.args(["bud", "--isolation", "oci", "--network", "none", "--pull-never"]).args(options);
        buildah.arg("--runtime").arg(podman.runtime());
        Outcome::of(buildah.arg(&context), b"")
    };
    build(&["--build-arg", "WORD=said", "--tag", "localhost/built:1"])?.ok()?;
    ensure!(podman.ok(&["run", "--rm", "localhost/built:1"])? == "said\n1000\n/made\ncopied");
    fs::write(context.join("Dockerfile"), format!("FROM {IMAGE}\nRUN echo so far; exit 6\n"))?;
    let failed = build(&["--tag", "localhost/built:2"])?;
    ensure!(
        failed.code != 0 && failed.stdout.contains("so far") && failed.stderr.contains("exit status 6"),
        "{failed:?}"
    );
    podman.finish()
}

#[test]
fn the_runtime_is_chosen_by_the_environment() -> Result<()> {
    if !needs("the_runtime_is_chosen_by_the_environment", TOOLS) {
        return Ok(());
    }
    let podman = Podman::new()?;
    let buildah = |args: &[&str]| {
        let mut command = podman.program("buildah");
        Outcome::of(command.env("BUILDAH_RUNTIME", podman.runtime()).args(args), b"")
    };
    let container = buildah(&["from", "--pull-never", IMAGE])?.ok()?;
    let container = container.trim_end();
    let run = |args: &[&str]| {
        buildah(&[&["run", "--isolation", "oci", "--network", "none", container], args].concat())
    };
    ensure!(run(&["echo", "inside"])?.ok()? == "inside\n");
    let failed = run(&["sh", "-c", "exit 5"])?;
    ensure!(failed.code == 5, "{failed:?}");
    buildah(&["rm", container])?.ok()?;
    podman.finish()
}
