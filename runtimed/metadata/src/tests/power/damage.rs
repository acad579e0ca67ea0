//! A bit flips, the file is cut: the store opens with everything, or says what is wrong and changes nothing.

use std::path::Path;

use errors::Kind;
use rand::Rng;

use super::load::{Load, Owed};
use super::medium::{Image, Recorder};
use super::{random, rounds};
use crate::Salvage;

/// A store that was closed well, and what it owes.
fn closed(random: &mut rand::rngs::StdRng) -> (Image, Load, Owed) {
    let recorder = Recorder::default();
    let load = Load::new(80, random);
    assert_eq!(load.run(recorder.open().unwrap(), &recorder), 80);
    let mut owed = Owed::default();
    recorder.events().iter().for_each(|event| owed.follow(event));
    (recorder.image(), load, owed.all_answered())
}

fn log(image: &mut Image) -> &mut Vec<u8> {
    let file = image.names["log"];
    image.files.get_mut(&file).unwrap()
}

/// Opens what is damaged. Says whether it was refused.
fn open(image: Image, load: &Load, owed: &Owed, how: &str) -> bool {
    let recorder = Recorder::holding(image.clone());
    match recorder.open() {
        Ok(disk) => {
            load.check(disk, owed).unwrap_or_else(|error| panic!("{how}: {error}"));
            false
        }
        Err(error) => {
            assert_eq!(error.kind(), Kind::DataLoss, "{how}: {error:?}");
            assert!(error.chain().contains("/recorded") && error.chain().contains("log"), "{how}: {error:?}");
            assert_eq!(recorder.image().files, image.files, "{how}: changed");
            true
        }
    }
}

#[test]
fn a_flipped_bit_is_noticed_or_does_not_matter() {
    let mut random = random();
    for _ in 0..rounds(4) {
        let (mut image, load, owed) = closed(&mut random);
        let length = log(&mut image).len();
        let used = log(&mut image).iter().rposition(|byte| *byte != 0).unwrap();
        let mut refused = 0;
        for _ in 0..500 {
            // Mostly where something is written.
            let byte = if random.random_bool(0.9) {
                random.random_range(0..=used)
            } else {
                random.random_range(0..length)
            };
            let bit = random.random_range(0..8);
            let mut image = image.clone();
            log(&mut image)[byte] ^= 1 << bit;
            refused += usize::from(open(image, &load, &owed, &format!("bit {bit} of byte {byte}")));
        }
        assert!(refused > 100, "{refused}");
    }
}

#[test]
fn a_truncated_file_is_noticed() {
    let mut random = random();
    let (mut image, load, owed) = closed(&mut random);
    let length = log(&mut image).len();
    for cut in (0..length).step_by(61).chain([1, 4095, 4096, 8191, 8192, length - 1]) {
        let mut image = image.clone();
        log(&mut image).truncate(cut);
        assert!(open(image, &load, &owed, &format!("{cut} of {length} bytes")), "{cut} of {length} bytes");
    }
}

#[test]
fn rubbish_is_refused() {
    let mut random = random();
    let (mut image, load, owed) = closed(&mut random);
    random.fill(log(&mut image).as_mut_slice());
    assert!(open(image.clone(), &load, &owed, "rubbish"));
    log(&mut image).fill(0);
    assert!(open(image.clone(), &load, &owed, "zeros"));
}

/// The lines of an export.
fn lines(salvage: &mut Salvage) -> Vec<String> {
    let mut out = Vec::new();
    salvage.export(&mut out).unwrap();
    String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn what_the_damage_left_is_salvaged() {
    let mut random = random();
    let place = Path::new("/recorded");
    let (mut kept, mut tried) = (0, 0);
    for _ in 0..rounds(4) {
        let (mut image, _, _) = closed(&mut random);
        let whole = Recorder::holding(image.clone());
        let all = lines(&mut Salvage::on(&[(place, &whole)]).unwrap());
        assert!(!all.is_empty());
        let used = log(&mut image).iter().rposition(|byte| *byte != 0).unwrap();
        for _ in 0..60 {
            let mut damaged = image.clone();
            let from = random.random_range(0..used);
            let to = (from + random.random_range(1..200)).min(used);
            random.fill(&mut log(&mut damaged)[from..to]);
            let damaged = Recorder::holding(damaged);
            let mut left = Salvage::on(&[(place, &damaged)]).unwrap();
            // Of a dozen keys, a few that are lost, or are older than they should be; where few were there, that may be all of them.
            kept += usize::from(!lines(&mut left).is_empty());
            tried += 1;
            // With a copy nothing is lost, whichever of the two is damaged.
            let mut both = Salvage::on(&[(place, &damaged), (place, &whole)]).unwrap();
            assert_eq!(lines(&mut both), all);
            let mut both = Salvage::on(&[(place, &whole), (place, &damaged)]).unwrap();
            assert_eq!(lines(&mut both), all);
        }
        random.fill(log(&mut image).as_mut_slice());
        let rubbish = Recorder::holding(image);
        assert_eq!(Salvage::on(&[(place, &rubbish)]).err().unwrap().kind(), Kind::NotFound);
        assert_eq!(lines(&mut Salvage::on(&[(place, &rubbish), (place, &whole)]).unwrap()), all);
    }
    assert!(kept * 2 > tried, "{kept} of {tried}");
}
