//! Names of unpacked layers (OCI image-spec config.md, "Layer ChainID").

use ids::Digest;
use sha2::{Digest as _, Sha256};

/// The chain ID after each layer: `C(0) = D(0)`, `C(n) = sha256(C(n-1) + " " + D(n))`.
pub fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = match chain.last() {
            None => diff_id.clone(),
            Some(parent) => Digest::from_sha256(Sha256::digest(format!("{parent} {diff_id}")).into()),
        };
        chain.push(next);
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_is_the_diff_id_and_the_rest_hash_the_text() {
        let a = Digest::from_sha256([1; 32]);
        let b = Digest::from_sha256([2; 32]);
        let text = format!("{a} {b}");
        let chain = chain_ids(&[a.clone(), b]);
        assert_eq!(chain[0], a);
        assert_eq!(chain[1], Digest::from_sha256(Sha256::digest(text.as_bytes()).into()));
        assert!(chain_ids(&[]).is_empty());
    }
}
