//! Image names, registry client, import, export, unpack.
//!
//! [`Names`] keeps what a name points to. [`Images`] moves what is pointed to: from and to registries
//! ([`Images::pull`], [`Images::push`]), from and to archives ([`Images::import`], [`Images::export`]), and into
//! snapshots ([`Images::unpack`]). Everything that arrives is bounded before it is read and verified before anything
//! refers to it.

mod chain;
mod descriptor;
pub mod doors;
mod export;
mod images;
mod import;
mod json;
mod locks;
mod manifest;
mod names;
mod pipe;
mod platform;
mod progress;
mod pull;
mod push;
mod registry;
mod unpack;

pub use chain::chain_ids;
pub use descriptor::{Descriptor, media_type};
pub use export::{Export, ExportOptions};
pub use images::{Hold, ImageConfig, Images};
pub use import::{ImportOptions, NameRule};
pub use names::{Image, Names};
pub use pipe::{PipeReader, PipeWriter, pipe};
pub use platform::Platform;
pub use progress::{Progress, ProgressSink, silent};
pub use pull::PullOptions;
pub use push::PushOptions;
pub use registry::{Credentials, RegistryConfig};
