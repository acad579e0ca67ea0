//! A real registry on loopback: Debian's docker-registry.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::sh;

/// A registry that runs until this is dropped.
pub struct Registry {
    child: Child,
    /// Its port on 127.0.0.1.
    pub port: u16,
}

impl Registry {
    /// Starts one that keeps its files below `scratch`.
    pub fn start(scratch: &Path) -> Result<Registry> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = scratch.join("registry.yml");
        let files = scratch.join("registry");
        std::fs::write(
            &config,
            format!(
                "version: 0.1\nlog:\n  level: info\n  formatter: text\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n",
                files.display()
            ),
        )?;
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("start docker-registry")?;
        let Some(log) = child.stderr.take() else { bail!("docker-registry has no stderr") };
        let mut lines = BufReader::new(log).lines();
        let listening = lines.by_ref().map_while(Result::ok).any(|line| line.contains("listening on"));
        if !listening {
            bail!("docker-registry ended: {:?}", child.wait()?);
        }
        // It must never block on its own log.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Ok(Registry { child, port })
    }

    /// Puts an image of an OCI layout into it and returns its name there.
    pub fn push(&self, layout: &Path, tag: &str, name: &str) -> Result<String> {
        let to = format!("127.0.0.1:{}/{name}:{tag}", self.port);
        let from = format!("oci:{}:{tag}", layout.display());
        sh::read(
            Command::new("skopeo")
                .args(["copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false"])
                .args([&from, &format!("docker://{to}")]),
        )?;
        Ok(to)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
