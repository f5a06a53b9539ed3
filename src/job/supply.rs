//! The source of a run's network inputs: its pictures, or features that are already known.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::Machine;
use super::kept::{Fixed, Held, KeptFeatures};
use crate::config::Experiment;
use crate::data::loader::{Form, Inputs};
use crate::data::split::{Set, Split};
use crate::error::{Error, Result};
use crate::features::{self, FeatureInputs, FeatureTable, Key, Shown};
use crate::io;
use crate::model::{Model, Role, backbone};
use crate::run_dir::{Checkpoint, RunDir};
use crate::train::checkpoint::{self, Saved};

/// The inputs of a run's network, and the network.
#[derive(Debug, Clone)]
pub(super) struct Supply<'a> {
    experiment: &'a Experiment,
    split: &'a Split,
    split_folder: &'a Path,
    machine: &'a Machine,
    /// The checkpoint its network comes from; `None` for a network to be trained.
    checkpoint: Option<PathBuf>,
    /// The backbone, if none of its tensors ever changes and features may be stored.
    fixed: Option<Arc<Fixed>>,
}

impl<'a> Supply<'a> {
    /// Makes the inputs of an experiment on its split; with a `checkpoint` of a run, for the
    /// network stored there.
    pub(super) fn new(
        experiment: &'a Experiment,
        split: &'a Split,
        split_folder: &'a Path,
        machine: &'a Machine,
        checkpoint: Option<PathBuf>,
    ) -> Result<Self> {
        let mut supply = Supply {
            experiment,
            split,
            split_folder,
            machine,
            checkpoint,
            fixed: None,
        };
        if experiment.model.is_backbone_fixed() && !machine.features.off {
            supply.fixed = Some(supply.backbone()?);
        }
        Ok(supply)
    }

    /// Returns the backbone, which is examined once per process.
    fn backbone(&self) -> Result<Arc<Fixed>> {
        let origin = self.origin();
        let backbones = &self.machine.features.backbones;
        let lock = || backbones.lock().unwrap_or_else(PoisonError::into_inner);
        let find = |(known, _): &&(String, _)| *known == origin;
        if let Some((_, fixed)) = lock().iter().find(find) {
            return Ok(fixed.clone());
        }
        let apart = self.checkpoint.as_deref().map(checkpoint::backbone_beside);
        let fixed = match apart.filter(|path| path.is_file()) {
            Some(path) => Fixed {
                hash: checkpoint::backbone_hash(&path)?,
                scalars: 0,
                weights_hash: None,
                model: Held::default(),
            },
            None => {
                let (model, weights_hash) = self.with_backbone()?;
                let all = model.parameters.iter();
                let own = all.filter(|entry| entry.name.starts_with(backbone::PREFIX));
                let learnable = own.filter(|entry| entry.role != Role::Buffer);
                Fixed {
                    hash: model.parameters.hash(backbone::PREFIX)?,
                    scalars: learnable.map(|entry| entry.var.elem_count()).sum(),
                    weights_hash,
                    model: Held(Mutex::new(Some(Arc::new(model)))),
                }
            }
        };
        let fixed = Arc::new(fixed);
        lock().push((origin, fixed.clone()));
        Ok(fixed)
    }

    /// Returns the backbone if training works on its features of the pictures rather than on the
    /// pictures.
    fn below_training(&self) -> Option<&Arc<Fixed>> {
        let countable = self.experiment.input.augment.versions().is_some();
        self.fixed.as_ref().filter(|_| countable)
    }

    /// Returns a text that identifies what the backbone is made from.
    fn origin(&self) -> String {
        let Experiment {
            model, start, seed, ..
        } = self.experiment;
        // Only randomly drawn initial weights depend on the seed.
        let drawn = model.weights.is_empty() && start.is_none();
        let seed = drawn.then_some(seed);
        let network = model.backbone_config();
        format!(
            "{network:?} {} {start:?} {seed:?} {:?}",
            model.weights, self.checkpoint
        )
    }

    /// Returns the whole network with its initial values, or with those of its checkpoint, and the
    /// hash of the file that the initial weights came from.
    fn with_backbone(&self) -> Result<(Model, Option<String>)> {
        let Supply {
            experiment,
            machine,
            ..
        } = self;
        let labels = &self.split.train;
        if let Some(path) = &self.checkpoint {
            let model = Model::empty(&experiment.model, labels, &machine.device)?;
            Saved::read(path, &machine.device)?.plain(&model.parameters)?;
            return Ok((model, None));
        }
        let device = &machine.device;
        let model = Model::new(&experiment.model, labels, device, experiment.seed)?;
        let hash = match (&experiment.start, experiment.model.weights.as_str()) {
            (Some(start), _) => {
                start.check(labels)?;
                Some(start.load(&model.parameters, device)?)
            }
            (None, "") => None,
            (None, weights) => Some(model.load_backbone(weights)?),
        };
        Ok((model, hash))
    }

    /// Returns the network to be trained, and the hash of its initial weights.
    pub(super) fn model(&self) -> Result<(Model, Option<String>)> {
        let weights_hash = match (&self.experiment.model.features, self.below_training()) {
            (Some(given), _) => Some(io::hash_file(given.of(Set::Train).0)?),
            (None, Some(fixed)) => fixed.weights_hash.clone(),
            (None, None) => return self.with_backbone(),
        };
        let (labels, device) = (&self.split.train, &self.machine.device);
        let (config, seed) = (&self.experiment.model, self.experiment.seed);
        let model = Model::on_features(config, self.width()?, labels, device, Some(seed))?;
        if let Some(start) = &self.experiment.start {
            start.check(labels)?;
            start.load(&model.parameters, device)?;
        }
        Ok((model, weights_hash))
    }

    /// Returns the network without values, to be filled from a checkpoint.
    pub(super) fn empty(&self) -> Result<Model> {
        let (config, labels) = (&self.experiment.model, &self.split.train);
        let device = &self.machine.device;
        match self.fixed.is_some() || config.features.is_some() {
            false => Model::empty(config, labels, device),
            true => Model::on_features(config, self.width()?, labels, device, None),
        }
    }

    /// Returns the width of the features passed to the neck and the head.
    pub(super) fn width(&self) -> Result<usize> {
        let model = &self.experiment.model;
        let architecture = model.backbone.architecture();
        Ok(match (&model.features, model.takes_maps()) {
            (Some(_), _) => self.given(Set::Train)?.width(),
            (None, true) => architecture.num_map_features(),
            (None, false) => architecture.num_pooled(),
        })
    }

    /// Returns the number of parameter scalars that the network lacks if it is trained on features.
    pub(super) fn scalars_below(&self) -> usize {
        self.below_training().map_or(0, |fixed| fixed.scalars)
    }

    /// Puts the backbone beside the checkpoints of `run` if it is missing there. All runs share one
    /// file, if the file system supports hard links.
    pub(super) fn place_backbone(&self, run: &RunDir) -> Result<()> {
        let Some(fixed) = self.below_training() else {
            return Ok(());
        };
        let place = checkpoint::backbone_beside(&run.checkpoint(Checkpoint::Last));
        let is_there = |path: &Path| {
            path.is_file() && checkpoint::backbone_hash(path).is_ok_and(|hash| hash == fixed.hash)
        };
        if is_there(&place) {
            return Ok(());
        }
        let name = format!("backbone-{}.safetensors", &fixed.hash[..40]);
        let shared = self.folder().join(name);
        if !is_there(&shared) {
            let model = self.held(fixed)?;
            checkpoint::save_backbone(&shared, &model.parameters, &fixed.hash)?;
        }
        io::link_or_copy(&shared, &place)
    }

    /// Returns the network with the fixed backbone.
    fn held(&self, fixed: &Fixed) -> Result<Arc<Model>> {
        if let Some(model) = &*fixed.model.lock() {
            return Ok(model.clone());
        }
        let model = Arc::new(self.with_backbone()?.0);
        *fixed.model.lock() = Some(model.clone());
        Ok(model)
    }

    /// Returns the inputs of a set, shown as in training or as in testing.
    pub(super) fn inputs(&self, set: Set, shown: Shown) -> Result<Box<dyn Inputs>> {
        let (table, root) = self.split.set(set, self.split_folder)?;
        let batch = self.experiment.train.batch_size;
        if self.experiment.model.features.is_some() {
            let inputs = FeatureInputs::new(table.clone(), self.given(set)?, batch, None)?;
            return Ok(Box::new(inputs));
        }
        let fixed = match shown {
            Shown::Training => self.below_training(),
            Shown::Testing => self.fixed.as_ref(),
        };
        let Some(fixed) = fixed else {
            let loader = (self.machine).loader(self.experiment, self.split, (table, root))?;
            return Ok(Box::new(loader));
        };
        let features = self.kept(set, shown, fixed)?;
        let augment = (shown == Shown::Training).then(|| self.experiment.input.augment.clone());
        let inputs = FeatureInputs::new(table.clone(), features, batch, augment)?;
        Ok(Box::new(inputs))
    }

    /// Returns the features given for a set, which are read once per process.
    fn given(&self, set: Set) -> Result<Arc<FeatureTable>> {
        let model = &self.experiment.model;
        let Some(config) = &model.features else {
            return Err(Error::key("model.features", "is missing"));
        };
        let known = &self.machine.features.given;
        let lock = || known.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!("{config:?} {set} {}", self.split.hash);
        let found = lock().get(&name).cloned();
        let table = match found {
            Some(table) => table,
            None => {
                let table = Arc::new(features::given::read(config, set, self.split)?);
                lock().insert(name, table.clone());
                table
            }
        };
        let (is_maps, path) = (matches!(table.form(), Form::Maps { .. }), config.of(set).0);
        if is_maps != model.takes_maps() {
            let [found, wanted] = [is_maps, model.takes_maps()].map(|maps| match maps {
                true => "maps",
                false => "one vector per picture",
            });
            let problem = format!("contains {found}, but the head takes {wanted}");
            return Err(Error::file(path, problem).hint("choose another `model.head.kind`"));
        }
        if set != Set::Train {
            let wide = self.given(Set::Train)?.width();
            if table.width() != wide {
                let width = table.width();
                let problem =
                    format!("has {width} features per picture, but those for training have {wide}");
                return Err(Error::file(path, problem));
            }
        }
        Ok(table)
    }

    /// Returns the features of a set, computed by a fixed backbone.
    ///
    /// # Errors
    /// Fails if there is no such backbone; otherwise as [`crate::features::Store::get`].
    pub(super) fn features(&self, set: Set, shown: Shown) -> Result<Arc<FeatureTable>> {
        match &self.fixed {
            Some(fixed) => self.kept(set, shown, fixed),
            None => Err(Error::argument("--no-features", "keeps no features")),
        }
    }

    /// Returns the stored features of a set, which are computed if they do not exist.
    fn kept(&self, set: Set, shown: Shown, fixed: &Fixed) -> Result<Arc<FeatureTable>> {
        let (machine, experiment) = (self.machine, self.experiment);
        let (table, root) = self.split.set(set, self.split_folder)?;
        let key = Key {
            backbone: &fixed.hash,
            network: &experiment.model.backbone_config(),
            input: &experiment.input,
            table,
            root,
            shown,
            maps: experiment.model.takes_maps(),
            device: &machine.device,
        };
        let label = format!("features of {set}");
        let loader = || machine.loader(experiment, self.split, (table, root));
        let (bad, store) = (experiment.on_bad_image, &machine.features.store);
        let model = || self.held(fixed);
        let found = store.get(&self.folder(), &key, bad, &label, loader, model);
        if set == Set::Test {
            // By now a run has everything it needs from the network.
            *fixed.model.lock() = None;
        }
        found
    }

    /// Returns the folder of stored features.
    pub(super) fn folder(&self) -> PathBuf {
        let own = || self.split_folder.join(KeptFeatures::FOLDER);
        (self.machine.features.folder.clone()).unwrap_or_else(own)
    }
}
