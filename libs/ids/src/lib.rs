//! Names parsed once and valid ever after: containers, namespaces, digests, references.

mod digest;
mod identifier;
mod labels;
mod reference;

pub use digest::{Algorithm, Digest};
pub use identifier::{ContainerId, Namespace};
pub use labels::{Labels, validate_label, validate_labels};
pub use reference::Reference;
