//! `rctl plugins`: what the daemon is made of.

use clap::Subcommand;
use proto_containerd::services::introspection as api;
use proto_containerd::types::Platform;

use crate::context::Context;
use crate::failure::{Result, plain};
use crate::output::table::Table;

/// Verbs of `plugins`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List the daemon's plugins
    #[command(visible_alias = "list")]
    Ls {
        /// Print ids only
        #[arg(short, long)]
        quiet: bool,
        /// Print everything that is known of each
        #[arg(short, long)]
        detailed: bool,
        /// Only plugins that one of these filters takes
        filters: Vec<String>,
    },
}

/// Carries a verb out.
pub async fn run(context: &Context, verb: Verb) -> Result<u8> {
    let Verb::Ls { quiet, detailed, filters } = verb;
    let client = context.client().await?;
    let plugins = client.introspection().plugins(api::PluginsRequest { filters }).await?.into_inner().plugins;
    if quiet {
        plugins.iter().for_each(|plugin| outln!("{}", plugin.id));
    } else if detailed {
        let texts: Vec<String> = plugins.iter().map(details).collect();
        out!("{}", plain(&texts.join("\n")));
    } else {
        let mut table = Table::new(&["TYPE", "ID", "PLATFORMS", "STATUS"]);
        for plugin in plugins {
            let platforms = platforms(&plugin.platforms);
            let state = state(&plugin).to_owned();
            table.row(vec![plugin.r#type, plugin.id, platforms, state]);
        }
        out!("{}", table.render());
    }
    Ok(0)
}

fn state(plugin: &api::Plugin) -> &'static str {
    match &plugin.init_err {
        None => "ok",
        Some(error) if error.message.contains("skip plugin") => "skip",
        Some(_) => "error",
    }
}

fn platforms(platforms: &[Platform]) -> String {
    let shown: Vec<String> = platforms
        .iter()
        .map(|platform| {
            let variant =
                if platform.variant.is_empty() { String::new() } else { format!("/{}", platform.variant) };
            format!("{}/{}{variant}", platform.os, platform.architecture)
        })
        .collect();
    if shown.is_empty() { "-".to_owned() } else { shown.join(",") }
}

fn details(plugin: &api::Plugin) -> String {
    let mut text = format!("Type:          {}\nID:            {}\n", plugin.r#type, plugin.id);
    let mut section = |title: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            text.push_str(&format!("{title}:\n"));
            lines.iter().for_each(|line| text.push_str(&format!("               {line}\n")));
        }
    };
    section("Requires", plugin.requires.clone());
    section("Platforms", plugin.platforms.iter().map(|one| platforms(std::slice::from_ref(one))).collect());
    section("Exports", plugin.exports.iter().map(|(key, value)| format!("{key}: {value}")).collect());
    section("Capabilities", plugin.capabilities.clone());
    if let Some(error) = &plugin.init_err {
        section(
            "Error",
            vec![format!("Code:        {}", error.code), format!("Message:     {}", error.message)],
        );
    }
    text
}
