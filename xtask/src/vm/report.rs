//! What the machine says of its tests, line by line: the harness of Rust's tests, between lines of our own.

use anyhow::{Result, bail};

/// What has come so far.
#[derive(Debug, Default)]
pub struct Report {
    /// Tests that passed.
    pub passed: usize,
    /// Tests that failed.
    pub failed: usize,
    /// Whether the machine came to the end of its list.
    pub finished: bool,
    suite: String,
    /// Tests of the suite that runs.
    ran: usize,
    broken: Vec<String>,
}

impl Report {
    /// Takes in one line.
    pub fn line(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["==", "suite", name] => (self.suite, self.ran) = ((*name).to_owned(), 0),
            ["==", "end", name, code] if *code != "0" => {
                self.broken.push(format!("{name} ended with {code}"))
            }
            // A name that no test has any more.
            ["==", "end", name, _] if self.ran == 0 => self.broken.push(format!("{name} ran no test")),
            ["==", "done"] => self.finished = true,
            ["test", name, "...", "ok"] => {
                self.passed += 1;
                self.note(name, false);
            }
            ["test", name, "...", "FAILED"] => {
                self.failed += 1;
                self.note(name, true);
            }
            _ => {}
        }
    }

    fn note(&mut self, name: &str, failed: bool) {
        self.ran += 1;
        if failed {
            self.broken.push(format!("{} {name}", self.suite));
        }
    }

    /// Whether everything ran and passed; the error lists what did not.
    pub fn verdict(&self) -> Result<()> {
        if !self.finished {
            bail!("the machine died in the suite {:?}; failed before: {:?}", self.suite, self.broken);
        }
        if !self.broken.is_empty() {
            bail!("failed in the virtual machine:\n  {}", self.broken.join("\n  "));
        }
        if self.passed == 0 {
            bail!("no test ran in the virtual machine");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str) -> Report {
        let mut report = Report::default();
        text.lines().for_each(|line| report.line(line));
        report
    }

    #[test]
    fn passes_are_counted_and_failures_named() {
        let good = report("== suite a\ntest x ... ok\ntest y ... ignored\n== end a 0\n== done");
        assert_eq!((good.passed, good.failed), (1, 0));
        good.verdict().unwrap();
        let bad = report("== suite a\ntest x ... ok\ntest y ... FAILED\n== end a 101\n== done");
        let said = bad.verdict().unwrap_err().to_string();
        assert!(said.contains("a y") && said.contains("a ended with 101"), "{said}");
    }

    #[test]
    fn an_early_end_and_an_empty_run_are_failures() {
        let died = report("== suite a\ntest x ... ok").verdict().unwrap_err().to_string();
        assert!(died.contains("died in the suite \"a\""), "{died}");
        let none = report("== suite a\n== end a 0\n== suite b\ntest x ... ok\n== end b 0\n== done");
        assert!(none.verdict().unwrap_err().to_string().contains("a ran no test"));
        assert!(report("== done").verdict().unwrap_err().to_string().contains("no test ran"));
    }
}
