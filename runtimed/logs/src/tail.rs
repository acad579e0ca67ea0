//! Where the last lines of a log begin, found from its end backwards, block by block. Blocks on the file
//! system.

use std::io;

use crate::Stream;
use crate::files::LogFile;
use crate::record::{Head, LONGEST_HEAD};

/// How much is read at a time.
const BLOCK: u64 = 64 << 10;

/// Leaves of `files`, oldest first, those that hold the last `lines` lines, and sets the offset where they
/// begin.
///
/// A line counts where it ends; so does the last one of either stream if it has no end yet. Where the two
/// streams are mixed within lines, the beginning of the first line of the other stream may be missing.
pub(crate) fn keep(mut files: Vec<LogFile>, lines: u64) -> io::Result<Vec<LogFile>> {
    let mut wanted = Wanted { lines, counted: 0, met: Vec::new() };
    for index in (0..files.len()).rev() {
        if let Some(offset) = begin(&files[index], &mut wanted)? {
            files[index].offset = offset;
            return Ok(files.split_off(index));
        }
    }
    Ok(files)
}

/// Counts lines from the last to the first.
struct Wanted {
    lines: u64,
    counted: u64,
    /// The streams of which a record was taken: what is partial before it goes on in it.
    met: Vec<Stream>,
}

impl Wanted {
    /// Takes the record before the last one taken; says whether it is one too many.
    fn exceeds(&mut self, head: Head) -> bool {
        if head.partial && self.met.contains(&head.stream) {
            return false;
        }
        if !self.met.contains(&head.stream) {
            self.met.push(head.stream);
        }
        if self.counted == self.lines {
            return true;
        }
        self.counted += 1;
        false
    }
}

/// Where in the file the wanted lines begin; `None` if before it.
fn begin(file: &LogFile, wanted: &mut Wanted) -> io::Result<Option<u64>> {
    let mut base = file.len()?;
    // Where the record taken last begins; what stands behind the last newline is no record yet.
    let mut next = None;
    let mut block = Vec::new();
    while base > 0 {
        let size = BLOCK.min(base) as usize;
        base -= size as u64;
        // The head of a record may reach into the block that was read before.
        let ahead = block.len().min(LONGEST_HEAD);
        let head = block[..ahead].to_vec();
        block.resize(size, 0);
        let read = file.read_at(&mut block, base)?;
        block.truncate(read);
        block.extend_from_slice(&head);
        let ends = (0..size.min(block.len())).rev().filter(|at| block[*at] == b'\n');
        let starts = ends.map(|at| at + 1).chain((base == 0).then_some(0));
        for start in starts {
            let Some(after) = next.replace(base + start as u64) else { continue };
            let record = &block[start..];
            let record = record.iter().position(|byte| *byte == b'\n').map_or(record, |end| &record[..end]);
            if Head::parse(record).is_some_and(|(head, _)| wanted.exceeds(head)) {
                return Ok(Some(after));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;
    use std::fs;
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::files;

    fn log(folder: &Path, contents: &[&str]) -> Vec<LogFile> {
        let path = folder.join("log");
        for (number, content) in contents.iter().rev().enumerate() {
            let name = if number == 0 { "log".to_owned() } else { format!("log.{number}") };
            fs::write(folder.join(name), content).unwrap();
        }
        files::all(&path, None).unwrap()
    }

    fn rest(files: &[LogFile]) -> String {
        let read = |file: &LogFile| {
            let mut buffer = vec![0; file.len().unwrap() as usize];
            let size = file.read_at(&mut buffer, file.offset).unwrap();
            String::from_utf8(buffer[..size].to_vec()).unwrap()
        };
        files.iter().map(read).collect()
    }

    fn records(tags: &str) -> String {
        let mut log = String::new();
        for (number, tag) in tags.chars().enumerate() {
            writeln!(log, "2024-05-06T07:08:09Z stdout {tag} {number}").unwrap();
        }
        log
    }

    /// The tags of what is left.
    fn tail(contents: &[&str], lines: u64) -> String {
        let folder = tempfile::tempdir().unwrap();
        let files = keep(log(folder.path(), contents), lines).unwrap();
        rest(&files).lines().map(|line| line.split(' ').nth(2).unwrap().to_owned()).collect()
    }

    #[test]
    fn lines_are_counted_from_the_end() {
        assert_eq!(tail(&[&records("FFFF")], 2), "FF");
        assert_eq!(tail(&[&records("FFFF")], 9), "FFFF");
        assert_eq!(tail(&[&records("FFFF")], 0), "");
        assert_eq!(tail(&[&records("FPPFF")], 2), "PPFF");
        assert_eq!(tail(&[&records("FPPFPP")], 1), "PP");
        assert_eq!(tail(&[&records("FPPFPP")], 2), "PPFPP");
        assert_eq!(tail(&[""], 3), "");
    }

    #[test]
    fn a_line_without_an_end_counts_beside_the_other_stream() {
        let log = "2024-05-06T07:08:09Z stdout F 0\n2024-05-06T07:08:09Z stdout P prompt\n\
                   2024-05-06T07:08:09Z stderr F 1\n2024-05-06T07:08:09Z stderr P 2\n";
        assert_eq!(tail(&[log], 1), "P");
        assert_eq!(tail(&[log], 2), "FP");
        assert_eq!(tail(&[log], 3), "PFP");
        assert_eq!(tail(&[log], 4), "FPFP");
    }

    #[test]
    fn lines_are_counted_across_files() {
        let (old, new) = (records("FFP"), records("PFF"));
        assert_eq!(tail(&[&old, &new], 1), "F");
        assert_eq!(tail(&[&old, &new], 2), "PPFF");
        assert_eq!(tail(&[&old, &new], 3), "FPPFF");
        assert_eq!(tail(&[&old, ""], 1), "P");
    }

    #[test]
    fn a_record_being_written_belongs_to_the_rest() {
        let log = format!("{}2024-05-06T07:08:09Z stdout F", records("FF"));
        assert_eq!(tail(&[&log], 1), "FF");
        assert_eq!(tail(&[&log], 0), "F");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Whatever the sizes, and so wherever the blocks are cut.
        #[test]
        fn blocks_do_not_matter(sizes in prop::collection::vec(0..20_000usize, 1..40), lines in 0..50u64) {
            let mut log = String::new();
            for size in &sizes {
                writeln!(log, "2024-05-06T07:08:09.123456789Z stdout F {}", "x".repeat(*size)).unwrap();
            }
            let expected: String = sizes.iter().rev().take(lines as usize).rev().map(|_| 'F').collect();
            prop_assert_eq!(tail(&[&log], lines), expected);
        }
    }
}
