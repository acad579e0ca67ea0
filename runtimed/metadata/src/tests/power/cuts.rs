//! The power goes after each event, and each time the disk has more or less of what was not synced.

use rand::Rng;

use super::load::{Load, Owed};
use super::medium::{Disks, Event, Image, Luck, Recorder};
use super::{random, rounds};

const LUCK: [Luck; 6] = [Luck::None, Luck::All, Luck::Whole, Luck::Some(50), Luck::Some(90), Luck::Some(10)];

#[test]
fn what_was_flushed_is_there_whenever_the_power_goes() {
    let mut random = random();
    for _ in 0..rounds(1) {
        let recorder = Recorder::default();
        let load = Load::new(120, &mut random);
        assert_eq!(load.run(recorder.open().unwrap(), &recorder), 120);

        let (mut disks, mut owed, mut anew) = (Disks::default(), Owed::default(), 0);
        for (number, event) in recorder.events().iter().enumerate() {
            disks.follow(event);
            owed.follow(event);
            anew += usize::from(matches!(event, Event::Rename { .. }));
            for luck in LUCK {
                let image = disks.cut(luck, &mut random);
                let after = Recorder::holding(image);
                // Twice: as if the power had gone once more, before anything was written.
                for _ in 0..2 {
                    let checked = after.open().map_err(|error| error.chain());
                    let checked = checked.and_then(|disk| load.check(disk, &owed));
                    checked.unwrap_or_else(|error| panic!("event {number} ({luck:?}): {error}"));
                }
            }
        }
        assert!(anew > 1, "the log was never made anew");
    }
}

#[test]
fn a_store_that_was_cut_is_cut_again() {
    let mut random = random();
    for round in 0..rounds(40) {
        let mut image = Image::default();
        // Each life starts from what the one before left, and ends at some event.
        for life in 0..5 {
            let running = Recorder::holding(image.clone());
            let load = Load::new(24, &mut random).over(running.open().unwrap());
            load.run(running.open().unwrap(), &running);

            let (mut disks, mut owed) = (Disks::starting(image), Owed::default());
            let events = running.events();
            for event in &events[..random.random_range(0..=events.len())] {
                disks.follow(event);
                owed.follow(event);
            }
            image = disks.cut(Luck::Some(50), &mut random);
            let after = Recorder::holding(image.clone());
            let checked = after.open().map_err(|error| error.chain());
            let checked = checked.and_then(|disk| load.check(disk, &owed));
            checked.unwrap_or_else(|error| panic!("round {round}, life {life}: {error}"));
        }
    }
}
