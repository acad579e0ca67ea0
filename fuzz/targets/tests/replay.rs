//! Seeds, what fuzzing has found, and mutations of both: every parser of what a stranger wrote takes them and keeps its
//! promises. Reproducible: `FUZZ_SEED` is printed and can be set; `FUZZ_ROUNDS` multiplies the mutations.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use fuzz_targets::{Family, TARGETS, Target};

/// Mutated inputs are no longer than this.
const LONGEST: usize = 16 << 10;
/// More mutations of a target than this do not find more in the time that they take.
const MOST: u32 = 4000;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The files of a target, in order of their names.
fn files(kind: &str, target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = fuzz().join(kind).join(target);
    let Ok(entries) = std::fs::read_dir(&folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("read a folder").path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), std::fs::read(&path).expect("read an input"))).collect()
}

/// Runs a target; says which input it was that it did not survive.
fn run(target: &Target, input: &[u8], origin: &str) {
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    if outcome.is_err() {
        let kept = std::env::temp_dir().join(format!("fuzz-{}-failed", target.name));
        std::fs::write(&kept, input).expect("keep the input");
        panic!("{} failed on {origin}, which is kept in {}", target.name, kept.display());
    }
}

/// xorshift64*: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// Texts that parsers make decisions on.
const WORDS: &[&[u8]] = &[
    b"../",
    b"/",
    b"\0",
    b"\xff",
    b"-1",
    b"4294967295",
    b"18446744073709551616",
    b"\n",
    b"\"",
    b"{",
    b"[[[[",
    b"}",
    b":",
    b"@",
    b"=",
    b",",
    b" ",
    b"%00",
    b"\x1b[2J",
    b"\xe2\x80\xae",
    b"null",
    b"1e999",
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"~=",
    b"{{",
    b"}}",
];

fn mutated(random: &mut Random, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut input = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(4) {
        let at = random.below(input.len() + 1);
        match random.below(7) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 if at < input.len() => input[at] = random.next() as u8,
            2 => input.truncate(at),
            3 => {
                let word = WORDS[random.below(WORDS.len())];
                input.splice(at..at, word.iter().copied());
            }
            4 => {
                let end = (at + 1 + random.below(16)).min(input.len());
                drop(input.drain(at.min(end)..end));
            }
            5 => {
                let other = &corpus[random.below(corpus.len())];
                let from = random.below(other.len() + 1);
                let piece = other[from..(from + random.below(64)).min(other.len())].to_vec();
                input.splice(at..at, piece);
            }
            _ => {
                let end = (at + random.below(32)).min(input.len());
                let piece = input[at.min(end)..end].repeat(1 + random.below(8));
                input.splice(at..at, piece);
            }
        }
    }
    input.truncate(LONGEST);
    input
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn try_target(target: &Target, seed: u64) {
    let mut corpus = vec![Vec::new()];
    for (path, input) in ["seeds", "regressions"].iter().flat_map(|kind| files(kind, target.name)) {
        run(target, &input, &path.display().to_string());
        corpus.push(input);
    }
    assert!(corpus.len() > 1, "{} has no seeds", target.name);
    corpus.iter_mut().for_each(|input| input.truncate(LONGEST));
    let mut random = Random(seed | 1);
    let rounds =
        u64::from(target.rounds.saturating_mul(corpus.len() as u32).min(MOST)) * number("FUZZ_ROUNDS", 1);
    for round in 0..rounds {
        run(target, &mutated(&mut random, &corpus), &format!("round {round} of seed {seed}"));
    }
}

#[test]
fn every_target_survives_seeds_findings_and_mutations() {
    let seed = number("FUZZ_SEED", 0x5eed_2026);
    println!("FUZZ_SEED={seed}");
    for target in TARGETS {
        let begun = std::time::Instant::now();
        println!("{}", target.name);
        try_target(target, seed);
        println!("{}: {:.1} s", target.name, begun.elapsed().as_secs_f64());
    }
}

/// The folders or files in a folder of this workspace, without what ends their names.
fn names(folder: &str) -> BTreeSet<String> {
    let Ok(entries) = std::fs::read_dir(fuzz().join(folder)) else { return BTreeSet::new() };
    let paths = entries.map(|entry| entry.expect("read a folder").path());
    paths.map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned()).collect()
}

#[test]
fn every_family_has_members_and_its_program() {
    let families: BTreeSet<String> = Family::all().map(|family| family.name().to_owned()).collect();
    assert_eq!(names("fuzz_targets"), families);
    let manifest = std::fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    for family in Family::all() {
        assert_eq!(Family::named(family.name()), Some(family));
        assert!(family.targets().count() > 0, "{family:?} has no members");
        let (name, path) = (family.name(), format!("path = \"fuzz_targets/{}.rs\"", family.name()));
        assert!(manifest.contains(&format!("name = \"{name}\"\n{path}")), "{name} is not in Cargo.toml");
        let program = std::fs::read_to_string(fuzz().join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(program.contains(&format!("Family::{family:?}.run")), "{name} runs another family");
    }
}

#[test]
fn every_target_is_in_one_family_and_no_folder_is_nobodys() {
    let families: Vec<Family> = Family::all().collect();
    let mut seen = BTreeSet::new();
    for target in TARGETS {
        assert!(seen.insert(target.name.to_owned()), "two targets are called {}", target.name);
        let of = families.iter().filter(|family| family.targets().any(|member| member.name == target.name));
        assert_eq!(of.count(), 1, "{} is not in one family", target.name);
    }
    for kind in ["seeds", "regressions"] {
        let nobodys: Vec<String> = names(kind).difference(&seen).cloned().collect();
        assert!(nobodys.is_empty(), "{kind}: {nobodys:?} belong to no target");
    }
}
