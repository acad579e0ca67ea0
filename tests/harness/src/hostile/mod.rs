//! What strangers send, made by hand: tar streams with any header, images that lie, a registry that follows a script.

mod image;
mod registry;
mod tar;

pub use image::{Blob, Image, digest, gzip};
pub use registry::{Asked, How, Registry, Reply};
pub use tar::{Entry, pax, tar};
