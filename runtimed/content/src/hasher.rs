//! A running hash of whichever algorithm a digest names.

use std::io::Read;

use ids::{Algorithm, Digest};
use sha2::digest::Digest as _;
use sha2::{Sha256, Sha512};

/// Bytes read at once when a file is hashed.
const CHUNK: usize = 1 << 20;

/// The state of a hash function.
#[derive(Clone)]
pub(crate) enum Hasher {
    /// SHA-256.
    Sha256(Sha256),
    /// SHA-512.
    Sha512(Sha512),
}

impl Hasher {
    /// A hash of nothing yet.
    pub(crate) fn new(algorithm: Algorithm) -> Hasher {
        match algorithm {
            Algorithm::Sha256 => Hasher::Sha256(Sha256::new()),
            Algorithm::Sha512 => Hasher::Sha512(Sha512::new()),
        }
    }

    /// Which function it is.
    pub(crate) fn algorithm(&self) -> Algorithm {
        match self {
            Hasher::Sha256(_) => Algorithm::Sha256,
            Hasher::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// Takes in bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha256(hash) => hash.update(bytes),
            Hasher::Sha512(hash) => hash.update(bytes),
        }
    }

    /// Takes in all that `reader` has; returns how much that was.
    pub(crate) fn update_from(&mut self, mut reader: impl Read) -> std::io::Result<u64> {
        let mut buffer = vec![0; CHUNK];
        let mut total = 0;
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(total),
                Ok(read) => {
                    self.update(&buffer[..read]);
                    total += read as u64;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The digest of what was taken in so far.
    pub(crate) fn digest(&self) -> errors::Result<Digest> {
        match self {
            Hasher::Sha256(hash) => Ok(Digest::from_sha256(hash.clone().finalize().into())),
            Hasher::Sha512(hash) => {
                Digest::parse(&format!("sha512:{}", hex::encode(hash.clone().finalize())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_published_vectors_of_abc() {
        let digest = |algorithm| {
            let mut hasher = Hasher::new(algorithm);
            hasher.update_from(&b"abc"[..]).unwrap();
            hasher.digest().unwrap().to_string()
        };
        assert!(digest(Algorithm::Sha256).starts_with("sha256:ba7816bf8f01cfea414140de5dae2223"));
        assert!(digest(Algorithm::Sha512).starts_with("sha512:ddaf35a193617abacc417349ae204131"));
    }
}
