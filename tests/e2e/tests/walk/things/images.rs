//! What is done with images, snapshots and content.

use anyhow::{Context, Result, ensure};
use harness::Outcome;
use proto_containerd::services::content::{
    AbortRequest, ListStatusesRequest, WriteAction, WriteContentRequest,
};

use super::{Harm, Prepare, Thing, done_or, thing};
use crate::world::World;

/// All of them.
pub(super) fn all() -> Vec<Thing> {
    let nothing: Prepare = |_| Ok(());
    let small: Prepare = |world| load(world).and_then(Outcome::ok).map(drop);
    vec![
        thing(
            "pull",
            nothing,
            pull,
            |world, outcome, _| has_image(world, outcome, "small:1"),
            |world| {
                pull(world)?.ok()?;
                image_is_whole(world, "small:1")
            },
        ),
        thing(
            "load",
            nothing,
            |world| load(world),
            |world, outcome, _| has_image(world, outcome, "small:loaded"),
            |world| {
                load(world)?.ok()?;
                image_is_whole(world, "small:loaded")
            },
        ),
        thing("save", nothing, save, saved, |world| {
            let outcome = save(world)?;
            outcome.clone().ok()?;
            saved(world, &outcome, Harm::None)
        }),
        thing(
            "tag",
            nothing,
            tag,
            |world, outcome, _| has_image(world, outcome, "other:1"),
            |world| {
                tag(world)?.ok()?;
                ensure!(images(world)?.contains("other"), "the tag is not listed");
                Ok(())
            },
        ),
        thing(
            "rmi",
            small,
            remove_image,
            |world, outcome, _| {
                ensure!(outcome.code != 0 || !images(world)?.contains("small"), "a removed image is listed");
                Ok(())
            },
            |world| done_or(remove_image(world)?, "No such image"),
        ),
        thing(
            "commit",
            prepared,
            commit,
            |_, _, _| Ok(()),
            |world| {
                // Nothing refers to it: what is committed, and what is not, may have been collected meanwhile.
                let outcome = commit(world)?;
                let known = ["already exists", "does not exist"];
                let known = known.iter().any(|text| outcome.stderr.contains(text));
                ensure!(outcome.code == 0 || known, "{outcome:?}");
                Ok(())
            },
        ),
        thing("ingest-abort", ingesting, abort, aborted, |world| {
            let outcome = abort(world)?;
            // Nobody holds it: a collection may have been quicker.
            ensure!(outcome.code == 0 || outcome.stderr.contains("not found"), "{outcome:?}");
            aborted(world, &outcome, Harm::None)
        }),
    ]
}

fn pull(world: &mut World) -> Result<Outcome> {
    let remote = world.remote.clone();
    world.rctl(&["pull", "--quiet", &remote])
}

pub(super) fn load(world: &World) -> Result<Outcome> {
    world.rctl(&["load", "--quiet", "--input", &world.archive])
}

fn images(world: &World) -> Result<String> {
    world.ok(&["images"])
}

fn has_image(world: &World, outcome: &Outcome, name: &str) -> Result<()> {
    match outcome.code {
        0 => image_is_whole(world, name),
        _ => Ok(()),
    }
}

/// It is listed, and a container can be made of it: its layers are unpacked.
fn image_is_whole(world: &World, name: &str) -> Result<()> {
    let name = if name == "small:1" { world.remote.as_str() } else { name };
    let made = world
        .ok(&["create", "--name", "look", name, "true"])
        .with_context(|| format!("use the image {name}"));
    world.ok(&["rm", "--force", "look"])?;
    made.map(drop)
}

fn save(world: &mut World) -> Result<Outcome> {
    let path = world.scene.root().join("scratch/saved.tar");
    // It may not be there yet.
    let _ = std::fs::remove_file(&path);
    world.rctl(&["save", "--output", &path.display().to_string(), "busybox"])
}

fn saved(world: &World, outcome: &Outcome, _: Harm) -> Result<()> {
    let path = world.scene.root().join("scratch/saved.tar");
    if outcome.code != 0 {
        return Ok(());
    }
    let listed = harness::sh::read(std::process::Command::new("tar").arg("-tf").arg(&path))?;
    ensure!(listed.contains("manifest.json") && listed.contains("index.json"), "the archive has {listed}");
    Ok(())
}

fn tag(world: &mut World) -> Result<Outcome> {
    world.rctl(&["tag", "busybox", "other:1"])
}

fn remove_image(world: &mut World) -> Result<Outcome> {
    world.rctl(&["rmi", "small:loaded"])
}

fn prepared(world: &mut World) -> Result<()> {
    world.ok(&["snapshots", "prepare", "layer"]).map(drop)
}

fn commit(world: &mut World) -> Result<Outcome> {
    world.rctl(&["snapshots", "commit", "layer-done", "layer"])
}

/// The name of an ingest that is never finished.
const INGEST: &str = "half";

/// A blob of which the first bytes have come.
fn ingesting(world: &mut World) -> Result<()> {
    let part = WriteContentRequest {
        action: WriteAction::Write.into(),
        r#ref: INGEST.to_owned(),
        total: 1000,
        data: vec![b'x'; 500].into(),
        ..WriteContentRequest::default()
    };
    world.ask(|client| async move {
        let mut answers = client.content().write(tokio_stream::once(part)).await?.into_inner();
        while answers.message().await?.is_some() {}
        Ok(())
    })
}

/// Ends it as `ctr` and other clients do.
fn abort(world: &mut World) -> Result<Outcome> {
    let request = AbortRequest { r#ref: INGEST.to_owned() };
    let answer = world.ask(|client| async move { Ok(client.content().abort(request).await.err()) });
    let (code, stderr) = match answer {
        Ok(None) => (0, String::new()),
        Ok(Some(status)) => (1, status.message().to_owned()),
        Err(error) => (1, format!("{error:#}")),
    };
    Ok(Outcome { what: "abort an ingest".into(), code, stdout: String::new(), stderr })
}

fn aborted(world: &World, outcome: &Outcome, _: Harm) -> Result<()> {
    let statuses = world.ask(|client| async move {
        Ok(client.content().list_statuses(ListStatusesRequest::default()).await?)
    })?;
    let left = statuses.into_inner().statuses.into_iter().any(|status| status.r#ref == INGEST);
    ensure!(outcome.code != 0 || !left, "an ingest that was aborted is there");
    Ok(())
}
