//! Identifiers that containerd's API accepts: containers, execs, namespaces, leases.

use std::fmt;

use errors::{Error, Result};
use serde::{Deserialize, Serialize};

/// The longest identifier, in bytes (containerd `pkg/identifiers`).
const MAX: usize = 76;

/// Checks `value` against `^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$`, 76 bytes at most.
fn validate(value: &str) -> Result<()> {
    if value.is_empty() {
        return Err(Error::invalid("identifier must not be empty"));
    }
    if value.len() > MAX {
        let shown: String = value.chars().take(MAX).collect();
        return Err(Error::invalid(format!(
            "identifier {shown:?}... is {} bytes long, greater than maximum length ({MAX} characters)",
            value.len()
        )));
    }
    let well_formed = value
        .split(['.', '_', '-'])
        .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    if well_formed {
        return Ok(());
    }
    Err(Error::invalid(format!("identifier {value:?} must match ^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$")))
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Parses `value`; an error of kind `InvalidArgument` names what is wrong with it.
            pub fn parse(value: &str) -> Result<$name> {
                validate(value)?;
                Ok($name(value.to_owned()))
            }

            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(value: String) -> Result<$name> {
                $name::parse(&value)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = Error;

            fn from_str(value: &str) -> Result<$name> {
                $name::parse(value)
            }
        }
    };
}

identifier! {
    /// The id of a container, and of a process run in one by exec.
    ContainerId
}

identifier! {
    /// A namespace of containerd's API: everything but it lives in one.
    Namespace
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_containerd_accepts() {
        for good in ["a", "redis", "a.b", "k8s.io", "a-b_c.d", "0", &"x".repeat(76)] {
            assert!(ContainerId::parse(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn refuses_what_containerd_refuses() {
        for bad in ["", ".", "a/b", "a..b", "-a", "a-", "a b", "ä", "../x", &"x".repeat(77)] {
            let error = ContainerId::parse(bad).unwrap_err();
            assert_eq!(error.kind(), errors::Kind::InvalidArgument, "{bad}");
        }
    }
}
