//! Creating a container: image, name, root, user, spec, record.

use std::time::SystemTime;

use container::Container;
use errors::{Context, Error, Kind, Result, WithKind};
use ids::{ContainerId, Labels, Namespace};
use image::{ImageConfig, Platform};
use prost_types::Any;
use snapshot::Mount;

use crate::config::{ContainerConfig, EXTENSION, GC_ROOT, GC_ROOT_OWNER, NAME_LABEL};
use crate::kill::parse_signal;
use crate::remove::remove_folder;
use crate::spec::{ImageDefaults, Machine, SpecInput};
use crate::undo::Undo;
use crate::user::User;
use crate::{Flows, files, names, spec, tables};

/// The type URL of a runtime spec, as containerd has it.
const SPEC: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
/// How often a made-up name is made up anew.
const NAME_ATTEMPTS: u32 = 6;

/// The image that a container is made from.
struct Base {
    name: String,
    config: ImageConfig,
    chain: String,
}

impl Flows {
    /// Creates a container; `NotFound` "No such image: ..." when the image is not here.
    pub async fn create(&self, namespace: &Namespace, config: ContainerConfig) -> Result<ContainerId> {
        let (flows, namespace) = (self.clone(), namespace.clone());
        self.to_the_end(async move { flows.create_now(&namespace, config).await }).await
    }

    async fn create_now(&self, namespace: &Namespace, mut config: ContainerConfig) -> Result<ContainerId> {
        if !config.name.is_empty() {
            names::check_name(&config.name)?;
        }
        if !config.stop_signal.is_empty() {
            parse_signal(&config.stop_signal)?;
        }
        config.snapshotter = or(&config.snapshotter, &self.settings().snapshotter);
        config.runtime = or(&config.runtime, &self.settings().runtime);
        let mut step = marks::step("flows.create.image")?;
        let base = self.base(namespace, &config).await?;
        step.next("flows.create.name")?;
        let id = names::new_id()?;
        // Whoever finds the name taken waits on this until there is a record, or no container after all.
        let _guard = self.live().lock(namespace, &id).await;
        let mut undo = Undo::default();
        // What goes with its end anyway need not outlast a power cut; all else comes to disk together, before anybody hears of it.
        let goes_with_its_end = config.auto_remove;
        let result = metadata::lazily(async {
            self.name_it(namespace, &mut config, &id, &mut undo).await?;
            drop(step);
            self.make(namespace, &id, config, &base, &mut undo).await
        });
        let result = match result.await {
            Ok(()) if !goes_with_its_end => self.rooms().store.flush().await,
            other => other,
        };
        let made = undo.or_back(result).await;
        if made.is_err() {
            self.live().forget(namespace, &id);
        }
        made?;
        marks::passed("flows.create.done");
        Ok(id)
    }

    /// Finds the image, and unpacks it where it is not yet.
    async fn base(&self, namespace: &Namespace, config: &ContainerConfig) -> Result<Base> {
        let found = self.find_image(namespace, &config.image).await?;
        let image = found
            .names
            .first()
            .ok_or_else(|| Error::not_found(format!("No such image: {}", config.image)))?;
        let platform = match config.platform.as_str() {
            "" => None,
            text => Some(Platform::parse(text)?),
        };
        let images = &self.rooms().images;
        let image_config = images.config(namespace, &image.target, platform.as_ref()).await?;
        if let Some(wanted) = &platform {
            check_platform(&config.image, wanted, &image_config.raw)?;
        }
        let snapshotter = self.rooms().snapshotters.get(&config.snapshotter)?;
        let chain = image_config.chain_id.as_ref().map(ToString::to_string).unwrap_or_default();
        let unpacked = chain.is_empty() || snapshotter.stat(namespace, &chain).is_ok();
        if !unpacked {
            let _step = marks::step("flows.create.unpack")?;
            // A collection must not take the layers while they are being unpacked.
            let lease = self.hold(namespace).await?;
            let (target, hold) = (&image.target, Some(&lease.hold));
            let unpacked = images
                .unpack(namespace, target, platform.as_ref(), &config.snapshotter, hold, image::silent())
                .await;
            lease.end().await;
            unpacked.context(|| format!("unpack image {}", image.name))?;
        }
        Ok(Base { name: image.name.clone(), config: image_config, chain })
    }

    /// Takes the chosen name, or one that is made up.
    async fn name_it(
        &self,
        namespace: &Namespace,
        config: &mut ContainerConfig,
        id: &ContainerId,
        undo: &mut Undo,
    ) -> Result<()> {
        let chosen = !config.name.is_empty();
        let mut attempt = 0;
        loop {
            if !chosen {
                config.name = names::new_name(attempt);
            }
            match self.take_name(namespace, &config.name, id).await {
                Err(error) if error.is_already_exists() && !chosen && attempt < NAME_ATTEMPTS => attempt += 1,
                other => break other?,
            }
        }
        let (store, namespace, name, id) =
            (self.rooms().store.clone(), namespace.clone(), config.name.clone(), id.clone());
        undo.push("give the name back", async move { tables::forget(&store, &namespace, &name, &id).await });
        Ok(())
    }

    async fn take_name(&self, namespace: &Namespace, name: &str, id: &ContainerId) -> Result<()> {
        // The id of a container of another client is its name.
        if let Ok(other) = ContainerId::parse(name)
            && self.rooms().containers.get(namespace, &other).is_ok()
        {
            return Err(Error::already_exists(format!(
                "Conflict. The container name \"/{name}\" is already in use by container \"{other}\". \
                 You have to remove (or rename) that container to be able to reuse that name."
            )));
        }
        let store = &self.rooms().store;
        match tables::take_name(store, namespace, name, id).await {
            Err(error) if error.is_already_exists() && self.is_abandoned(namespace, name).await? => {
                tables::take_name(store, namespace, name, id).await
            }
            taken => taken,
        }
    }

    /// Gives back a name whose container another client removed, by containerd's API, which knows of no names; says whether it was so.
    async fn is_abandoned(&self, namespace: &Namespace, name: &str) -> Result<bool> {
        let store = &self.rooms().store;
        let Some(owner) = tables::id_of_name(store, namespace, name)? else { return Ok(true) };
        let owner = ContainerId::parse(&owner)?;
        let guard = self.live().lock(namespace, &owner).await;
        match self.rooms().containers.get(namespace, &owner) {
            Err(error) if error.is_not_found() => {}
            other => return other.map(|_| false),
        }
        remove_folder(self.container_root(namespace, &owner)).await?;
        remove_folder(self.container_state(namespace, &owner)).await?;
        tables::forget(store, namespace, name, &owner).await?;
        drop(guard);
        self.live().forget(namespace, &owner);
        Ok(true)
    }

    async fn make(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
        mut config: ContainerConfig,
        base: &Base,
        undo: &mut Undo,
    ) -> Result<()> {
        let mut step = marks::step("flows.create.root")?;
        let mounts = self.prepare_root(namespace, id, &config, base, undo).await?;
        step.next("flows.create.user")?;
        let defaults = ImageDefaults::parse(&base.config.raw)?;
        let user = self.user_of(&config, &defaults, base, mounts).await?;
        let machine = Machine::look(config.privileged);
        if config.hostname.is_empty() {
            config.hostname = match config.network.as_str() {
                "host" => machine.hostname.clone(),
                _ => id.as_str().chars().take(12).collect(),
            };
        }
        step.next("flows.create.files")?;
        let folder = self.container_state(namespace, id);
        undo.push("remove the files", remove_folder(folder.clone()));
        files::write(&folder, &config.hostname, config.network == "host")?;
        step.next("flows.create.spec")?;
        config.command = spec::command(&config, &defaults)?;
        config.image_id = base.config.digest.to_string();
        if config.stop_signal.is_empty() {
            config.stop_signal = defaults.stop_signal.clone();
        }
        let value = spec::build(&SpecInput {
            namespace,
            id,
            config: &config,
            image: &defaults,
            user: &user,
            files: &folder,
            capabilities: &self.settings().capabilities,
            seccomp: self.settings().seccomp,
            machine: &machine,
        })?;
        step.next("flows.create.record")?;
        self.record(namespace, id, &config, base, &defaults, Any { type_url: SPEC.to_owned(), value })
            .await?;
        let containers = self.rooms().containers.clone();
        let (namespace, id) = (namespace.clone(), id.clone());
        undo.push("forget the record", async move { containers.delete(&namespace, &id).await });
        Ok(())
    }

    async fn prepare_root(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
        config: &ContainerConfig,
        base: &Base,
        undo: &mut Undo,
    ) -> Result<Vec<Mount>> {
        let snapshotter = self.rooms().snapshotters.get(&config.snapshotter)?;
        // Until the record refers to it, a collection must not take it.
        let root = Labels::from([(GC_ROOT.to_owned(), GC_ROOT_OWNER.to_owned())]);
        let mounts = snapshotter.prepare(namespace, id.as_str(), &base.chain, root).await?;
        let (namespace, id) = (namespace.clone(), id.clone());
        undo.push("remove the root", async move { snapshotter.remove(&namespace, id.as_str()).await });
        Ok(mounts)
    }

    /// A number needs no look into the image when docker gives it no groups; names do, and so does root, which has groups.
    async fn user_of(
        &self,
        config: &ContainerConfig,
        image: &ImageDefaults,
        base: &Base,
        mounts: Vec<Mount>,
    ) -> Result<User> {
        let text = or(&config.user, &image.user);
        self.user_of_layers(&config.snapshotter, &base.chain, mounts, &text).await
    }

    async fn record(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
        config: &ContainerConfig,
        base: &Base,
        defaults: &ImageDefaults,
        spec: Any,
    ) -> Result<()> {
        let mut labels: Labels = defaults.labels.clone();
        labels.extend(config.labels.clone());
        labels.insert(NAME_LABEL.to_owned(), config.name.clone());
        let now = SystemTime::now();
        let container = Container {
            id: id.clone(),
            labels,
            image: base.name.clone(),
            runtime: config.runtime.clone(),
            runtime_options: None,
            spec: Some(spec),
            snapshotter: config.snapshotter.clone(),
            snapshot_key: id.to_string(),
            created_at: now,
            updated_at: now,
            extensions: [(EXTENSION.to_owned(), config.to_any()?)].into(),
            sandbox: String::new(),
        };
        self.rooms().containers.create(namespace, container).await.map(drop)
    }
}

fn or(first: &str, second: &str) -> String {
    if first.is_empty() { second.to_owned() } else { first.to_owned() }
}

/// An image of one platform has no list to choose from: what it is says its config. docker's words.
fn check_platform(image: &str, wanted: &Platform, config: &[u8]) -> Result<()> {
    #[derive(serde::Deserialize)]
    struct Of {
        os: Option<String>,
        architecture: Option<String>,
        variant: Option<String>,
    }
    let of: Of = serde_json::from_slice(config)
        .kind(Kind::InvalidArgument, || format!("read the config of {image}"))?;
    let [os, architecture, variant] = [of.os, of.architecture, of.variant].map(Option::unwrap_or_default);
    let actual = Platform::new(&os, &architecture, &variant);
    // A config that says nothing is of any platform.
    if os.is_empty() || wanted.rank(&actual).is_some() {
        return Ok(());
    }
    Err(Error::not_found(format!(
        "image with reference {image} was found but does not match the specified platform: wanted {wanted}, actual: {actual}"
    )))
}
