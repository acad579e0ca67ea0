//! What a transfer is from and to.

use errors::{Error, Kind, Result, WithKind};
use prost::{Message, Name};
use prost_types::Any;
use proto_containerd::types::transfer::{ImageExportStream, ImageImportStream, ImageStore, OciRegistry};
use proto_containerd::unpack;

/// The ends that are served.
#[derive(Debug)]
pub(super) enum Endpoint {
    Registry(OciRegistry),
    Store(ImageStore),
    Import(ImageImportStream),
    Export(ImageExportStream),
}

impl Endpoint {
    /// Decodes an end; one that nothing is known of is `Unimplemented`.
    pub(super) fn of(any: &Any) -> Result<Endpoint> {
        let found = match any.type_url.rsplit('/').next().unwrap_or_default() {
            name if name == OciRegistry::full_name() => decoded(any)?.map(Endpoint::Registry),
            name if name == ImageStore::full_name() => decoded(any)?.map(Endpoint::Store),
            name if name == ImageImportStream::full_name() => decoded(any)?.map(Endpoint::Import),
            name if name == ImageExportStream::full_name() => decoded(any)?.map(Endpoint::Export),
            _ => None,
        };
        found.ok_or_else(|| {
            Error::unimplemented(format!("transfer from or to {:?} is not served", any.type_url))
        })
    }

    /// The type's name, for messages.
    pub(super) fn name(&self) -> String {
        match self {
            Endpoint::Registry(_) => OciRegistry::full_name(),
            Endpoint::Store(_) => ImageStore::full_name(),
            Endpoint::Import(_) => ImageImportStream::full_name(),
            Endpoint::Export(_) => ImageExportStream::full_name(),
        }
    }
}

fn decoded<M: Message + Name + Default>(any: &Any) -> Result<Option<M>> {
    unpack(any).kind(Kind::InvalidArgument, || format!("decode {:?}", any.type_url))
}

/// Refuses what a request asks for and this daemon cannot do.
pub(super) fn unserved(asked: bool, what: &str) -> Result<()> {
    if asked { Err(Error::unimplemented(format!("{what} is not served by transfers"))) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use proto_containerd::pack;
    use proto_containerd::types::transfer::ContainerPath;

    use super::*;

    #[test]
    fn ends_are_told_apart_by_their_types() {
        let store = ImageStore { name: "n".into(), ..Default::default() };
        assert!(matches!(Endpoint::of(&pack(&store)).unwrap(), Endpoint::Store(store) if store.name == "n"));
        let import = ImageImportStream::default();
        assert_eq!(
            Endpoint::of(&pack(&import)).unwrap().name(),
            "containerd.types.transfer.ImageImportStream"
        );
    }

    #[test]
    fn unknown_ends_are_named() {
        let error = Endpoint::of(&pack(&ContainerPath::default())).unwrap_err();
        assert_eq!(error.kind(), Kind::Unimplemented);
        assert!(error.message().contains("containerd.types.transfer.ContainerPath"), "{error}");
    }
}
