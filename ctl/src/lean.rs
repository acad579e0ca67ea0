//! The command line with one verb. To describe all verbs with all their flags, only to understand one of them, takes as long as the rest of
//! a short command.

use std::ffi::{OsStr, OsString};

use clap::{Args, Command, FromArgMatches};

use crate::cli::{Cli, Globals};
use crate::commands::*;

/// Global flags with a value of their own.
const WITH_VALUE: [&str; 3] = ["-H", "--address", "--namespace"];

/// Understands the common verbs. `None` for all else: other verbs, help, mistakes; the whole description answers those.
pub(crate) fn parse(words: Vec<OsString>) -> Option<Cli> {
    let verb = describe(verb_of(&words)?)?;
    let whole = Globals::augment_args(Command::new("rctl")).subcommand(verb).disable_help_subcommand(true);
    let matches = whole.try_get_matches_from(words).ok()?;
    Cli::from_arg_matches(&matches).ok()
}

/// The first word that is neither a flag nor a flag's value.
fn verb_of(words: &[OsString]) -> Option<&str> {
    let mut rest = words.iter().skip(1).map(OsString::as_os_str);
    loop {
        let word: &OsStr = rest.next()?;
        match word.to_str()? {
            flag if WITH_VALUE.contains(&flag) => drop(rest.next()?),
            flag if flag.starts_with('-') => {}
            verb => return Some(verb),
        }
    }
}

fn describe(verb: &str) -> Option<Command> {
    let empty = Command::new(verb.to_owned());
    Some(match verb {
        "run" => run::Args::augment_args(empty),
        "create" => create::Args::augment_args(empty),
        "exec" => exec::Args::augment_args(empty),
        "ps" => ps::Args::augment_args(empty),
        "logs" => logs::Args::augment_args(empty),
        "start" => start::Args::augment_args(empty),
        "stop" => stop::Args::augment_args(empty),
        "kill" => kill::Args::augment_args(empty),
        "rm" => rm::Args::augment_args(empty),
        "wait" => wait::Args::augment_args(empty),
        "inspect" => inspect::Args::augment_args(empty),
        "images" => images::Args::augment_args(empty),
        "pull" => pull::Args::augment_args(empty),
        "version" => version::Args::augment_args(empty),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        std::iter::once("rctl").chain(line.split(' ')).map(OsString::from).collect()
    }

    #[test]
    fn one_verb_is_understood_as_among_all() {
        for line in [
            "run --rm -it -v /a:/b --name n busybox sh -c x --rm",
            "--address /s run -d busybox",
            "-H /s --namespace run exec -it c sh",
            "run --address /s --trace --rm busybox true",
            "--trace ps -a --format json",
            "logs -f --tail 3 c",
            "rm -f a b",
            "stop -t 3 c",
            "kill -s TERM c",
            "version --format json",
            "images -q",
            "inspect a b",
        ] {
            let lean = parse(words(line)).unwrap_or_else(|| panic!("{line}"));
            let whole = Cli::try_parse_from(words(line)).unwrap();
            assert_eq!(format!("{lean:?}"), format!("{whole:?}"), "{line}");
        }
    }

    #[test]
    fn all_else_is_left_to_the_whole_description() {
        for line in [
            "",
            "--help",
            "help",
            "run --help",
            "run",
            "run --nonsense busybox",
            "nonsense",
            "ls",
            "--version",
            "snapshots ls",
            "version --help",
        ] {
            assert!(parse(words(line)).is_none(), "{line}");
        }
    }
}
