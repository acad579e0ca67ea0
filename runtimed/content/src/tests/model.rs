//! Ingests against a model: whatever is written, dropped and taken up again, the bytes are those that were accepted.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    /// Write so many bytes at an offset this far from the right one.
    Write(u8, i8),
    /// Begin anew.
    Restart(u8),
    /// Drop the writer and open it again.
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<u8>(), Just(0i8)).prop_map(|(length, off)| Step::Write(length, off)),
        1 => (any::<u8>(), any::<i8>()).prop_map(|(length, off)| Step::Write(length, off)),
        1 => any::<u8>().prop_map(Step::Restart),
        1 => Just(Step::Reopen),
    ]
}

async fn run(steps: Vec<Step>) {
    let fixture = Fixture::new();
    let ns = namespace("default");
    let open = || fixture.content.writer(&ns, "r", 0, None);
    let mut writer = open().await.unwrap();
    let mut model: Vec<u8> = Vec::new();
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Write(length, off) => {
                let bytes = vec![number as u8; usize::from(length)];
                let right = model.len() as i64;
                let offset = (right + i64::from(off)).max(0);
                let result = writer.write(offset as u64, bytes.clone().into()).await;
                if offset == 0 {
                    model.clear();
                }
                if offset == 0 || offset == right {
                    result.unwrap();
                    model.extend(bytes);
                } else {
                    assert_eq!(kind(result), Kind::OutOfRange);
                }
            }
            Step::Restart(length) => {
                model = vec![number as u8; usize::from(length)];
                writer.write(0, model.clone().into()).await.unwrap();
            }
            Step::Reopen => {
                drop(writer);
                writer = open().await.unwrap();
            }
        }
        assert_eq!(writer.status().offset, model.len() as u64);
    }
    let mut hasher = Hasher::new(ids::Algorithm::Sha256);
    hasher.update(&model);
    assert_eq!(writer.digest().await.unwrap(), hasher.digest().unwrap());
    let info = writer.commit(model.len() as u64, None, Labels::new()).await.unwrap();
    assert_eq!(fixture.content.read(&ns, &info.digest, 1 << 20).await.unwrap(), model);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn bytes_are_those_that_were_accepted(steps in proptest::collection::vec(step(), 0..20)) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run(steps));
    }
}
