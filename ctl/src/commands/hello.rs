//! The image that is built in: `rctl run hello` works before any registry is known.
//!
//! Its only file is a program of a few machine instructions, written out here, so that building rctl needs no assembler.

use client::Client;
use ids::Reference;
use proto_engine::v1;
use proto_engine::v1::load_request::Request as Ask;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::failure::{Failure, Result};

/// What the image is called.
const NAME: &str = "docker.io/library/hello:latest";
/// What it says.
const TEXT: &str = "Hello from runtimed!\n\nThis message shows that the daemon took an image, made a container from it, and ran it:\n \
1. rctl sent the daemon an image that is built into it.\n 2. The daemon unpacked it into a snapshot and started a shim.\n 3. The shim had \
runc-rs make the container, and kept what it wrote.\n 4. The daemon passed that on to rctl, which printed it here.\n\nNow with an image from \
a registry: rctl run -it debian bash\n";
/// Where the program is loaded.
const ADDRESS: u64 = 0x40_0000;
/// An ELF header and one program header.
const HEADERS: u64 = 64 + 56;

/// Does `text` mean the image that is built in?
pub fn is_built_in(text: &str) -> bool {
    Reference::parse(text).is_ok_and(|name| name.to_string() == NAME)
}

/// Loads it.
pub async fn load(client: &Client) -> Result<()> {
    let archive = archive().map_err(|error| Failure::local("make the image hello", error))?;
    let requests = [
        v1::LoadRequest { request: Some(Ask::Start(v1::LoadStart::default())) },
        v1::LoadRequest { request: Some(Ask::Data(archive)) },
    ];
    let mut answers = client.engine_images().load(tokio_stream::iter(requests)).await?.into_inner();
    while answers.message().await?.is_some() {}
    Ok(())
}

/// An OCI layout as a tar archive (OCI image-spec image-layout.md).
fn archive() -> std::io::Result<Vec<u8>> {
    let architecture = architecture()?;
    let layer = tar(&[("hello", 0o755, &program()?)])?;
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "config": { "Cmd": ["/hello"] },
        "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
        "history": [{ "created_by": "rctl" }],
    })
    .to_string()
    .into_bytes();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
    })
    .to_string()
    .into_bytes();
    let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    entry["platform"] = json!({ "architecture": architecture, "os": "linux" });
    entry["annotations"] =
        json!({ "io.containerd.image.name": NAME, "org.opencontainers.image.ref.name": "latest" });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [entry],
    })
    .to_string()
    .into_bytes();
    let layout = json!({ "imageLayoutVersion": "1.0.0" }).to_string().into_bytes();
    let blob = |bytes: &[u8]| format!("blobs/sha256/{}", hex::encode(Sha256::digest(bytes)));
    tar(&[
        ("oci-layout", 0o644, &layout),
        ("index.json", 0o644, &index),
        (&blob(&manifest), 0o644, &manifest),
        (&blob(&config), 0o644, &config),
        (&blob(&layer), 0o644, &layer),
    ])
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn descriptor(media_type: &str, bytes: &[u8]) -> serde_json::Value {
    json!({ "mediaType": media_type, "digest": digest(bytes), "size": bytes.len() })
}

fn tar(files: &[(&str, u32, &[u8])]) -> std::io::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, mode, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(*mode);
        header.set_mtime(0);
        builder.append_data(&mut header, name, *bytes)?;
    }
    builder.into_inner()
}

/// GOARCH of this machine; the program is written for two.
fn architecture() -> std::io::Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => Err(std::io::Error::other(format!("the image hello is not made for {other}"))),
    }
}

/// An ELF executable: write(1, TEXT), exit(0).
fn program() -> std::io::Result<Vec<u8>> {
    let length = u32::try_from(TEXT.len()).map_err(std::io::Error::other)?;
    let (machine, code) = match architecture()? {
        "amd64" => (62u16, x86_64(length)),
        _ => (183u16, aarch64(length)),
    };
    let size = HEADERS + (code.len() + TEXT.len()) as u64;
    let mut elf = Vec::new();
    // elf(5): 64 bits, little endian, version 1, System V.
    elf.extend([0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    // An executable file, for this machine, version 1.
    elf.extend(2u16.to_le_bytes());
    elf.extend(machine.to_le_bytes());
    elf.extend(1u32.to_le_bytes());
    // Entry; program headers; no section headers; flags.
    elf.extend((ADDRESS + HEADERS).to_le_bytes());
    elf.extend(64u64.to_le_bytes());
    elf.extend(0u64.to_le_bytes());
    elf.extend(0u32.to_le_bytes());
    // Sizes of this header and of the one program header; no section headers.
    for half in [64u16, 56, 1, 0, 0, 0] {
        elf.extend(half.to_le_bytes());
    }
    // PT_LOAD, readable and executable, the whole file.
    elf.extend(1u32.to_le_bytes());
    elf.extend(5u32.to_le_bytes());
    for word in [0, ADDRESS, ADDRESS, size, size, 0x1000] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(code);
    elf.extend(TEXT.as_bytes());
    Ok(elf)
}

/// mov eax,1; mov edi,1; lea rsi,[rip+16]; mov edx,length; syscall; mov eax,60; xor edi,edi; syscall
fn x86_64(length: u32) -> Vec<u8> {
    let mut code = vec![0xb8, 1, 0, 0, 0, 0xbf, 1, 0, 0, 0, 0x48, 0x8d, 0x35, 16, 0, 0, 0, 0xba];
    code.extend(length.to_le_bytes());
    code.extend([0x0f, 0x05, 0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05]);
    code
}

/// mov x8,64; mov x0,1; adr x1,.+24; mov x2,length; svc 0; mov x8,93; mov x0,0; svc 0
fn aarch64(length: u32) -> Vec<u8> {
    let words: [u32; 8] = [
        0xd280_0808,
        0xd280_0020,
        0x1000_00c1,
        0xd280_0002 | ((length & 0xffff) << 5),
        0xd400_0001,
        0xd280_0ba8,
        0xd280_0000,
        0xd400_0001,
    ];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_program_runs_and_says_its_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hello");
        std::fs::write(&path, program().unwrap()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let output = std::process::Command::new(&path).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), TEXT);
    }

    #[test]
    fn only_its_own_name_means_it() {
        assert!(is_built_in("hello"));
        assert!(is_built_in("docker.io/library/hello:latest"));
        assert!(!is_built_in("hello:1"));
        assert!(!is_built_in("quay.io/hello"));
    }
}
