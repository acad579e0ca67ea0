//! `plan`: what `create` would do with a bundle, without doing any of it. For people who debug; runc has no such verb.

use std::fmt::Write as _;

use crate::cli::{Arity, Global, Matches, Verb};
use crate::error::{Context, Result};
use crate::plan::mounts::IdMap;
use crate::plan::namespaces::Kind;
use crate::plan::{self, Choices, Plan};
use crate::stage::joined;
use crate::{out, spec};

/// The verb.
pub const VERB: Verb = Verb {
    name: "plan",
    args: "[container-id]",
    about: "print the steps by which a container would be created, each with the clause of the specification",
    flags: &[super::create::BUNDLE, super::create::NO_PIVOT, super::create::NO_NEW_KEYRING],
    arity: Arity::Range(0, 1),
    flags_stop: false,
    run,
};

fn run(_: &Global, matches: &Matches) -> Result<i32> {
    let given = matches.value("bundle").filter(|b| !b.is_empty()).unwrap_or(".");
    let bundle = std::fs::canonicalize(given).with_context(|| format!("chdir {given}"))?;
    let choices = Choices {
        no_pivot: matches.flag("no-pivot"),
        no_new_keyring: matches.flag("no-new-keyring"),
        await_start: true,
        ..Choices::of_this_process()
    };
    let id = matches.args().first().map_or("ID", String::as_str);
    let mut spec = spec::load_of(&bundle, None)?.spec;
    joined::fill_in(&mut spec)?;
    let plan = plan::create(id, &bundle, &spec, &choices)?;
    out::line(text(&plan).trim_end())?;
    Ok(0)
}

/// The plan for reading: what the command does, then the steps of the new process in order.
fn text(plan: &Plan) -> String {
    let mut text = String::new();
    let mut line = |what: &str, value: String| {
        let _ = writeln!(text, "{what:<12} {value}");
    };
    line("rootfs", format!("{} [config.md, Root]", plan.rootfs.display()));
    let kinds = |kinds: Vec<Kind>| kinds.iter().map(|k| k.file()).collect::<Vec<_>>().join(" ");
    line("new", format!("{} [config-linux.md, Namespaces]", kinds(plan.namespaces.new.clone())));
    for (kind, path) in &plan.namespaces.join {
        line("join", format!("{} {} [config-linux.md, Namespaces]", kind.file(), path.display()));
    }
    for (name, maps) in [("uid map", &plan.uid_maps), ("gid map", &plan.gid_maps)] {
        for map in IdMap::lines(maps).lines() {
            line(name, format!("{map} [config-linux.md, User namespace mappings]"));
        }
    }
    for offset in plan.time_offsets.lines() {
        line("clock", format!("{offset} [config-linux.md, Time Namespace Offsets]"));
    }
    for device in &plan.net_devices {
        line("net device", format!("{} as {} [config-linux.md, Network Devices]", device.host, device.name));
    }
    if let Some(rdt) = &plan.resctrl {
        line("resctrl", format!("{} [config-linux.md, IntelRdt]", rdt.group()));
    }
    let cgroup = plan.cgroups_path.as_ref().map_or(plan.id.clone(), |p| p.display().to_string());
    line("cgroup", format!("{cgroup} [config-linux.md, Cgroups Path]"));
    for (number, step) in plan.steps.iter().enumerate() {
        line(&format!("step {:>3}", number + 1), step.to_string());
    }
    text
}
