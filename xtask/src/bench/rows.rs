//! The rows of the benchmark, by the names that `--only` takes.

use clap::ValueEnum;

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Row {
    /// An executor's run
    RuncRun,
    /// An executor's create, start, delete
    RuncLifecycle,
    /// An executor's exec
    RuncExec,
    /// An executor's run with 100 bind mounts
    RuncMounts,
    /// An executor's run with docker's seccomp profile
    RuncSeccomp,
    /// An executor's run with 20 masked paths
    RuncMasked,
    /// An executor's peak memory
    RuncMemory,
    /// The smallest memory limit under which a container starts
    RuncLimit,
    /// Many creates at once
    RuncBurst,
    /// A whole container
    Run,
    /// A program in a running container
    Exec,
    /// Ending a container
    Stop,
    /// Removing a running container
    Rm,
    /// A client and one call
    Client,
    /// Many containers one after another
    InOrder,
    /// Many containers at once
    AtOnce,
    /// Memory of daemon and shim
    Memory,
    /// A killed daemon
    Restart,
    /// A thousand running containers
    Many,
    /// Pull and unpack
    Pull,
}

impl Row {
    /// Is it about executors alone?
    pub fn is_executor(self) -> bool {
        self.to_possible_value().is_some_and(|value| value.get_name().starts_with("runc-"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_executors_from_stacks() {
        assert!(Row::RuncBurst.is_executor());
        assert!(!Row::Run.is_executor());
        assert_eq!(Row::value_variants().iter().filter(|row| row.is_executor()).count(), 9);
    }
}
