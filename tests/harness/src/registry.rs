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
    account: Option<String>,
}

impl Registry {
    /// Starts one that keeps its files below `scratch`.
    pub fn start(scratch: &Path) -> Result<Registry> {
        Registry::start_as(&scratch.join("registry"), None)
    }

    /// Starts one that keeps its files below `scratch` and lets in only who has this account. Needs Debian's apache2-utils.
    pub fn start_with_account(scratch: &Path, user: &str, password: &str) -> Result<Registry> {
        Registry::start_as(&scratch.join("closed-registry"), Some((user, password)))
    }

    fn start_as(folder: &Path, account: Option<(&str, &str)>) -> Result<Registry> {
        std::fs::create_dir_all(folder)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = folder.join("registry.yml");
        let mut text = format!(
            "version: 0.1\nlog:\n  level: info\n  formatter: text\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n",
            folder.join("files").display()
        );
        if let Some((user, password)) = account {
            let accounts = folder.join("htpasswd");
            std::fs::write(&accounts, sh::read(Command::new("htpasswd").args(["-Bbn", user, password]))?)?;
            let part = format!("auth:\n  htpasswd:\n    realm: closed\n    path: {}\n", accounts.display());
            text.push_str(&part);
        }
        std::fs::write(&config, text)?;
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
        let account = account.map(|(user, password)| format!("{user}:{password}"));
        Ok(Registry { child, port, account })
    }

    /// Puts an image of an OCI layout into it and returns its name there.
    pub fn push(&self, layout: &Path, tag: &str, name: &str) -> Result<String> {
        self.push_from(&format!("oci:{}:{tag}", layout.display()), tag, name)
    }

    /// Puts what skopeo reads at `from` into it, an index with all that it names, and returns its name there.
    pub fn push_from(&self, from: &str, tag: &str, name: &str) -> Result<String> {
        let to = format!("127.0.0.1:{}/{name}:{tag}", self.port);
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["copy", "--all", "--quiet", "--insecure-policy", "--dest-tls-verify=false"]);
        if let Some(account) = &self.account {
            skopeo.args(["--dest-creds", account]);
        }
        sh::read(skopeo.args([from, &format!("docker://{to}")]))?;
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
