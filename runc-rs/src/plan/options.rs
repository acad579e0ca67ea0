//! Mount options (config.md, "Linux mount options"): words to kernel flags.

use sys::mount::{
    ATIME, MountAttr, NOATIME, NODEV, NODIRATIME, NOEXEC, NOSUID, NOSYMFOLLOW, RDONLY, STRICTATIME,
};

const UNBINDABLE: u64 = 1 << 17;
const PRIVATE: u64 = 1 << 18;
const SLAVE: u64 = 1 << 19;
const SHARED: u64 = 1 << 20;

/// A change of propagation, of one mount or of all below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Propagation {
    /// MS_SHARED, MS_SLAVE, MS_PRIVATE or MS_UNBINDABLE.
    pub flag: u64,
    /// Whether it goes for the mounts below.
    pub recursive: bool,
}

/// The options of one mount, sorted by what they do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Flags of the mount itself.
    pub attr: MountAttr,
    /// Flags of the mount and all below it (the words with an `r` in front).
    pub recursive_attr: MountAttr,
    /// `bind` (false) or `rbind` (true).
    pub bind: Option<bool>,
    /// Changes of propagation, in order.
    pub propagation: Vec<Propagation>,
    /// Flags of the file system (`sync`, `dirsync`, ...).
    pub superblock: Vec<&'static str>,
    /// `remount`: change a mount that is there.
    pub remount: bool,
    /// `tmpcopyup`: fill the tmpfs with what it covers.
    pub copy_up: bool,
    /// `idmap` (false) or `ridmap` (true).
    pub idmap: Option<bool>,
    /// Words for the file system.
    pub data: Vec<String>,
}

/// Sorts the words. Every word that is not one of the specification's is the file system's.
pub fn parse(words: &[String]) -> Options {
    let mut options = Options::default();
    for word in words {
        if !(attribute(&mut options, word) || propagation(&mut options, word) || other(&mut options, word)) {
            options.data.extend(word.split(',').filter(|w| !w.is_empty()).map(str::to_owned));
        }
    }
    options
}

/// What a word means for the mount's flags: the bits that go on, and those that go off.
fn bits(word: &str) -> Option<(u64, u64)> {
    Some(match word {
        "ro" => (RDONLY, 0),
        "rw" => (0, RDONLY),
        "nosuid" => (NOSUID, 0),
        "suid" => (0, NOSUID),
        "nodev" => (NODEV, 0),
        "dev" => (0, NODEV),
        "noexec" => (NOEXEC, 0),
        "exec" => (0, NOEXEC),
        "nodiratime" => (NODIRATIME, 0),
        "diratime" => (0, NODIRATIME),
        "nosymfollow" => (NOSYMFOLLOW, 0),
        "symfollow" => (0, NOSYMFOLLOW),
        // The modes exclude each other and share a field; relatime is the field's zero.
        "noatime" => (NOATIME, ATIME),
        "strictatime" => (STRICTATIME, ATIME),
        "relatime" | "atime" | "norelatime" | "nostrictatime" => (0, ATIME),
        _ => return None,
    })
}

fn attribute(options: &mut Options, word: &str) -> bool {
    if let Some(found) = bits(word) {
        apply(&mut options.attr, found);
        return true;
    }
    // "relatime" has been taken above, so an `r` in front can only mean "recursive".
    match word.strip_prefix('r').and_then(bits) {
        Some(found) => apply(&mut options.recursive_attr, found),
        None => return false,
    }
    true
}

/// A later word wins over an earlier one.
fn apply(attr: &mut MountAttr, (set, clear): (u64, u64)) {
    attr.set = (attr.set & !clear) | set;
    attr.clear = (attr.clear & !(set & !ATIME)) | clear;
}

fn propagation(options: &mut Options, word: &str) -> bool {
    let (name, recursive) = match word.strip_prefix('r') {
        Some(rest) => (rest, true),
        None => (word, false),
    };
    let flag = match name {
        "shared" => SHARED,
        "slave" => SLAVE,
        "private" => PRIVATE,
        "unbindable" => UNBINDABLE,
        _ => return false,
    };
    options.propagation.push(Propagation { flag, recursive });
    true
}

fn other(options: &mut Options, word: &str) -> bool {
    match word {
        "defaults" => {}
        "bind" => options.bind = Some(options.bind.unwrap_or(false)),
        "rbind" => options.bind = Some(true),
        "remount" => options.remount = true,
        "tmpcopyup" => options.copy_up = true,
        "idmap" => options.idmap = Some(false),
        "ridmap" => options.idmap = Some(true),
        "sync" => superblock(options, "sync", "async"),
        "async" => superblock(options, "async", "sync"),
        "dirsync" => superblock(options, "dirsync", ""),
        "mand" => superblock(options, "mand", "nomand"),
        "nomand" => superblock(options, "nomand", "mand"),
        "lazytime" => superblock(options, "lazytime", "nolazytime"),
        "nolazytime" => superblock(options, "nolazytime", "lazytime"),
        "iversion" => superblock(options, "iversion", ""),
        "noiversion" => options.superblock.retain(|w| *w != "iversion"),
        // What a mount says in the kernel's log: nothing, by the calls that are used here.
        "silent" | "loud" => {}
        _ => return false,
    }
    true
}

fn superblock(options: &mut Options, on: &'static str, off: &str) {
    options.superblock.retain(|w| *w != off && *w != on);
    options.superblock.push(on);
}

/// Reads `linux.rootfsPropagation`.
pub fn root_propagation(word: &str) -> Option<Propagation> {
    let mut options = Options::default();
    propagation(&mut options, word).then(|| options.propagation.pop()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn options(words: &[&str]) -> Options {
        parse(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn flags_of_dockers_mounts() {
        let o = options(&["nosuid", "strictatime", "mode=755", "size=65536k"]);
        assert_eq!(o.attr.set, NOSUID | STRICTATIME);
        assert_eq!(o.data, ["mode=755", "size=65536k"]);
        let o = options(&["rbind", "rprivate", "ro"]);
        assert_eq!(o.bind, Some(true));
        assert_eq!(o.propagation, [Propagation { flag: PRIVATE, recursive: true }]);
        assert_eq!(o.attr, MountAttr { set: RDONLY, ..MountAttr::default() });
    }

    #[test]
    fn the_later_word_wins() {
        assert_eq!(options(&["ro", "rw"]).attr, MountAttr { clear: RDONLY, ..MountAttr::default() });
        assert_eq!(options(&["rw", "ro"]).attr, MountAttr { set: RDONLY, ..MountAttr::default() });
        assert_eq!(options(&["noatime", "relatime"]).attr.set, 0);
        assert_eq!(options(&["sync", "async"]).superblock, ["async"]);
        assert_eq!(options(&["iversion"]).superblock, ["iversion"]);
        assert!(options(&["iversion", "noiversion"]).superblock.is_empty());
    }

    #[test]
    fn recursive_words() {
        let o = options(&["rbind", "rro", "rnoexec", "rnoatime"]);
        assert_eq!(o.recursive_attr.set, RDONLY | NOEXEC | NOATIME);
        assert_eq!(o.recursive_attr.clear, ATIME);
        assert_eq!(o.attr, MountAttr::default());
        assert_eq!(options(&["rrelatime"]).recursive_attr.clear, ATIME);
        assert_eq!(options(&["relatime"]).recursive_attr, MountAttr::default());
    }

    #[test]
    fn root_words() {
        assert_eq!(root_propagation("rslave"), Some(Propagation { flag: SLAVE, recursive: true }));
        assert_eq!(root_propagation("shared"), Some(Propagation { flag: SHARED, recursive: false }));
        assert_eq!(root_propagation("ro"), None);
    }

    proptest! {
        #[test]
        fn no_bit_is_set_and_cleared_but_the_time_mode(
            words in proptest::collection::vec(
                prop_oneof![Just("ro"), Just("rw"), Just("noexec"), Just("exec"), Just("noatime"), Just("relatime"),
                            Just("strictatime"), Just("nodev"), Just("dev"), Just("nosuid"), Just("suid")], 0..12)
        ) {
            let attr = options(&words).attr;
            prop_assert_eq!(attr.set & attr.clear & !ATIME, 0);
            prop_assert!(attr.set & ATIME != ATIME);
        }
    }
}
