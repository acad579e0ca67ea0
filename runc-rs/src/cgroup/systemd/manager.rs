//! systemd's own interface on the bus (org.freedesktop.systemd1(5)).

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::dbus::{Connection, Error as BusError, Message, Target, Value};
use super::unit::Unit;
use crate::cgroup::{Error, Result};
use crate::log;

/// How long systemd may take for a job.
const JOB_WITHIN: Duration = Duration::from_secs(30);

const SYSTEM_BUS: &str = "unix:path=/run/dbus/system_bus_socket";
/// Where systemd listens itself, for root alone and where no bus runs.
const PRIVATE: &str = "unix:path=/run/systemd/private";

const NAME: &str = "org.freedesktop.systemd1";
const OBJECT: &str = "/org/freedesktop/systemd1";
const INTERFACE: &str = "org.freedesktop.systemd1.Manager";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// A unit's property.
pub type Property = (String, Value);

/// A connection to a service manager.
#[derive(Debug)]
pub struct ServiceManager {
    connection: Connection,
    destination: Option<&'static str>,
}

impl ServiceManager {
    /// Connects to the system's, or to the user's own.
    pub fn connect(user: bool) -> Result<Self> {
        let failed = |e: BusError| Error::Systemd(format!("cannot reach systemd: {e}"));
        let mut this = match user {
            true => Self {
                connection: Connection::to_bus(&user_bus()?).map_err(failed)?,
                destination: Some(NAME),
            },
            false => Self::system().map_err(failed)?,
        };
        let jobs = this.target(INTERFACE);
        if this.destination.is_some() {
            this.connection.subscribe(jobs, "JobRemoved").map_err(failed)?;
        }
        Ok(this)
    }

    fn system() -> std::result::Result<Self, BusError> {
        let bus = std::env::var("DBUS_SYSTEM_BUS_ADDRESS").ok().filter(|address| !address.is_empty());
        match Connection::to_bus(bus.as_deref().unwrap_or(SYSTEM_BUS)) {
            Ok(connection) => Ok(Self { connection, destination: Some(NAME) }),
            Err(error) => match Connection::direct(PRIVATE) {
                Ok(connection) => Ok(Self { connection, destination: None }),
                Err(_) => Err(error),
            },
        }
    }

    fn target(&self, interface: &'static str) -> Target<'static> {
        Target { destination: self.destination, path: OBJECT, interface }
    }

    fn call(&mut self, method: &str, body: &[Value]) -> std::result::Result<Vec<Value>, BusError> {
        self.connection.call(self.target(INTERFACE), method, body)
    }

    /// Makes the scope and waits until it is there. A failed unit of that name, which nobody can use, makes room for it.
    pub fn start(&mut self, unit: &Unit, properties: &[Property]) -> Result<()> {
        let name = unit.scope();
        let no_others = Value::Array("(sa(sv))".into(), Vec::new());
        let body = [Value::text(&name), Value::text("replace"), list(properties), no_others];
        let mut job = self.call("StartTransientUnit", &body);
        if job.as_ref().is_err_and(|e| e.is("org.freedesktop.systemd1.UnitExists")) {
            self.reset(&name);
            job = self.call("StartTransientUnit", &body);
        }
        let job = job.map_err(|e| Error::Systemd(format!("unable to start unit {name:?}: {e}")))?;
        match self.await_job(&job)?.as_str() {
            "done" => Ok(()),
            result => {
                self.reset(&name);
                Err(Error::Systemd(format!("error creating systemd unit `{name}`: got `{result}`")))
            }
        }
    }

    /// Ends the scope, with whatever is in it, and lets systemd forget it. No error when there is none.
    pub fn stop(&mut self, unit: &Unit) -> Result<()> {
        let name = unit.scope();
        match self.call("StopUnit", &[Value::text(&name), Value::text("replace")]) {
            Ok(job) => match self.await_job(&job)?.as_str() {
                "done" => {}
                result => log::warn(format!("error removing unit `{name}`: got `{result}`. Continuing...")),
            },
            Err(e) if e.is("org.freedesktop.systemd1.NoSuchUnit") => return Ok(()),
            Err(e) => return Err(Error::Systemd(format!("unable to stop unit {name:?}: {e}"))),
        }
        self.reset(&name);
        Ok(())
    }

    /// A unit that has not failed, or is no more, need not be forgotten.
    fn reset(&mut self, name: &str) {
        let _ = self.call("ResetFailedUnit", &[Value::text(name)]);
    }

    /// Changes properties until the unit ends.
    pub fn set(&mut self, unit: &Unit, properties: &[Property]) -> Result<()> {
        let body = [Value::text(unit.scope()), Value::Bool(true), list(properties)];
        let done = self.call("SetUnitProperties", &body);
        done.map(drop).map_err(|e| Error::Systemd(format!("unable to set unit properties: {e}")))
    }

    /// Has systemd, which may, move a process into the unit's cgroup or one below it.
    pub fn attach(&mut self, unit: &Unit, below: &str, pid: i32) -> Result<()> {
        let pid = u32::try_from(pid).unwrap_or_default();
        let pids = Value::Array("u".into(), vec![Value::U32(pid)]);
        let done = self.call("AttachProcessesToUnit", &[Value::text(unit.scope()), Value::text(below), pids]);
        done.map(drop)
            .map_err(|e| Error::Systemd(format!("unable to attach process {pid} to {}: {e}", unit.scope())))
    }

    /// Major version; 0 if systemd tells none.
    pub fn version(&mut self) -> Result<u32> {
        Ok(parse_version(&self.property("Version")?))
    }

    /// The cgroup of the service manager itself, from the root of the hierarchy.
    pub fn cgroup(&mut self) -> Result<PathBuf> {
        Ok(Path::new("/").join(self.property("ControlGroup")?))
    }

    fn property(&mut self, name: &str) -> Result<String> {
        let target = self.target(PROPERTIES);
        let failed =
            |reason: String| Error::Systemd(format!("unable to get property {name} of systemd: {reason}"));
        let answer = self.connection.call(target, "Get", &[Value::text(INTERFACE), Value::text(name)]);
        let answer = answer.map_err(|e| failed(e.to_string()))?;
        let text = answer.first().and_then(Value::as_text);
        text.map(str::to_owned).ok_or_else(|| failed(format!("{answer:?} is no text")))
    }

    /// How the job ended: `done`, `failed` and so on.
    fn await_job(&mut self, started: &[Value]) -> Result<String> {
        let job = started.first().and_then(Value::as_text).unwrap_or_default();
        let result = |message: &Message| match message.body.as_slice() {
            [_, Value::Path(path), _, Value::Text(result)]
                if message.member == "JobRemoved" && path == job =>
            {
                Some(result.clone())
            }
            _ => None,
        };
        let failed = |e| Error::Systemd(format!("waiting for systemd's job {job}: {e}"));
        self.connection.signal(Instant::now() + JOB_WITHIN, result).map_err(failed)
    }
}

/// `252.39-1~deb12u1`, `v245`: the first number.
fn parse_version(text: &str) -> u32 {
    let digits: String =
        text.trim_start_matches(['"', 'v']).chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_default()
}

/// `a(sv)`
fn list(properties: &[Property]) -> Value {
    let item = |(name, value): &Property| Value::Struct(vec![Value::text(name), value.clone().variant()]);
    Value::Array("(sv)".into(), properties.iter().map(item).collect())
}

/// Where the user's bus is: as the environment says, or where systemd puts it.
fn user_bus() -> Result<String> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(address) = variable("DBUS_SESSION_BUS_ADDRESS") {
        return Ok(address);
    }
    match variable("XDG_RUNTIME_DIR") {
        Some(dir) => Ok(format!("unix:path={dir}/bus")),
        None => Err(Error::Systemd(
            "cannot reach systemd: neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set".into(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (text, version) in
            [("252.39-1~deb12u1", 252), ("v245", 245), ("\"v249.11\"", 249), ("", 0), ("x", 0)]
        {
            assert_eq!(parse_version(text), version, "{text}");
        }
    }

    #[test]
    fn properties_are_an_array_of_pairs() {
        assert_eq!(list(&[("Delegate".into(), Value::Bool(true))]).signature(), "a(sv)");
        assert_eq!(list(&[]).signature(), "a(sv)");
    }
}
