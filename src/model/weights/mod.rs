//! Loads weights from a file, the Hugging Face hub or the program itself into a model, and reports
//! what fitted.
//!
//! The format of a file is detected from its bytes ([`files`]): safetensors, or either format of
//! `torch.save`. The tensors that belong to the network are found by their names ([`names`]), other
//! naming conventions for a network are translated ([`conventions`]), and if the tensors do not
//! fit, the network they belong to is identified ([`recognise`]).

mod conventions;
mod embedded;
mod files;
mod fit;
mod hub;
mod names;
mod origin;
mod pickle;
mod place;
mod recognise;
mod safetensors;
mod stored;
mod torch;
mod weight;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use candle_core::{Device, Tensor};

use super::parameters::{Parameter, Parameters, Role};
use crate::error::{Error, Result};
use crate::io::hash_file;

pub use fit::load_backbone;
pub use origin::{is_path, locate};
pub use place::Place;
pub use safetensors::{metadata, save, to_bytes, told};

/// The result of loading a weight file, tensor by tensor.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct LoadReport {
    /// The prefix of the names in the file, beyond the network's own, such as `state_dict.module.`.
    pub prefix: String,
    /// Another prefix under which as many tensors fit, for example that of an average of the
    /// weights.
    pub rival: Option<String>,
    /// Names set from the file, in the model's order.
    pub loaded: Vec<String>,
    /// The model's backbone tensors that are missing in the file, in the model's order.
    pub missing: Vec<String>,
    /// Names of classifiers in the file, for which the model has no place.
    pub classifier: Vec<String>,
    /// Other names in the file for which the model has no place.
    pub unexpected: Vec<String>,
    /// The number of tensors in the file outside the prefix, such as those of an optimiser or
    /// another network.
    pub elsewhere: usize,
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tensors loaded", self.loaded.len())?;
        if let Some(prefix) = self.prefix.strip_suffix('.') {
            write!(f, " from `{prefix}`")?;
        }
        for (what, names) in [
            ("missing in the file", &self.missing),
            ("not used", &self.unexpected),
            ("of a classifier ignored", &self.classifier),
        ] {
            if !names.is_empty() {
                write!(f, ", {} {what} ({})", names.len(), first_names(names))?;
            }
        }
        if self.elsewhere > 0 {
            write!(f, ", {} elsewhere in the file ignored", self.elsewhere)?;
        }
        Ok(())
    }
}

/// Joins the first names of a list, followed by `...` if there are more.
fn first_names(names: &[String]) -> String {
    let shown = 4;
    let mut text = names[..names.len().min(shown)].join(", ");
    if names.len() > shown {
        text.push_str(", ...");
    }
    text
}

/// Returns the hash of the weights: that of the file, or of all files of a sharded model.
pub fn hash(place: &Place) -> Result<String> {
    let path = match place {
        Place::Disk(path) => path,
        Place::Embedded(embedded) => return Ok(blake3::hash(embedded.bytes).to_hex().to_string()),
    };
    let files = files::files(path)?;
    if let [file] = files.as_slice() {
        return hash_file(file);
    }
    let mut hasher = blake3::Hasher::new();
    for file in &files {
        hasher.update(hash_file(file)?.as_bytes());
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// Reads every tensor of a weight file of any format, as `F32` or `F64`.
///
/// # Errors
/// Names the file, and the tensor if one is to blame.
pub fn read_tensors(path: &Path, device: &Device) -> Result<BTreeMap<String, Tensor>> {
    let mut tensors = BTreeMap::new();
    for (name, stored) in files::open(&Place::from(path))? {
        let tensor = (stored.tensor(device))
            .map_err(|problem| Error::file(path, format_args!("`{name}` {problem}")))?;
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

/// Loads every tensor of a dbloss checkpoint; all names must be present.
pub fn restore(
    parameters: &Parameters,
    tensors: &BTreeMap<String, Tensor>,
    path: &Path,
) -> Result<()> {
    for entry in parameters.iter() {
        let tensor = tensors.get(&entry.name).ok_or_else(|| {
            Error::file(path, format_args!("lacks `{}`", entry.name))
                .hint("the checkpoint belongs to another configuration")
        })?;
        set(entry, tensor, path)?;
    }
    Ok(())
}

fn set(entry: &Parameter, tensor: &Tensor, path: &Path) -> Result<()> {
    let (name, var) = (&entry.name, &entry.var);
    if var.shape() != tensor.shape() {
        return Err(Error::file(
            path,
            format_args!(
                "`{name}` has shape {:?}, the model expects {:?}",
                tensor.dims(),
                var.dims()
            ),
        ));
    }
    let value = tensor.to_dtype(var.dtype())?.to_device(var.device())?;
    entry.set(&value.contiguous()?)
}

/// Logs what was loaded. Missing tensors and unused ones that may have been meant for the network
/// are a warning; missing tensors of frozen stages get a warning of their own, because training
/// will never reach them.
pub fn log_report(report: &LoadReport, parameters: &Parameters, source: &str) {
    if report.missing.is_empty() && report.unexpected.is_empty() {
        tracing::info!("{source}: {report}");
    } else {
        tracing::warn!("{source}: {report}");
    }
    if let Some(rival) = &report.rival {
        tracing::warn!(
            "{source}: equally many tensors fit under `{}`; those under `{}`, the first in the file, are used",
            rival.trim_end_matches('.'),
            report.prefix.trim_end_matches('.')
        );
    }
    let frozen: Vec<String> = (report.missing.iter())
        .filter(|name| parameters.get(name).is_some_and(|e| e.role == Role::Frozen))
        .cloned()
        .collect();
    if !frozen.is_empty() {
        tracing::warn!(
            "{} missing tensors lie in frozen stages and stay random ({}): lower `model.frozen_stages`",
            frozen.len(),
            first_names(&frozen)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Var};
    use std::path::PathBuf;

    fn model() -> Parameters {
        let mut parameters = Parameters::new();
        for name in [
            "backbone.conv1.weight",
            "backbone.layer4.weight",
            "head.weight",
        ] {
            let var = Var::zeros((2, 2), DType::F32, &Device::Cpu).unwrap();
            parameters.insert(name, var, Role::Trainable, 0).unwrap();
        }
        parameters
    }

    fn file(names: &[&str], shape: (usize, usize)) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        let ones = Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap();
        let tensors = names
            .iter()
            .map(|n| (n.to_string(), ones.clone()))
            .collect();
        candle_core::safetensors::save(&tensors, &path).unwrap();
        (folder, path)
    }

    #[test]
    fn a_partial_file_is_loaded_and_reported() {
        let parameters = model();
        let (_folder, path) = file(&["conv1.weight", "fc.weight"], (2, 2));
        let report = load_backbone(&parameters, &path, "resnet18", &Device::Cpu).unwrap();
        assert_eq!(report.loaded, ["backbone.conv1.weight"]);
        assert_eq!(report.missing, ["backbone.layer4.weight"]);
        assert_eq!(report.classifier, ["fc.weight"]);
        let value = parameters.var("backbone.conv1.weight").unwrap();
        assert_eq!(value.sum_all().unwrap().to_scalar::<f32>().unwrap(), 4.0);
    }

    #[test]
    fn strangers_and_wrong_shapes_are_refused() {
        let (_folder, path) = file(&["encoder.weight"], (2, 2));
        let error = load_backbone(&model(), &path, "resnet18", &Device::Cpu).unwrap_err();
        assert!(error.to_string().contains("none of its tensors"), "{error}");
        let (_folder, path) = file(&["conv1.weight"], (3, 2));
        let error = load_backbone(&model(), &path, "resnet18", &Device::Cpu).unwrap_err();
        assert!(error.to_string().contains("[3, 2]"), "{error}");
    }

    #[test]
    fn a_missing_file_is_not_sought_on_the_hub() {
        let error = locate("nowhere/resnet50.safetensors").unwrap_err();
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn what_weights_may_come_from_is_told_by_the_text_alone() {
        for (source, expected) in [
            ("embedded:shapes", false),
            ("timm/resnet50.tv_in1k@main", false),
            ("./embedded/shapes", true),
            ("timm/resnet50.safetensors", true),
        ] {
            assert_eq!(is_path(source), expected, "{source}");
        }
        let error = locate("embedded:photos").unwrap_err();
        let hint = error.remedy().unwrap_or_default();
        assert!(hint.contains("embedded:shapes"), "{error}: {hint}");
    }

    #[test]
    fn the_embedded_backbone_is_whole_and_the_one_that_was_trained() {
        let place = locate("embedded:shapes").unwrap();
        // The hash is recorded beside the command that made the weights:
        // experiments/shapes-pretrain.toml.
        let made = include_str!("../../../experiments/shapes-pretrain.toml");
        assert!(made.contains(&hash(&place).unwrap()));
        let builder = crate::model::builder::Builder::new(&Device::Cpu, DType::F32, 0);
        let config = crate::model::backbone::BackboneConfig {
            name: crate::model::backbone::BackboneKind::named("resnet10_w16").unwrap(),
            frozen_stages: -1,
            norm_eval: true,
            winograd: crate::model::backbone::Winograd::On,
            adapter: None,
        };
        crate::model::backbone::build(&config, &builder).unwrap();
        let parameters = builder.parameters();
        let report = load_backbone(&parameters, place, "resnet10_w16", &Device::Cpu).unwrap();
        assert_eq!(report.loaded.len(), parameters.len());
        assert!(report.missing.is_empty() && report.unexpected.is_empty());
    }
}
