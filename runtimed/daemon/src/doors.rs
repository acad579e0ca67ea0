//! Doors for tests: a configuration file as anybody may have written it.

use crate::config::Config;

/// Reads a configuration. One that is taken is taken again as it would be dumped.
pub fn config(text: &str) {
    let Ok(config) = Config::parse(text) else { return };
    let dumped = toml::to_string(&config);
    assert!(dumped.is_ok_and(|dumped| Config::parse(&dumped).is_ok_and(|again| again == config)), "{text:?}");
}
