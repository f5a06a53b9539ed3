//! Features of a backbone, computed in advance or exported for other programs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::Machine;
use super::supply::Supply;
use crate::config::Experiment;
use crate::data::labels::LabelTable;
use crate::data::npy;
use crate::data::split::{Set, Split};
use crate::error::{Error, Result};
use crate::features::given::NAMES;
use crate::features::{FeatureTable, Shown};
use crate::io::write_atomic;
use crate::model::weights::to_bytes;
use crate::rows;

/// Computes the features of one experiment's backbone.
#[derive(Debug, Clone, Copy)]
pub struct Features<'a> {
    /// The experiment with the backbone, pictures and augmentation.
    pub experiment: &'a Experiment,
    /// The images.
    pub split: &'a Split,
    /// The folder of the split.
    pub split_folder: &'a Path,
    /// The machine's settings.
    pub machine: &'a Machine,
}

/// The features of a set and the images they belong to.
type OfSet = (Set, Arc<LabelTable>, Arc<FeatureTable>);

impl Features<'_> {
    /// Computes the features of `sets` as trainings need them; stored features are left as they
    /// are. Returns the folder.
    ///
    /// # Errors
    /// Fails if the backbone learns, if a picture has infinitely many versions, or if a picture
    /// cannot be read.
    pub fn keep(&self, sets: &[Set]) -> Result<PathBuf> {
        let experiment = self.experiment;
        if sets.contains(&Set::Train) && experiment.input.augment.versions().is_none() {
            let problem = "is 0: a training picture is different each time it is used, so no features can be kept";
            return Err(Error::key("input.augment.views", problem).hint(
                "`--views 10`, and the same key in the experiment, gives each picture ten \
                 versions; without `input.augment.mixup`",
            ));
        }
        let supply = self.supply()?;
        for &set in sets {
            let shown = match set {
                Set::Train => Shown::Training,
                _ => Shown::Testing,
            };
            supply.features(set, shown)?;
        }
        Ok(supply.folder())
    }

    /// Writes the features of `sets` into `out`: a `.npy` file of one set, with a `.csv` file of
    /// names and labels beside it, or a `.safetensors` file. The pictures are shown as in testing
    /// or, if `augmented` is set, as in training, one version after another.
    ///
    /// # Errors
    /// As [`keep`](Self::keep); also fails if the file has another extension or cannot be written.
    pub fn export(&self, sets: &[Set], augmented: bool, out: &Path) -> Result<()> {
        let ending = out.extension().and_then(|ending| ending.to_str());
        let write: fn(&Path, &[OfSet]) -> Result<()> = match (ending, sets) {
            (Some("npy"), [_]) => export_npy,
            (Some("safetensors"), _) => export_tensors,
            (Some("npy"), _) => {
                let problem = "can contain only one array, but several sets were asked for";
                return Err(Error::file(out, problem)
                    .hint("choose one set with `--on`, or name a `.safetensors` file"));
            }
            _ => return Err(Error::file(out, "expected a `.npy` or `.safetensors` file")),
        };
        if augmented && sets != [Set::Train] {
            let problem = "only training pictures have augmented versions";
            return Err(Error::argument("--views", problem).hint("add `--on train`"));
        }
        let supply = self.supply()?;
        let shown = match augmented {
            true => Shown::Training,
            false => Shown::Testing,
        };
        let found: Vec<OfSet> = sets
            .iter()
            .map(|&set| {
                let (table, _) = self.split.set(set, self.split_folder)?;
                Ok((set, Arc::clone(table), supply.features(set, shown)?))
            })
            .collect::<Result<_>>()?;
        write(out, &found)
    }

    fn supply(&self) -> Result<Supply<'_>> {
        let model = &self.experiment.model;
        if !model.is_backbone_fixed() {
            let key = match model.features {
                Some(_) => {
                    return Err(Error::key(
                        "model.features",
                        "is given: there is no backbone",
                    ));
                }
                None if model.adapter.is_some() => "model.adapter",
                None if !model.norm_eval => "model.norm_eval",
                None => "model.frozen_stages",
            };
            let last = model.backbone.architecture().last_stage();
            let remedy = match model.adapter {
                Some(_) => {
                    "set `model.adapter.frozen = true`, and `start.run` to take the adapter of a run".to_owned()
                }
                None => format!("set `model.frozen_stages = {last}` and `model.norm_eval = true`"),
            };
            return Err(
                Error::key(key, "lets the backbone change in training").hint(format_args!(
                    "features need one that does not change: {remedy}"
                )),
            );
        }
        let Features {
            experiment,
            split,
            split_folder,
            machine,
        } = *self;
        Supply::new(experiment, split, split_folder, machine, None)
    }
}

/// Iterates over the images of a table with features, version by version.
fn shown(table: &FeatureTable) -> impl Iterator<Item = (usize, u32)> + '_ {
    let images = 0..table.len() as u32;
    (0..table.versions()).flat_map(move |version| {
        let known = images.clone().filter(|&image| table.has(image));
        known.map(move |image| (version, image))
    })
}

fn shape(table: &FeatureTable) -> Vec<usize> {
    let rows = shown(table).count();
    [rows].into_iter().chain(table.shape()).collect()
}

fn export_npy(out: &Path, found: &[OfSet]) -> Result<()> {
    for (_, labels, table) in found {
        npy::write(out, &shape(table), |put| {
            let mut row = Vec::new();
            for (version, image) in shown(table) {
                row.clear();
                table.append(version, image, &mut row);
                put(&row)?;
            }
            Ok(())
        })?;
        rows::write_with(&out.with_extension("csv"), |csv| {
            csv.write_record(["image", "version", "labels"])?;
            for (version, image) in shown(table) {
                let image = image as usize;
                let classes = labels.labels(image).iter();
                let classes: Vec<&str> = classes
                    .map(|&class| labels.classes()[class as usize].as_str())
                    .collect();
                let version = version.to_string();
                csv.write_record([labels.image(image), &version, &classes.join("|")])?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn export_tensors(out: &Path, found: &[OfSet]) -> Result<()> {
    let mut tensors: Vec<(String, Tensor)> = Vec::new();
    let mut metadata = BTreeMap::new();
    let json = |list: &[&str]| {
        serde_json::to_string(list)
            .map_err(|e| Error::file(out, format_args!("cannot be written: {e}")))
    };
    for (set, labels, table) in found {
        let mut values = Vec::new();
        let (mut targets, mut names) = (Vec::new(), Vec::new());
        let mut row = vec![0.0; labels.num_classes()];
        for (version, image) in shown(table) {
            table.append(version, image, &mut values);
            labels.fill_targets(image as usize, &mut row);
            targets.extend_from_slice(&row);
            names.push(labels.image(image as usize));
        }
        let wide = (names.len(), labels.num_classes());
        let values = Tensor::from_vec(values, shape(table), &Device::Cpu)?;
        tensors.push((set.name().to_owned(), values));
        let targets = Tensor::from_vec(targets, wide, &Device::Cpu)?;
        tensors.push((format!("{set}.labels"), targets));
        metadata.insert(format!("{set}.{NAMES}"), json(&names)?);
        let classes: Vec<&str> = labels.classes().iter().map(String::as_str).collect();
        metadata.insert("classes".to_owned(), json(&classes)?);
    }
    let bytes = to_bytes(out, &tensors, &metadata)?;
    write_atomic(out, |writer| Ok(writer.write_all(&bytes)?))
}
