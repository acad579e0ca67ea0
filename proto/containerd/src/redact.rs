//! `Debug` for messages that hold a secret, so that no log ever shows it.

use std::fmt;

use crate::containerd::types::transfer::AuthResponse;

impl fmt::Debug for AuthResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthResponse")
            .field("auth_type", &self.auth_type())
            .field("username", &self.username)
            .field("expire_at", &self.expire_at)
            .finish_non_exhaustive()
    }
}
