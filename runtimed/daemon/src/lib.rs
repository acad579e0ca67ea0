//! The daemon: configuration, wiring, listeners, shutdown.

mod args;
mod capabilities;
mod cgroups;
mod config;
pub mod doors;
mod greeting;
mod guests;
mod listen;
mod notify;
mod publish;
mod rest;
mod serve;
mod tracing_layer;
mod underway;
mod upkeep;
mod wiring;

use std::process::ExitCode;

use args::{Args, Command, ConfigVerb, MetadataVerb};
use clap::Parser;
use errors::{Context, Error, Kind, Result, WithKind};

/// The program.
pub fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("runtimed: {}", error.chain());
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    if args.version {
        return print(&format!("runtimed {} {}\n", telemetry::build::VERSION, telemetry::build::REVISION));
    }
    match &args.command {
        None => daemon(args),
        Some(Command::Config { verb: ConfigVerb::Default }) => print(config::DEFAULT),
        Some(Command::Config { verb: ConfigVerb::Check }) => args.configuration().map(drop),
        Some(Command::Config { verb: ConfigVerb::Dump }) => {
            let text =
                toml::to_string(&args.configuration()?).kind(Kind::Internal, || "write the configuration")?;
            print(&text)
        }
        Some(Command::Metadata { verb }) => runtime()?.block_on(metadata(&args.configuration()?, verb)),
        Some(Command::Publish { namespace, topic }) => {
            runtime()?.block_on(publish::publish(&args.configuration()?.grpc.address, namespace, topic))
        }
    }
}

/// Sentences go to standard output; whether something is wrong is the exit status.
async fn metadata(config: &config::Config, verb: &MetadataVerb) -> Result<()> {
    let _lock = match verb {
        MetadataVerb::Export => return upkeep::export(&config.root, &mut std::io::stdout().lock()),
        _ => wiring::lock(&config.root).await?,
    };
    match verb {
        MetadataVerb::Rebuild { force } => {
            for sentence in upkeep::rebuild(config, *force).await? {
                print(&format!("{sentence}\n"))?;
            }
            Ok(())
        }
        MetadataVerb::Check { deep } => {
            let findings = upkeep::check(&config.root, *deep)?;
            for finding in &findings {
                print(&format!("{finding}\n"))?;
            }
            match findings.len() {
                0 => print("the store is whole, and agrees with the disk\n"),
                _ => Err(Error::new(
                    Kind::DataLoss,
                    "the store is not as it should be; see `runtimed metadata rebuild`",
                )),
            }
        }
        MetadataVerb::Export => Ok(()),
    }
}

fn daemon(args: &Args) -> Result<()> {
    // As dockerd does: containers read files that are made here, whoever starts the daemon.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    sys::malloc::few_arenas();
    let config = args.configuration()?;
    let faults = marks::init("runtimed");
    telemetry::init(&config.log.level, &config.log.format)
        .map_err(|text| Error::invalid(format!("log: {text}")))?;
    if faults {
        tracing::warn!("fault points are switched on by {}", marks::FAULTS);
    }
    // Among the threads that serve: the one that is here would be woken for each connection.
    runtime()?
        .block_on(async { tokio::spawn(async move { serve::serve(&config).await }).await })
        .map_err(|error| Error::internal(format!("serve: {error}")))?
}

/// Requests are served by half as many threads as there are processors: each takes microseconds, and to wake a second thread for a part of it
/// takes longer than that, on a processor that the containers want. What computes or waits for a disk does so in threads of its own.
fn runtime() -> Result<tokio::runtime::Runtime> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads((processors / 2).max(1))
        .enable_all()
        .build()
        .context(|| "start the async runtime")
}

fn print(text: &str) -> Result<()> {
    use std::io::Write;
    std::io::stdout().write_all(text.as_bytes()).context(|| "write to stdout")
}
