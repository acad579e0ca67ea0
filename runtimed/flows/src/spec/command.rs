//! What runs, and in which environment.

use errors::{Error, Result};

use super::ImageDefaults;
use crate::config::ContainerConfig;

/// Entrypoint and arguments, as docker puts them together: an entrypoint of the person's own drops the image's Cmd.
pub fn command(config: &ContainerConfig, image: &ImageDefaults) -> Result<Vec<String>> {
    let (entrypoint, default_args) = match &config.entrypoint {
        Some(own) => (own.iter().filter(|part| !part.is_empty()).cloned().collect(), Vec::new()),
        None => (image.entrypoint.clone(), image.cmd.clone()),
    };
    let args = if config.args.is_empty() { default_args } else { config.args.clone() };
    let command: Vec<String> = entrypoint.into_iter().chain(args).collect();
    if command.is_empty() {
        return Err(Error::invalid("no command specified"));
    }
    if let Some(part) = command.iter().find(|part| part.contains('\0')) {
        return Err(Error::invalid(format!("the command has a NUL byte: {part:?}")));
    }
    Ok(command)
}

/// `base` with `over`: an entry of the same name takes the place of the old one, an entry without `=` removes it.
pub fn merge_env(base: Vec<String>, over: &[String]) -> Vec<String> {
    let mut merged = base;
    for entry in over {
        let name = entry.split_once('=').map_or(entry.as_str(), |(name, _)| name);
        let place =
            merged.iter().position(|old| old.split_once('=').map_or(old.as_str(), |(old, _)| old) == name);
        match (place, entry.contains('=')) {
            (Some(place), true) => merged[place] = entry.clone(),
            (Some(place), false) => drop(merged.remove(place)),
            (None, true) => merged.push(entry.clone()),
            (None, false) => {}
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(all: &[&str]) -> Vec<String> {
        all.iter().map(|text| text.to_string()).collect()
    }

    #[test]
    fn entrypoint_and_arguments_as_docker() {
        let image = ImageDefaults { entrypoint: texts(&["/e"]), cmd: texts(&["c"]), ..Default::default() };
        let with = |entrypoint: Option<&[&str]>, args: &[&str]| {
            let config = ContainerConfig {
                entrypoint: entrypoint.map(texts),
                args: texts(args),
                ..Default::default()
            };
            command(&config, &image)
        };
        assert_eq!(with(None, &[]).unwrap(), texts(&["/e", "c"]));
        assert_eq!(with(None, &["x"]).unwrap(), texts(&["/e", "x"]));
        assert_eq!(with(Some(&["/o"]), &[]).unwrap(), texts(&["/o"]));
        assert_eq!(with(Some(&[""]), &["x", "y"]).unwrap(), texts(&["x", "y"]));
        assert_eq!(with(Some(&[""]), &[]).unwrap_err().to_string(), "no command specified");
    }

    #[test]
    fn environments_are_merged_by_name() {
        let merged = merge_env(texts(&["A=1", "B=2", "C=3"]), &texts(&["B=9", "C", "D=4", "E"]));
        assert_eq!(merged, texts(&["A=1", "B=9", "D=4"]));
    }
}
