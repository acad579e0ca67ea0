//! The disk is full, or fails, from some call on.

use errors::Kind;

use super::load::{Load, Owed};
use super::medium::{Disks, Event, Fault, Luck, Recorder};
use super::{random, rounds};

/// Every so many events the disk begins to fail.
const STEP: usize = 3;

fn owed(events: &[Event]) -> Owed {
    let mut owed = Owed::default();
    events.iter().for_each(|event| owed.follow(event));
    owed
}

#[test]
fn a_full_disk_loses_nothing_and_the_store_goes_on_once_there_is_room() {
    let mut random = random();
    let load = Load::new(60, &mut random);
    let dry = Recorder::default();
    load.run(dry.open().unwrap(), &dry);
    for event in (0..dry.events().len()).step_by(STEP / rounds(1).min(STEP)) {
        let recorder = Recorder::failing(event, Fault::Full);
        match recorder.open() {
            Ok(disk) => drop(load.run(disk, &recorder)),
            Err(error) => assert_eq!(error.kind(), Kind::ResourceExhausted, "{error:?}"),
        }
        recorder.mend();
        load.check(recorder.open().unwrap(), &owed(&recorder.events()).all_answered())
            .unwrap_or_else(|error| panic!("full from event {event}: {error}"));
        let load = Load::new(12, &mut random).over(recorder.open().unwrap());
        assert_eq!(load.run(recorder.open().unwrap(), &recorder), 12, "full from event {event}");
    }
}

#[test]
fn a_disk_that_fails_loses_nothing_that_was_flushed() {
    let mut random = random();
    let load = Load::new(60, &mut random);
    let dry = Recorder::default();
    load.run(dry.open().unwrap(), &dry);
    for event in (0..dry.events().len()).step_by(STEP / rounds(1).min(STEP)) {
        let recorder = Recorder::failing(event, Fault::Broken);
        match recorder.open() {
            Ok(disk) => drop(load.run(disk, &recorder)),
            Err(error) => assert_eq!(error.kind(), Kind::Internal, "{error:?}"),
        }
        let mut disks = Disks::default();
        recorder.events().iter().for_each(|event| disks.follow(event));
        for luck in [Luck::None, Luck::Some(50), Luck::All] {
            let after = Recorder::holding(disks.cut(luck, &mut random));
            load.check(after.open().unwrap(), &owed(&recorder.events()))
                .unwrap_or_else(|error| panic!("failing from event {event}: {error}"));
        }
    }
}
