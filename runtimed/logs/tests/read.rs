//! Logs as a shim writes them, read while it does.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use logs::{Line, Lines, Options, Stream, read};
use tokio::sync::oneshot;

/// A writer with rotation as the shim's: rename, then a new file.
struct Writer {
    folder: tempfile::TempDir,
    count: u64,
}

impl Writer {
    fn new() -> Writer {
        Writer { folder: tempfile::tempdir().unwrap(), count: 0 }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn raw(&self, bytes: &[u8]) {
        fs::File::options().append(true).create(true).open(self.path()).unwrap().write_all(bytes).unwrap();
    }

    /// Writes records, one a second since 1970.
    fn write(&mut self, records: &[&str]) {
        for record in records {
            self.count += 1;
            let stamp = format!("1970-01-01T00:00:{:02}.000000001Z", self.count);
            self.raw(format!("{stamp} {record}\n").as_bytes());
        }
    }

    fn rotate(&self) {
        let name = |number: u32| self.folder.path().join(format!("log.{number}"));
        for number in (1..9).rev() {
            let _ = fs::rename(name(number), name(number + 1));
        }
        fs::rename(self.path(), name(1)).unwrap();
    }
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::new(seconds, 1)
}

async fn next(lines: &mut Lines) -> Option<Line> {
    tokio::time::timeout(Duration::from_secs(10), lines.next()).await.expect("it takes too long").unwrap()
}

fn text(line: &Line) -> String {
    String::from_utf8(line.bytes.clone()).unwrap()
}

async fn rest(lines: &mut Lines) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some(line) = next(lines).await {
        texts.push(text(&line));
    }
    texts
}

async fn all(path: &Path, options: Options) -> Vec<String> {
    rest(&mut read(path, options, std::future::pending()).await.unwrap()).await
}

/// A reader that follows, and the end of the writer.
async fn follow(path: &Path, options: Options) -> (Lines, oneshot::Sender<()>) {
    let (end, ended) = oneshot::channel();
    let ended = async {
        let _ = ended.await;
    };
    (read(path, Options { follow: true, ..options }, ended).await.unwrap(), end)
}

#[tokio::test]
async fn records_come_with_all_they_say() {
    let mut writer = Writer::new();
    writer.write(&["stdout P he", "stderr F oh", "stdout F llo"]);
    let mut lines = read(writer.path(), Options::default(), std::future::pending()).await.unwrap();
    let line = |seconds, stream, partial, text: &str| {
        Some(Line { time: at(seconds), stream, partial, bytes: text.into() })
    };
    assert_eq!(next(&mut lines).await, line(1, Stream::Stdout, true, "he"));
    assert_eq!(next(&mut lines).await, line(2, Stream::Stderr, false, "oh"));
    assert_eq!(next(&mut lines).await, line(3, Stream::Stdout, false, "llo"));
    assert_eq!(next(&mut lines).await, None);
    assert_eq!(next(&mut lines).await, None);
}

#[tokio::test]
async fn rotated_files_are_read_and_may_go_while_they_are() {
    let mut writer = Writer::new();
    for part in ["a", "b", "c"] {
        writer.write(&[&format!("stdout F {part}")]);
        writer.rotate();
    }
    writer.write(&["stdout F d"]);
    assert_eq!(all(&writer.path(), Options::default()).await, ["a", "b", "c", "d"]);
    let mut lines = read(writer.path(), Options::default(), std::future::pending()).await.unwrap();
    assert_eq!(text(&next(&mut lines).await.unwrap()), "a");
    writer.rotate();
    fs::remove_file(writer.folder.path().join("log.4")).unwrap();
    assert_eq!(rest(&mut lines).await, ["b", "c", "d"]);
}

#[tokio::test]
async fn a_part_is_chosen_by_number_and_time() {
    let mut writer = Writer::new();
    writer.write(&["stdout F 1", "stdout F 2"]);
    writer.rotate();
    writer.write(&["stdout F 3", "stdout F 4"]);
    let tail = |lines| Options { tail: Some(lines), ..Options::default() };
    assert_eq!(all(&writer.path(), tail(3)).await, ["2", "3", "4"]);
    assert_eq!(all(&writer.path(), tail(0)).await, Vec::<String>::new());
    let since = Options { since: Some(at(2)), ..Options::default() };
    assert_eq!(all(&writer.path(), since.clone()).await, ["2", "3", "4"]);
    assert_eq!(all(&writer.path(), Options { until: Some(at(3)), ..since }).await, ["2", "3"]);
}

#[tokio::test]
async fn a_log_that_is_not_there_is_empty() {
    let writer = Writer::new();
    assert_eq!(all(&writer.path(), Options::default()).await, Vec::<String>::new());
    let error =
        read("/none/log", Options { follow: true, ..Options::default() }, async {}).await.err().unwrap();
    assert!(error.message().contains("/none/log"), "{error:?}");
}

#[tokio::test]
async fn following_goes_on_as_lines_are_written() {
    let mut writer = Writer::new();
    let (mut lines, end) = follow(&writer.path(), Options::default()).await;
    for number in 1..5 {
        let (reading, _) = tokio::join!(next(&mut lines), async {
            writer.write(&[&format!("stdout F {number}")]);
        });
        assert_eq!(text(&reading.unwrap()), number.to_string());
    }
    writer.write(&["stdout F last"]);
    end.send(()).unwrap();
    assert_eq!(rest(&mut lines).await, ["last"]);
}

#[tokio::test]
async fn following_does_not_mind_how_often_the_log_is_rotated() {
    let mut writer = Writer::new();
    writer.write(&["stdout F 1"]);
    let (mut lines, end) = follow(&writer.path(), Options::default()).await;
    assert_eq!(text(&next(&mut lines).await.unwrap()), "1");
    writer.write(&["stdout F 2"]);
    writer.rotate();
    writer.write(&["stdout F 3"]);
    writer.rotate();
    writer.write(&["stdout F 4"]);
    for number in 2..5 {
        assert_eq!(text(&next(&mut lines).await.unwrap()), number.to_string());
    }
    writer.rotate();
    // In this moment there is no current file.
    assert!(tokio::time::timeout(Duration::from_millis(30), lines.next()).await.is_err());
    writer.write(&["stdout F 5"]);
    assert_eq!(text(&next(&mut lines).await.unwrap()), "5");
    end.send(()).unwrap();
    assert_eq!(rest(&mut lines).await, Vec::<String>::new());
}

#[tokio::test]
async fn following_gives_a_record_once_it_is_whole() {
    let writer = Writer::new();
    let (mut lines, end) = follow(&writer.path(), Options::default()).await;
    writer.raw(b"1970-01-01T00:00:01Z stdout F ha");
    assert!(tokio::time::timeout(Duration::from_millis(30), lines.next()).await.is_err());
    writer.raw(b"lf\n1970-01-01T00:00:01Z stdout F to");
    assert_eq!(text(&next(&mut lines).await.unwrap()), "half");
    end.send(()).unwrap();
    let torn = next(&mut lines).await.unwrap();
    assert_eq!((text(&torn).as_str(), torn.partial), ("to", true));
    assert_eq!(next(&mut lines).await, None);
}

#[tokio::test]
async fn a_log_cut_off_is_read_from_its_new_beginning() {
    let mut writer = Writer::new();
    writer.write(&["stdout F one", "stdout F two"]);
    let (mut lines, end) = follow(&writer.path(), Options { tail: Some(1), ..Options::default() }).await;
    assert_eq!(text(&next(&mut lines).await.unwrap()), "two");
    fs::File::options().write(true).open(writer.path()).unwrap().set_len(0).unwrap();
    writer.write(&["stdout F new"]);
    assert_eq!(text(&next(&mut lines).await.unwrap()), "new");
    drop(end);
    assert_eq!(next(&mut lines).await, None);
}

#[tokio::test]
async fn following_ends_when_its_time_has_come() {
    let writer = Writer::new();
    let until = Some(SystemTime::now() + Duration::from_millis(30));
    let (mut lines, _end) = follow(&writer.path(), Options { until, ..Options::default() }).await;
    assert_eq!(next(&mut lines).await, None);
}

#[tokio::test]
async fn following_ends_when_the_log_is_deleted() {
    let mut writer = Writer::new();
    writer.write(&["stdout F 1"]);
    let (mut lines, _end) = follow(&writer.path(), Options::default()).await;
    assert_eq!(text(&next(&mut lines).await.unwrap()), "1");
    fs::remove_dir_all(writer.folder.path()).unwrap();
    assert_eq!(next(&mut lines).await, None);
}

/// A writer in a thread of its own, rotating all the time: nothing is lost, doubled or out of order.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_in_a_race_with_rotation() {
    let writer = Writer::new();
    let path = writer.path();
    let (mut lines, end) = follow(&path, Options::default()).await;
    let writing = std::thread::spawn(move || {
        for number in 0..2000 {
            writer.raw(format!("1970-01-01T00:00:01Z stdout F {number}\n").as_bytes());
            if number % 250 == 249 {
                writer.rotate();
            }
        }
        end.send(()).unwrap();
        writer
    });
    let expected: Vec<String> = (0..2000).map(|number| number.to_string()).collect();
    assert_eq!(rest(&mut lines).await, expected);
    drop(writing.join().unwrap());
}
