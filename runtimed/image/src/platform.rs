//! Which of an index's manifests fits a machine (rules of containerd's `platforms` package).

use std::fmt;

use errors::{Error, Result};

use crate::json::null_is_default;

/// An operating system and processor (OCI image-spec image-index.md). What is not said is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Platform {
    /// GOOS.
    #[serde(default, deserialize_with = "null_is_default")]
    pub os: String,
    /// GOARCH.
    #[serde(default, deserialize_with = "null_is_default")]
    pub architecture: String,
    /// Variant such as v7.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// OS version, for Windows.
    #[serde(
        default,
        rename = "os.version",
        deserialize_with = "null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub os_version: String,
}

impl Platform {
    /// An operating system and processor without a variant.
    pub fn new(os: &str, architecture: &str, variant: &str) -> Platform {
        Platform {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
            os_version: String::new(),
        }
        .normalized()
    }

    /// This machine's.
    pub fn host() -> Platform {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "x86" => "386",
            "aarch64" => "arm64",
            "loongarch64" => "loong64",
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "powerpc64" => "ppc64",
            other => other,
        };
        Platform::new("linux", architecture, "")
    }

    /// Parses `os/arch[/variant]`, or `arch` alone, as docker's `--platform` takes it.
    pub fn parse(text: &str) -> Result<Platform> {
        let parts: Vec<&str> = text.split('/').collect();
        let word = |part: &&str| {
            !part.is_empty()
                && part.len() <= 64
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
        };
        let shown: String = text.chars().take(100).collect();
        if !parts.iter().all(word) {
            return Err(Error::invalid(format!("invalid platform {shown:?}: must be os/arch[/variant]")));
        }
        match parts[..] {
            ["linux"] => Ok(Platform::host()),
            [architecture] => Ok(Platform::new("linux", architecture, "")),
            [os, architecture] => Ok(Platform::new(os, architecture, "")),
            [os, architecture, variant] => Ok(Platform::new(os, architecture, variant)),
            _ => Err(Error::invalid(format!("invalid platform {shown:?}: must be os/arch[/variant]"))),
        }
    }

    /// The same platform in the one spelling that is compared.
    pub fn normalized(&self) -> Platform {
        let os = match self.os.to_ascii_lowercase().as_str() {
            "" => "linux".to_owned(),
            "macos" => "darwin".to_owned(),
            os => os.to_owned(),
        };
        let variant = self.variant.to_ascii_lowercase();
        let (architecture, variant) =
            match (self.architecture.to_ascii_lowercase().as_str(), variant.as_str()) {
                ("i386" | "386", _) => ("386".to_owned(), String::new()),
                ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64".to_owned(), String::new()),
                ("x86_64" | "x86-64" | "amd64", variant) => ("amd64".to_owned(), variant.to_owned()),
                ("aarch64" | "arm64", "8" | "v8" | "8.0" | "v8.0") => ("arm64".to_owned(), String::new()),
                ("aarch64" | "arm64", variant) => ("arm64".to_owned(), variant.to_owned()),
                ("armhf", _) => ("arm".to_owned(), "v7".to_owned()),
                ("armel", _) => ("arm".to_owned(), "v6".to_owned()),
                ("arm", "" | "7") => ("arm".to_owned(), "v7".to_owned()),
                ("arm", "5" | "6" | "8") => ("arm".to_owned(), format!("v{variant}")),
                (other, variant) => (other.to_owned(), variant.to_owned()),
            };
        Platform { os, architecture, variant, os_version: self.os_version.clone() }
    }

    /// The platforms that run on this one, the best first.
    fn compatible(&self) -> Vec<Platform> {
        let own = self.normalized();
        let with = |architecture: &str, variant: String| Platform {
            architecture: architecture.to_owned(),
            variant,
            ..own.clone()
        };
        let mut all = vec![own.clone()];
        match own.architecture.as_str() {
            "amd64" => {
                let version = own.variant.strip_prefix('v').and_then(|v| v.parse::<u8>().ok()).unwrap_or(1);
                all.extend((1..version.min(9)).rev().map(|v| with("amd64", format!("v{v}")).normalized()));
                all.push(with("386", String::new()));
            }
            "arm64" => {
                all.extend(arm64_below(&own.variant).into_iter().map(|variant| with("arm64", variant)));
                all.extend((5..=8).rev().map(|v| with("arm", format!("v{v}"))));
            }
            "arm" => {
                let version = own.variant.strip_prefix('v').and_then(|v| v.parse::<u8>().ok()).unwrap_or(5);
                all.extend((5..version.min(9)).rev().map(|v| with("arm", format!("v{v}"))));
            }
            _ => {}
        }
        all
    }

    /// How well `offered` runs on this platform: 0 is best, `None` not at all.
    pub fn rank(&self, offered: &Platform) -> Option<usize> {
        let offered = offered.normalized();
        self.compatible().iter().position(|fit| {
            fit.os == offered.os
                && fit.architecture == offered.architecture
                && fit.variant == offered.variant
                && (fit.os_version.is_empty()
                    || offered.os_version.is_empty()
                    || fit.os_version == offered.os_version)
        })
    }
}

/// The variants below an arm64 one: v9.N includes v8.(N+5) (Arm Architecture Reference Manual).
fn arm64_below(variant: &str) -> Vec<String> {
    let Some((major, minor)) = variant.strip_prefix('v').map(|v| v.split_once('.').unwrap_or((v, "0")))
    else {
        return Vec::new();
    };
    let (Ok(major), Ok(minor)) = (major.parse::<u8>(), minor.parse::<u8>()) else { return Vec::new() };
    let spelled =
        |major: u8, minor: u8| if minor == 0 { format!("v{major}") } else { format!("v{major}.{minor}") };
    let mut below: Vec<String> = (0..minor.min(9)).rev().map(|minor| spelled(major, minor)).collect();
    if major == 9 {
        below.extend((0..=(minor.min(4) + 5)).rev().map(|minor| spelled(8, minor)));
    }
    // Plain v8 is spelled as no variant at all.
    below.into_iter().map(|v| if v == "v8" { String::new() } else { v }).collect()
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best<'a>(host: &str, offered: &[&'a str]) -> Option<&'a str> {
        let host = Platform::parse(host).unwrap();
        let rank = |text: &str| host.rank(&Platform::parse(text).unwrap());
        offered.iter().filter(|text| rank(text).is_some()).min_by_key(|text| rank(text)).copied()
    }

    #[test]
    fn amd64_takes_its_own_before_386_and_no_newer() {
        assert_eq!(best("linux/amd64", &["linux/386", "linux/amd64", "linux/arm64"]), Some("linux/amd64"));
        assert_eq!(best("linux/amd64", &["linux/386"]), Some("linux/386"));
        assert_eq!(best("linux/amd64", &["linux/amd64/v3", "windows/amd64"]), None);
        assert_eq!(best("linux/amd64/v3", &["linux/amd64", "linux/amd64/v2"]), Some("linux/amd64/v2"));
    }

    #[test]
    fn arm_takes_the_nearest_older_variant() {
        assert_eq!(
            best("linux/arm/v7", &["linux/arm/v5", "linux/arm/v6", "linux/arm/v8"]),
            Some("linux/arm/v6")
        );
        assert_eq!(best("linux/arm64", &["linux/arm/v7", "linux/arm64/v8"]), Some("linux/arm64/v8"));
        assert_eq!(best("linux/arm64", &["linux/arm/v6", "linux/arm/v7"]), Some("linux/arm/v7"));
        assert_eq!(best("linux/arm64/v9.1", &["linux/arm64", "linux/arm64/v8.6"]), Some("linux/arm64/v8.6"));
    }

    #[test]
    fn spellings_meet() {
        assert_eq!(Platform::parse("x86_64").unwrap(), Platform::parse("linux/amd64").unwrap());
        assert_eq!(Platform::parse("aarch64").unwrap(), Platform::parse("linux/arm64/v8").unwrap());
        assert_eq!(Platform::parse("linux/armhf").unwrap().to_string(), "linux/arm/v7");
        assert!(Platform::parse("linux//v7").is_err());
        assert!(Platform::parse("a/b/c/d").is_err());
    }
}
