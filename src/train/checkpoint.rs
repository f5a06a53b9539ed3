//! Checkpoints: one `.safetensors` file with the model, the optimiser and the position, written
//! whole or not at all.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::io::write_atomic;
use crate::model::Parameters;
use crate::model::weights::{read_tensors, restore};
use crate::optim::Sgd;

/// Prefix of the optimiser's momentum buffers in the file.
const VELOCITY: &str = "optimizer.velocity.";

/// Key of the position in the file's metadata.
const POSITION: &str = "dbloss.position";

/// Where a training stands. Random numbers need no place here: streams follow from the position.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Steps done.
    pub step: usize,
    /// Epochs done.
    pub epoch: usize,
    /// Steps done of the epoch after those.
    pub step_in_epoch: usize,
    /// Sum of the losses of the epoch under way.
    pub loss_sum: f64,
    /// Best validation mAP so far.
    pub best: Option<f64>,
    /// Training time so far, seconds.
    pub train_seconds: f64,
    /// Hash of the configuration that the training runs under.
    pub config_hash: String,
}

/// Writes a checkpoint. Without `optimizer` the file holds the model alone: enough to evaluate,
/// not to resume.
pub fn save(
    path: &Path,
    parameters: &Parameters,
    optimizer: Option<&Sgd>,
    position: &Position,
) -> Result<()> {
    let mut tensors: Vec<(String, Tensor)> = parameters
        .iter()
        .map(|entry| (entry.name.clone(), entry.var.as_tensor().clone()))
        .collect();
    for (name, velocity) in optimizer.map(Sgd::state).into_iter().flatten() {
        tensors.push((format!("{VELOCITY}{name}"), velocity.as_tensor().clone()));
    }
    let position = serde_json::to_string(position)
        .map_err(|e| Error::file(path, format_args!("cannot be written: {e}")))?;
    let metadata = HashMap::from([(POSITION.to_owned(), position)]);
    let bytes = safetensors::serialize(
        tensors.iter().map(|(name, tensor)| (name, tensor)),
        Some(metadata),
    )
    .map_err(|e| Error::file(path, format_args!("cannot be written: {e}")))?;
    write_atomic(path, |writer| Ok(writer.write_all(&bytes)?))
}

/// Reads the model of a checkpoint into `parameters`.
pub fn load_model(path: &Path, parameters: &Parameters, device: &Device) -> Result<Position> {
    let tensors = read_tensors(path, device)?;
    restore(parameters, &tensors, path)?;
    read_position(path)
}

/// Reads model and optimiser, to go on from there.
pub fn load(
    path: &Path,
    parameters: &Parameters,
    optimizer: &mut Sgd,
    device: &Device,
) -> Result<Position> {
    let tensors: BTreeMap<String, Tensor> = read_tensors(path, device)?;
    restore(parameters, &tensors, path)?;
    let position = read_position(path)?;
    for (name, tensor) in &tensors {
        if let Some(name) = name.strip_prefix(VELOCITY) {
            optimizer.restore(name, tensor)?;
        }
    }
    Ok(position)
}

fn read_position(path: &Path) -> Result<Position> {
    let stranger = || Error::file(path, "is not a checkpoint of dbloss");
    let bytes = fs_err::read(path)?;
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).map_err(|_| stranger())?;
    let text = metadata
        .metadata()
        .as_ref()
        .and_then(|map| map.get(POSITION))
        .ok_or_else(stranger)?;
    serde_json::from_str(text).map_err(|_| stranger())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Role;
    use crate::optim::SgdConfig;
    use candle_core::Var;

    #[test]
    fn model_optimiser_and_position_come_back() {
        let device = Device::Cpu;
        let make = || {
            let mut parameters = Parameters::new();
            let var = Var::zeros(3, candle_core::DType::F32, &device).unwrap();
            parameters.insert("w", var, Role::Trainable, 0).unwrap();
            parameters
        };
        let parameters = make();
        let mut sgd = Sgd::new(SgdConfig::default());
        let gradient = Tensor::new(&[1f32, 2.0, 3.0], &device).unwrap();
        let update = |sgd: &mut Sgd, parameters: &Parameters| {
            sgd.update("w", parameters.var("w").unwrap(), &gradient, 0.1, 1.0)
                .unwrap();
            parameters.var("w").unwrap().to_vec1::<f32>().unwrap()
        };
        update(&mut sgd, &parameters);
        let position = Position {
            step: 7,
            best: Some(0.5),
            ..Position::default()
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.safetensors");
        save(&path, &parameters, Some(&sgd), &position).unwrap();

        let resumed = make();
        let mut resumed_sgd = Sgd::new(SgdConfig::default());
        assert_eq!(
            load(&path, &resumed, &mut resumed_sgd, &device).unwrap(),
            position
        );
        assert_eq!(
            update(&mut sgd, &parameters),
            update(&mut resumed_sgd, &resumed)
        );
    }
}
