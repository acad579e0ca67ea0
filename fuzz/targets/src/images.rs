//! What registries send, and archives of images.

use std::cell::RefCell;

use ids::Namespace;
use image::{Images, ImportOptions, Names, Platform, RegistryConfig};
use tempfile::TempDir;

use crate::input::{block_on, folder, texts};

/// Imports into the same store, before a new one is made: its blobs stay.
const STORE_LIFE: u32 = 1000;

/// What is a platform is written as one again.
pub fn platform(bytes: &[u8]) {
    let [text] = texts(bytes);
    if let Ok(platform) = Platform::parse(&text) {
        let again = Platform::parse(&platform.to_string()).expect("a platform is written as one");
        assert_eq!(platform, again, "{text:?}");
        let _ = Platform::host().rank(&platform);
    }
}

/// Manifest, index and config.
pub fn document(bytes: &[u8]) {
    image::doors::document(bytes);
}

/// `WWW-Authenticate`.
pub fn challenge(bytes: &[u8]) {
    image::doors::challenges(bytes);
}

/// A token server's answer.
pub fn token(bytes: &[u8]) {
    image::doors::token_answer(bytes);
}

/// hosts.toml.
pub fn hosts(bytes: &[u8]) {
    image::doors::hosts_file(bytes);
}

/// The entries of an archive.
pub fn archive(bytes: &[u8]) {
    image::doors::archive(bytes);
}

struct Store {
    images: Images,
    content: content::Content,
    space: Namespace,
    imports: u32,
    _folder: TempDir,
}

impl Store {
    fn new() -> Store {
        let folder = folder();
        let at = |name: &str| folder.path().join(name);
        let bus = events::Bus::new();
        let store = metadata::Store::open(&at("metadata")).expect("a store");
        let content = content::Content::open(&at("content"), store.clone(), bus.clone()).expect("content");
        let snapshotters = snapshot::Snapshotters::open(&at("snapshots"), store.clone(), bus.clone());
        let names = Names::new(store, bus);
        let images =
            Images::new(RegistryConfig::default(), names, content.clone(), snapshotters.expect("snapshots"));
        let space = Namespace::parse("fuzz").expect("a namespace");
        Store { images, content, space, imports: 0, _folder: folder }
    }
}

/// A whole import of an archive, packed or not. What gets a name is there with all that it says of itself.
pub fn import(bytes: &[u8]) {
    thread_local! {
        static STORE: RefCell<Option<Store>> = const { RefCell::new(None) };
    }
    STORE.with_borrow_mut(|slot| {
        let store = slot.get_or_insert_with(|| block_on(async { Store::new() }));
        store.imports += 1;
        block_on(import_into(store, bytes));
        if store.imports >= STORE_LIFE {
            *slot = None;
        }
    });
}

async fn import_into(store: &Store, bytes: &[u8]) {
    let archive = std::io::Cursor::new(bytes.to_vec());
    let options = ImportOptions::default();
    let Ok(found) = store.images.import(&store.space, archive, &options, image::silent()).await else {
        return;
    };
    for image in found {
        let info = store.content.info(&store.space, &image.target.digest).expect("what has a name is there");
        assert_eq!(info.size, image.target.length().expect("a length"), "{} lies about its size", image.name);
    }
}
