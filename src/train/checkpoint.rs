//! Checkpoints: one `.safetensors` file with the model, the optimiser and the position, written
//! atomically, with a hash that is verified on reading (`seal.rs`).
//!
//! The contents do not depend on the clock: equal trainings write equal files.
//!
//! A network trained on the features of a fixed backbone has the backbone in a separate file beside
//! its checkpoints, since no step changes it.

mod position;
mod seal;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};

use crate::error::{Error, Result};
use crate::model::Parameters;
use crate::model::backbone::PREFIX;
use crate::model::weights::{self, read_tensors, restore, told};
use crate::optim::{Average, Optimizer};

pub use position::Position;

/// Prefix of the optimiser's state: `optimizer.<slot>.<parameter>`.
const OPTIMIZER: &str = "optimizer.";

/// Prefix of the moving averages: `ema.<parameter>`.
const AVERAGE: &str = "ema.";

/// Metadata key for the hash of a backbone's tensors.
const BACKBONE: &str = "dbloss.backbone";

/// The contents of a checkpoint except for the position.
#[derive(Debug, Clone, Copy)]
pub struct Contents<'a> {
    /// The network.
    pub parameters: &'a Parameters,
    /// The optimiser's state. A file without it is enough to evaluate, but not to resume.
    pub optimizer: Option<&'a Optimizer>,
    /// The moving average of the weights, if one is kept.
    pub average: Option<&'a Average>,
}

/// Writes a checkpoint.
pub fn save(path: &Path, contents: &Contents, position: &Position) -> Result<()> {
    let Contents {
        parameters,
        optimizer,
        average,
    } = contents;
    let mut tensors: Vec<(String, Tensor)> = parameters
        .iter()
        .map(|entry| (entry.name.clone(), entry.var.as_tensor().clone()))
        .collect();
    for (name, tensor) in optimizer.iter().flat_map(|optimizer| optimizer.state()) {
        tensors.push((format!("{OPTIMIZER}{name}"), tensor.clone()));
    }
    for (name, tensor) in average.iter().flat_map(|average| average.state(parameters)) {
        tensors.push((format!("{AVERAGE}{name}"), tensor.clone()));
    }
    seal::write(path, &tensors, position)
}

/// Writes the backbone of `parameters`, whose hash ([`Parameters::hash`]) is `hash`.
pub fn save_backbone(path: &Path, parameters: &Parameters, hash: &str) -> Result<()> {
    let tensors: Vec<(String, Tensor)> = parameters
        .iter()
        .filter(|entry| entry.name.starts_with(PREFIX))
        .map(|entry| (entry.name.clone(), entry.var.as_tensor().clone()))
        .collect();
    weights::save(path, &tensors, (BACKBONE, hash.to_owned()))
}

/// Returns the hash of the backbone in a file written by [`save_backbone`], as recorded in the
/// file.
///
/// # Errors
/// Fails if the file cannot be read or is not such a file.
pub fn backbone_hash(path: &Path) -> Result<String> {
    told(path, BACKBONE, "the backbone of a run")
}

/// Returns the path of the backbone of a checkpoint that does not contain it.
pub fn backbone_beside(checkpoint: &Path) -> PathBuf {
    checkpoint.with_file_name("backbone.safetensors")
}

/// A checkpoint in memory.
#[derive(Debug)]
pub struct Saved {
    /// The position of the training.
    pub position: Position,
    path: PathBuf,
    tensors: BTreeMap<String, Tensor>,
}

impl Saved {
    /// Reads a checkpoint.
    ///
    /// # Errors
    /// Fails if the file is not a checkpoint, if a newer version of dbloss wrote it, or if its
    /// bytes do not match their recorded hash.
    pub fn read(path: &Path, device: &Device) -> Result<Self> {
        Ok(Saved {
            position: seal::verified(path)?,
            path: path.to_owned(),
            tensors: read_tensors(path, device)?,
        })
    }

    /// Loads the weights as they were trained into `parameters`.
    pub fn plain(&self, parameters: &Parameters) -> Result<()> {
        let tensors = self.whole(parameters)?;
        restore(parameters, &tensors, &self.path)?;
        self.check_backbone(parameters)
    }

    /// Loads the run's result into `parameters`: the moving average if one was kept, otherwise the
    /// weights as they were trained. Parameters whose names begin with `except`, if it is not
    /// empty, are not changed.
    pub fn result(&self, parameters: &Parameters, except: &str) -> Result<()> {
        let mut tensors = self.whole(parameters)?.into_owned();
        for entry in parameters.iter() {
            if !except.is_empty() && entry.name.starts_with(except) {
                let kept = entry.var.as_tensor().copy()?;
                tensors.insert(entry.name.clone(), kept);
            } else if let Some(average) = self.tensors.get(&format!("{AVERAGE}{}", entry.name)) {
                tensors.insert(entry.name.clone(), average.clone());
            }
        }
        restore(parameters, &tensors, &self.path)?;
        self.check_backbone(parameters)
    }

    /// Returns whether `parameters` have a backbone that is stored beside the checkpoint.
    fn is_apart(&self, parameters: &Parameters) -> bool {
        let mut lacking = (parameters.iter())
            .filter(|entry| entry.name.starts_with(PREFIX))
            .filter(|entry| !self.tensors.contains_key(&entry.name));
        lacking.next().is_some() && backbone_beside(&self.path).is_file()
    }

    /// Returns the tensors, with those of a separately stored backbone if `parameters` have one.
    fn whole(&self, parameters: &Parameters) -> Result<Cow<'_, BTreeMap<String, Tensor>>> {
        if !self.is_apart(parameters) {
            return Ok(Cow::Borrowed(&self.tensors));
        }
        let mut tensors = read_tensors(&backbone_beside(&self.path), &Device::Cpu)?;
        tensors.extend(self.tensors.clone());
        Ok(Cow::Owned(tensors))
    }

    /// Rejects a separately stored backbone that has changed.
    fn check_backbone(&self, parameters: &Parameters) -> Result<()> {
        let path = backbone_beside(&self.path);
        if self.is_apart(parameters) && backbone_hash(&path)? != parameters.hash(PREFIX)? {
            return Err(
                Error::file(&path, "is damaged, or belongs to another network")
                    .hint("restore the file, or train again with `--force`"),
            );
        }
        Ok(())
    }

    /// Restores the optimiser's state.
    ///
    /// # Errors
    /// Fails if the file does not contain the state of this optimiser.
    pub fn optimizer(&self, optimizer: &mut Optimizer) -> Result<()> {
        let find = |name: &str| self.tensors.get(&format!("{OPTIMIZER}{name}"));
        (optimizer.restore(self.position.step as u64, find)).map_err(|error| self.lacks(&error))
    }

    /// Restores the moving average.
    ///
    /// # Errors
    /// Fails if the file contains none of these parameters.
    pub fn average(&self, average: &mut Average, parameters: &Parameters) -> Result<()> {
        let find = |name: &str| self.tensors.get(&format!("{AVERAGE}{name}"));
        (average.restore(self.position.step as u64, parameters, find))
            .map_err(|error| self.lacks(&error))
    }

    fn lacks(&self, error: &Error) -> Error {
        Error::file(&self.path, format_args!("cannot be continued: {error}"))
            .hint("start the run again with `--force`")
    }
}

/// Returns the position of the training at a checkpoint, without reading anything else.
///
/// # Errors
/// Fails if the file is not a checkpoint, or if a newer version of dbloss wrote it.
pub fn position(path: &Path) -> Result<Position> {
    seal::position(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Gradients, Role};
    use crate::optim::{Kind, OptimizerConfig};
    use candle_core::Var;

    fn make() -> Parameters {
        let mut parameters = Parameters::new();
        for name in ["backbone.w", "head.w"] {
            let var = Var::zeros(3, candle_core::DType::F32, &Device::Cpu).unwrap();
            parameters.insert(name, var, Role::Trainable, 0).unwrap();
        }
        parameters
    }

    fn values(parameters: &Parameters) -> Vec<Vec<f32>> {
        let values = parameters.iter();
        values.map(|entry| entry.var.to_vec1().unwrap()).collect()
    }

    #[test]
    fn everything_that_goes_on_comes_back() {
        let gradient = Tensor::new(&[1f32, 2.0, 3.0], &Device::Cpu).unwrap();
        for kind in Kind::defaults() {
            let config = OptimizerConfig::from(kind);
            let work = |optimizer: &mut Optimizer, average: &mut Average, p: &Parameters| {
                let mut gradients = Gradients::none(p);
                p.iter()
                    .for_each(|entry| gradients.set(entry, gradient.clone()));
                optimizer.step(p, &gradients, 0.1, 1.0).unwrap();
                average.update(p).unwrap();
            };
            let parameters = make();
            let mut optimizer = Optimizer::new(&config, &parameters).unwrap();
            let mut average = Average::new(0.9, &parameters).unwrap();
            (0..3).for_each(|_| work(&mut optimizer, &mut average, &parameters));
            let position = Position {
                step: 3,
                best: Some(0.5),
                ..Position::default()
            };
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("c.safetensors");
            let contents = Contents {
                parameters: &parameters,
                optimizer: Some(&optimizer),
                average: Some(&average),
            };
            save(&path, &contents, &position).unwrap();

            let saved = Saved::read(&path, &Device::Cpu).unwrap();
            assert_eq!(saved.position, position);
            let resumed = make();
            let mut again = Optimizer::new(&config, &resumed).unwrap();
            let mut average_again = Average::new(0.9, &resumed).unwrap();
            saved.plain(&resumed).unwrap();
            saved.optimizer(&mut again).unwrap();
            saved.average(&mut average_again, &resumed).unwrap();
            work(&mut optimizer, &mut average, &parameters);
            work(&mut again, &mut average_again, &resumed);
            assert_eq!(values(&parameters), values(&resumed));
            average.exchange(&parameters).unwrap();
            average_again.exchange(&resumed).unwrap();
            assert_eq!(values(&parameters), values(&resumed));
        }
    }

    #[test]
    fn the_result_is_the_average_and_a_part_may_stay_as_it_is() {
        let parameters = make();
        let mut average = Average::new(0.5, &parameters).unwrap();
        for entry in parameters.iter() {
            let ones = Tensor::ones(3, candle_core::DType::F32, &Device::Cpu).unwrap();
            entry.set(&ones).unwrap();
        }
        average.update(&parameters).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.safetensors");
        let contents = Contents {
            parameters: &parameters,
            optimizer: None,
            average: Some(&average),
        };
        save(&path, &contents, &Position::default()).unwrap();
        let saved = Saved::read(&path, &Device::Cpu).unwrap();
        let other = make();
        saved.result(&other, "head.").unwrap();
        // The first update keeps two elevenths.
        let new = (1.0f64 - 2.0 / 11.0) as f32;
        assert_eq!(values(&other), [vec![new; 3], vec![0.0; 3]]);
        saved.plain(&other).unwrap();
        assert_eq!(values(&other), [vec![1.0; 3], vec![1.0; 3]]);
        let mut optimizer = Optimizer::new(&OptimizerConfig::default(), &other).unwrap();
        let error = saved.optimizer(&mut optimizer).unwrap_err();
        assert!(error.to_string().contains("velocity.backbone.w"), "{error}");
    }
}
