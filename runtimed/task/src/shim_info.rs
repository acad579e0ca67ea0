//! Asks a shim's program what it is: `shim -info`, with the runtime's options as an `Any` on standard input; it prints a `RuntimeInfo`.
//! containerd's shims know it since 2.0.

use errors::{Context, Error, Kind, Result, WithKind};
use prost_types::Any;
use proto_shim::Message;
use proto_shim::types::RuntimeInfo;

use crate::shim_conn::convert::theirs;
use crate::shim_lookup;
use crate::shim_start::{program, run};
use crate::types::Config;

/// What clients find the answer under.
const TYPE: &str = "containerd.types.RuntimeInfo";

/// Runs the program that stands for `runtime`; answers what it printed, once that has been read.
pub(crate) async fn info(config: &Config, runtime: &str, options: Option<&Any>) -> Result<Any> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let binary = shim_lookup::find(runtime, &config.runtimes, &path, &config.binary)?;
    let input = options.map(|options| theirs(options).write_to_bytes()).transpose();
    let input = input.kind(Kind::Internal, || "encode the runtime's options")?.unwrap_or_default();
    let mut command = program(config, &binary);
    command.arg("-info");
    let shown = || format!("{} -info", binary.display());
    let output = run(command, &input, config.shim_timeout).await.context(shown)?;
    if !output.success {
        return Err(Error::internal(format!("{}: {}: {}", shown(), output.complaint(), output.status)));
    }
    RuntimeInfo::parse_from_bytes(&output.stdout).kind(Kind::DataLoss, shown)?;
    Ok(Any { type_url: TYPE.to_owned(), value: output.stdout })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::time::Duration;

    use super::*;

    fn config(script: &Path, text: &str) -> Config {
        std::fs::write(script, text).unwrap();
        std::fs::set_permissions(script, std::fs::Permissions::from_mode(0o755)).unwrap();
        Config {
            state: "/s".into(),
            root: "/r".into(),
            address: "/a".into(),
            ttrpc_address: "/a.ttrpc".into(),
            binary: "/d".into(),
            runtimes: [("some.v1".to_owned(), script.to_owned())].into(),
            shim_timeout: Duration::from_secs(30),
            timeouts: crate::Timeouts::default(),
            debug: false,
            standby: false,
        }
    }

    #[tokio::test]
    async fn the_program_is_given_the_options_and_its_answer_is_handed_on() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("shim");
        // Field 1, the name: "some".
        let text = "#!/bin/sh\n[ \"$*\" = -info ] && cat > \"$0.input\" && printf '\\012\\004some'\n";
        let config = config(&script, text);
        let options = Any { type_url: "o".into(), value: vec![7] };
        let told = info(&config, "some.v1", Some(&options)).await.unwrap();
        assert_eq!(told.type_url, "containerd.types.RuntimeInfo");
        assert_eq!(RuntimeInfo::parse_from_bytes(&told.value).unwrap().name, "some");
        assert_eq!(std::fs::read(folder.path().join("shim.input")).unwrap(), b"\x0a\x01o\x12\x01\x07");
    }

    #[tokio::test]
    async fn one_that_does_not_know_the_flag_says_so_itself() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(&folder.path().join("shim"), "#!/bin/sh\necho no such flag >&2; exit 2\n");
        let error = info(&config, "some.v1", None).await.unwrap_err();
        assert!(error.message().ends_with("shim -info: no such flag: exit status: 2"), "{error}");
        assert!(info(&config, "none.v1", None).await.unwrap_err().is_not_found());
    }
}
