//! Faults from outside: a folder that programs look into at every mark (libs/marks says how).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

/// The variable that names the folder.
pub const VARIABLE: &str = "RUNTIMED_FAULTS";

/// The folder of one daemon, its shims and executors.
pub struct Faults {
    folder: TempDir,
}

/// A fault that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fired {
    /// In which program.
    pub program: String,
    /// In which process.
    pub pid: u32,
}

/// How often each mark was passed, by program and name.
pub type Seen = BTreeMap<(String, String), u32>;

impl Faults {
    /// An empty folder in which passers are noted.
    pub fn new() -> Result<Faults> {
        let folder =
            tempfile::Builder::new().prefix("faults-").tempdir().context("make a folder of faults")?;
        std::fs::write(folder.path().join("seen"), "")?;
        Ok(Faults { folder })
    }

    /// The folder, for [`VARIABLE`].
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Arms `<mark> <action> [skip N]`, or several such lines, in place of what was armed before.
    pub fn arm_line(&self, line: &str) -> Result<()> {
        // It may not be there.
        let _ = std::fs::remove_file(self.file("fired"));
        // Whole at once: somebody may look at any time.
        let draft = self.file("draft");
        std::fs::write(&draft, format!("{line}\n"))?;
        std::fs::rename(draft, self.file("armed")).context("arm a fault")
    }

    /// Nothing is armed any more.
    pub fn disarm(&self) {
        // It may not be there.
        let _ = std::fs::remove_file(self.file("armed"));
    }

    /// The fault `action` at `mark` that happened since it was armed.
    pub fn fired_at(&self, mark: &str, action: &str) -> Option<Fired> {
        let text = std::fs::read_to_string(self.file("fired")).ok()?;
        text.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            let (program, pid, name, what) = (words.next()?, words.next()?, words.next()?, words.next()?);
            (name == mark && what == action)
                .then(|| Fired { program: program.to_owned(), pid: pid.parse().unwrap_or_default() })
        })
    }

    /// Who passed which mark since this was asked last.
    pub fn seen(&self) -> Result<Seen> {
        let text = std::fs::read_to_string(self.file("seen"))?;
        // Whoever adds a line just now has the file open at its end, wherever that is.
        std::fs::File::options().write(true).truncate(true).open(self.file("seen"))?;
        let mut seen = Seen::new();
        for line in text.lines() {
            if let Some((program, name)) = line.split_once(' ') {
                *seen.entry((program.to_owned(), name.to_owned())).or_default() += 1;
            }
        }
        Ok(seen)
    }
}
