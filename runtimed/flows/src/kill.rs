//! Signals: to a container that runs, by a name or number that people type.

use errors::{Error, Result};
use ids::{ContainerId, Namespace};
use nix::sys::signal::Signal;
use task::Status;

use crate::Flows;

/// The number of a signal by name (with or without `SIG`, in any case) or number; docker's words when there is none such.
pub fn parse_signal(text: &str) -> Result<u32> {
    let invalid = || Error::invalid(format!("invalid signal: {}", text.chars().take(64).collect::<String>()));
    if let Ok(number) = text.parse::<u32>() {
        return if (1..=64).contains(&number) { Ok(number) } else { Err(invalid()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(number) = real_time(name) {
        return Ok(number);
    }
    let signal: Signal = format!("SIG{name}").parse().map_err(|_| invalid())?;
    Ok(signal as u32)
}

/// RTMIN+n and RTMAX-n; the C library keeps 32 and 33 for itself.
fn real_time(name: &str) -> Option<u32> {
    const RTMIN: u32 = 34;
    const RTMAX: u32 = 64;
    let (base, offset, up) = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => (RTMIN, rest.strip_prefix('+'), true),
        (_, Some(rest)) => (RTMAX, rest.strip_prefix('-'), false),
        _ => return None,
    };
    let Some(offset) = offset else { return (name.len() == 5).then_some(base) };
    let offset: u32 = offset.parse().ok()?;
    let number = if up { base.checked_add(offset)? } else { base.checked_sub(offset)? };
    (RTMIN..=RTMAX).contains(&number).then_some(number)
}

impl Flows {
    /// Sends a signal to the first process of a container.
    pub async fn kill(&self, namespace: &Namespace, id: &ContainerId, signal: &str) -> Result<()> {
        let number = parse_signal(if signal.is_empty() { "KILL" } else { signal })?;
        let not_running =
            || Error::precondition(format!("cannot kill container: {id}: container {id} is not running"));
        let tasks = &self.rooms().tasks;
        let process = match tasks.get(namespace, id, "").await {
            Err(error) if error.is_not_found() => return Err(not_running()),
            process => process?,
        };
        match process.status {
            Status::Stopped | Status::Created => return Err(not_running()),
            _ => {}
        }
        let _step = marks::step("flows.kill.signal")?;
        match tasks.kill(namespace, id, "", number, false).await {
            Err(error) if error.is_not_found() => return Err(not_running()),
            Err(error) if self.ends_with_its_shim(namespace, id, &error).await? => return Err(not_running()),
            other => other?,
        }
        marks::passed("flows.kill.sent");
        // Nothing frozen can die.
        if process.status == Status::Paused && number == Signal::SIGKILL as u32 {
            self.thaw(namespace, id).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_every_spelling() {
        for (text, number) in [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigterm", 15),
            ("9", 9),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
        ] {
            assert_eq!(parse_signal(text).unwrap(), number, "{text}");
        }
        for bad in ["", "0", "65", "-1", "NOPE", "RTMIN+31", "RTMAX+1", "RTMINX"] {
            assert!(parse_signal(bad).unwrap_err().to_string().starts_with("invalid signal"), "{bad}");
        }
    }
}
