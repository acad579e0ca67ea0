//! What a snapshot is mounted with.

/// A mount as containerd's API has it: what mount(8) would be told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mount {
    /// The file system type, such as `overlay` or `bind`.
    pub kind: String,
    /// The device, folder or name.
    pub source: String,
    /// Where, relative to the root; mostly empty.
    pub target: String,
    /// Options, each as one would follow `-o`.
    pub options: Vec<String>,
}

impl Mount {
    /// A bind of `source`; `mode` is `rw` or `ro`.
    pub(crate) fn bind(source: String, options: &[&str]) -> Mount {
        Mount {
            kind: "bind".to_owned(),
            source,
            target: String::new(),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
        }
    }

    /// Is it a bind mount, whichever way that was said?
    pub fn is_bind(&self) -> bool {
        self.kind == "bind" || self.has("bind") || self.has("rbind")
    }

    /// Is it read-only?
    pub fn is_read_only(&self) -> bool {
        self.has("ro")
    }

    /// Is `option` among the options, literally?
    pub fn has(&self, option: &str) -> bool {
        self.options.iter().any(|found| found == option)
    }

    /// The value of the option `KEY=VALUE`; the last one wins, as with mount(8).
    pub fn value(&self, key: &str) -> Option<&str> {
        self.options.iter().rev().find_map(|option| option.strip_prefix(key)?.strip_prefix('='))
    }

    /// An overlay's lower folders, nearest first.
    pub fn lower_folders(&self) -> Vec<&str> {
        self.value("lowerdir").map(|list| list.split(':').collect()).unwrap_or_default()
    }
}
