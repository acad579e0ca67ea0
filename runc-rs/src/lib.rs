//! The OCI executor: runc's command line.

mod cgroup;
mod cli;
mod commands;
mod criu;
pub mod doors;
mod error;
mod log;
mod out;
mod plan;
mod process;
mod procfs;
mod resctrl;
mod root;
mod rtnetlink;
mod sealed;
mod spec;
mod stage;
mod state;
mod steps;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cli::{Flag, Global, Matches, Verb};
use error::{Context, Error, Result};

/// runtime-spec release whose fields are understood.
pub const SPEC_VERSION: &str = "1.3.0";

const FLAGS: &[Flag] = &[
    Flag::switch("debug", None, "enable debug logging"),
    Flag::value("log", None, "value", "set the log file to write logs to (default is stderr)"),
    Flag::value("log-format", None, "value", "set the log format ('text' (default), or 'json')"),
    Flag::value(
        "root",
        None,
        "value",
        "root directory for storage of container state (default: \"/run/runc\")",
    ),
    // Of older releases: criu is the one in $PATH.
    Flag::value("criu", None, "value", ""),
    Flag::switch("systemd-cgroup", None, "enable systemd cgroup support"),
    Flag::value("rootless", None, "value", "ignore cgroup permission errors ('true', 'false', or 'auto')"),
    Flag::switch("help", Some("h"), ""),
    Flag::switch("version", Some("v"), "print the version"),
];

/// The program.
pub fn main() -> ExitCode {
    // It may be called by a descriptor, whose number is no name.
    let _ = nix::sys::prctl::set_name(c"runc-rs");
    let args = words().and_then(|words| words.map(texts).transpose());
    marks::init("runc-rs");
    marks::trace::adopt();
    marks::passed("runc-rs.call.read");
    let args = match args {
        Ok(Some(args)) => args,
        // Nobody needs it any more.
        Ok(None) => return ExitCode::SUCCESS,
        Err(e) => {
            log::error(e.to_string());
            return ExitCode::FAILURE;
        }
    };
    match dispatch(&args) {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(255)),
        Err(e) => {
            log::error(e.to_string());
            let understood = !matches!(e, Error::Usage(_));
            ExitCode::from(if understood && exec_asked(&args) { 255 } else { 1 })
        }
    }
}

/// The arguments: those it was started with, or, if it was started to stand by (see [`standby`]), those it is called with then. `None` when
/// nobody will ever call.
fn words() -> Result<Option<Vec<OsString>>> {
    if !standby::stands_by() {
        return Ok(Some(std::env::args_os().skip(1).collect()));
    }
    // Later it would execute itself with the arguments of this moment.
    sealed::ensure()?;
    let waiting = standby::Waiting::new()?;
    if !standby::Waiting::whom().as_bytes().starts_with(standby::TO_DELETE.as_bytes()) {
        stage::rehearsal::go();
    }
    Ok(waiting.map(standby::Waiting::call).transpose()?.flatten())
}

fn texts(words: Vec<OsString>) -> Result<Vec<String>> {
    let text =
        |arg: OsString| arg.into_string().map_err(|arg| Error::new(format!("argument {arg:?} is not UTF-8")));
    words.into_iter().map(text).collect()
}

/// The exit status for a verb that does not exist.
const NO_TOPIC: i32 = 3;

/// A failing `exec` ends with 255, so that its failures are told from those of the program.
fn exec_asked(args: &[String]) -> bool {
    cli::parse(FLAGS, args, true).is_ok_and(|m| m.args().first().is_some_and(|verb| verb == "exec"))
}

fn dispatch(args: &[String]) -> Result<i32> {
    let matches = cli::parse(FLAGS, args, true)
        .inspect_err(|e| misread(&format!("Incorrect Usage. {e}"), &program_help()))?;
    if matches.flag("version") {
        out::line(&version())?;
        return Ok(0);
    }
    let verb = match matches.args().first() {
        None => return out::line(&program_help()).map(|()| 0),
        Some(_) if matches.flag("help") => return out::line(&program_help()).map(|()| 0),
        Some(name) if matches!(name.as_str(), "help" | "h") => return help(matches.args().get(1)),
        Some(name) => match find(name) {
            Ok(verb) => verb,
            Err(e) => return Ok(no_topic(&e)),
        },
    };
    log::init(matches.value("log"), matches.value("log-format").unwrap_or_default(), matches.flag("debug"))?;
    if matches.value("criu").is_some() {
        log::warn("--criu ignored (criu binary from $PATH is used); do not use");
    }
    let global = global(&matches)?;
    call(verb, &global, &matches.args()[1..])
}

fn call(verb: &Verb, global: &Global, args: &[String]) -> Result<i32> {
    let asks_help = |a: &String| matches!(a.as_str(), "-h" | "--help" | "-help" | "--h");
    if args.first().is_some_and(asks_help) || (!verb.flags_stop && args.iter().any(asks_help)) {
        return out::line(&cli::verb_help(verb)).map(|()| 0);
    }
    let show = |head: &str| misread(head, &cli::verb_help(verb));
    let matches = cli::parse(verb.flags, args, verb.flags_stop)
        .inspect_err(|e| show(&format!("Incorrect Usage: {e}")))?;
    cli::check_arity(verb, matches.args().len()).inspect_err(|_| show("Incorrect Usage."))?;
    (verb.run)(global, &matches)
}

fn no_topic(e: &Error) -> i32 {
    log::error(e.to_string());
    NO_TOPIC
}

fn find(name: &str) -> Result<&'static Verb> {
    commands::VERBS
        .iter()
        .find(|v| v.name == name)
        .copied()
        .ok_or_else(|| Error::new(format!("No help topic for '{name}'")))
}

fn help(topic: Option<&String>) -> Result<i32> {
    match topic.map(|name| find(name)) {
        Some(Ok(verb)) => out::line(&cli::verb_help(verb)).map(|()| 0),
        Some(Err(e)) => Ok(no_topic(&e)),
        None => out::line(&program_help()).map(|()| 0),
    }
}

/// A command line that cannot be read shows the help on standard output; the error itself follows on standard error.
fn misread(head: &str, help: &str) {
    let _ = out::line(&format!("{head}\n\n{help}"));
}

fn global(matches: &Matches) -> Result<Global> {
    if let Some(rootless) = rootless(matches.value("rootless").unwrap_or_default())? {
        cgroup::bear_refusals(rootless);
    }
    Ok(Global { root: root_dir(matches.value("root"))?, systemd_cgroup: matches.flag("systemd-cgroup") })
}

fn root_dir(given: Option<&str>) -> Result<PathBuf> {
    let path = match given {
        Some("") | None => default_root(),
        Some(path) => PathBuf::from(path),
    };
    let path = std::path::absolute(&path).with_context(|| format!("resolve {}", path.display()))?;
    if path == Path::new("/") {
        return Err(Error::new("Option --root argument should not be set to /"));
    }
    Ok(path)
}

/// `--rootless`, as Go reads a boolean; nothing is decided by `auto`.
fn rootless(text: &str) -> Result<Option<bool>> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Some(true)),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Some(false)),
        text if text.is_empty() || text.eq_ignore_ascii_case("auto") => Ok(None),
        other => Err(Error::new(format!("invalid --rootless value {other:?}: must be true, false or auto"))),
    }
}

fn default_root() -> PathBuf {
    let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").filter(|d| !d.is_empty());
    match runtime_dir {
        Some(dir) if honours_runtime_dir() => Path::new(&dir).join("runc"),
        _ => PathBuf::from("/run/runc"),
    }
}

/// A user's own folder is for users: root of a user namespace is one, unless it calls itself root.
fn honours_runtime_dir() -> bool {
    let root = nix::unistd::geteuid().is_root();
    !root || (process::in_user_namespace() && std::env::var_os("USER").is_none_or(|user| user != "root"))
}

/// The shape of runc's: dockerd and others look for "version" and "commit:".
fn version() -> String {
    let seccomp = libseccomp::ScmpVersion::current().map(|v| format!("\nlibseccomp: {v}"));
    format!(
        "{} version {version}\ncommit: runc-rs-{version}\nspec: {SPEC_VERSION}{}",
        cli::program(),
        seccomp.unwrap_or_default(),
        version = env!("CARGO_PKG_VERSION"),
    )
}

fn program_help() -> String {
    let program = cli::program();
    let mut text = format!(
        "NAME:\n   {program} - Open Container Initiative runtime\n\nUSAGE:\n   {program} [global options] command [command options] [arguments...]\n\nCOMMANDS:\n",
    );
    let help = ("help, h", "show this list, or the help of a command");
    for (name, about) in commands::VERBS.iter().map(|verb| (verb.name, verb.about)).chain([help]) {
        text.push_str(&format!("   {name:<12} {about}\n"));
    }
    text.push_str("\nGLOBAL OPTIONS:\n");
    text + &cli::flag_help(FLAGS)
}
