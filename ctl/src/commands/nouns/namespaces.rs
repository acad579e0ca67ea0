//! `rctl namespaces`: the walls between containerd's clients.

use clap::Subcommand;
use proto_containerd::services::namespaces as api;

use super::{label_mask, labels, pairs};
use crate::commands::each;
use crate::context::Context;
use crate::failure::Result;
use crate::output::table::Table;

/// Verbs of `namespaces`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Create a namespace
    #[command(visible_alias = "c")]
    Create {
        /// Its name
        name: String,
        /// Its labels
        #[arg(value_name = "KEY=VALUE")]
        labels: Vec<String>,
    },
    /// List namespaces
    #[command(visible_alias = "list")]
    Ls {
        /// Print names only
        #[arg(short, long)]
        quiet: bool,
    },
    /// Remove empty namespaces
    #[command(visible_alias = "remove")]
    Rm {
        /// Their names
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Set labels, or clear those without a value
    Label {
        /// The namespace
        name: String,
        /// The labels
        #[arg(required = true, value_name = "KEY=VALUE")]
        labels: Vec<String>,
    },
}

/// Carries a verb out.
pub async fn run(context: &Context, verb: Verb) -> Result<u8> {
    let client = context.client().await?;
    let mut namespaces = client.namespaces();
    match verb {
        Verb::Create { name, labels } => {
            let namespace = Some(api::Namespace { name, labels: pairs(&labels)? });
            namespaces.create(api::CreateNamespaceRequest { namespace }).await?;
            Ok(0)
        }
        Verb::Ls { quiet } => {
            let all = namespaces.list(api::ListNamespacesRequest::default()).await?.into_inner().namespaces;
            list(&all, quiet);
            Ok(0)
        }
        Verb::Rm { names } => {
            each(&names, |name| {
                let mut namespaces = client.namespaces();
                async move {
                    namespaces.delete(api::DeleteNamespaceRequest { name: name.clone() }).await?;
                    outln!("{name}");
                    Ok(())
                }
            })
            .await
        }
        Verb::Label { name, labels } => {
            let labels = pairs(&labels)?;
            let update_mask = label_mask(&labels);
            let namespace = Some(api::Namespace { name, labels });
            namespaces.update(api::UpdateNamespaceRequest { namespace, update_mask }).await?;
            Ok(0)
        }
    }
}

fn list(namespaces: &[api::Namespace], quiet: bool) {
    if quiet {
        return namespaces.iter().for_each(|namespace| outln!("{}", namespace.name));
    }
    let mut table = Table::new(&["NAME", "LABELS"]);
    for namespace in namespaces {
        let shown = if namespace.labels.is_empty() { String::new() } else { labels(&namespace.labels) };
        table.row(vec![namespace.name.clone(), shown]);
    }
    out!("{}", table.render());
}
