//! Weights from a file, the Hugging Face hub or the program itself into a model, with a report of what fitted.
//!
//! What a file is, is told from its bytes ([`files`]): safetensors, or what `torch.save` wrote in
//! either of its formats. Which of its tensors are meant is told by their names ([`names`]), where
//! others have names of their own for a network, those are known ([`conventions`]), and where they do
//! not fit, what they are of ([`recognise`]).

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

/// What became of the tensors of a weight file.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct LoadReport {
    /// What the names in the file begin with, beyond the network's: `state_dict.module.`, say.
    pub prefix: String,
    /// Another prefix under which as many tensors fit, an average of the weights for example.
    pub rival: Option<String>,
    /// Names set from the file, in the model's order.
    pub loaded: Vec<String>,
    /// The model's backbone tensors that the file lacks, in the model's order.
    pub missing: Vec<String>,
    /// Names of classifiers in the file, which the model has no place for.
    pub classifier: Vec<String>,
    /// Other names in the file that the model has no place for.
    pub unexpected: Vec<String>,
    /// Tensors of the file that do not begin with the prefix: an optimiser's, another network's.
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

/// The first names of a list, and that there are more.
fn first_names(names: &[String]) -> String {
    let shown = 4;
    let mut text = names[..names.len().min(shown)].join(", ");
    if names.len() > shown {
        text.push_str(", ...");
    }
    text
}

/// The hash of weights: of the file, or of all files that the model is spread over.
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

/// Reads every tensor of a weight file, whatever its format, as `F32` or `F64`.
///
/// # Errors
/// Names the file, and the tensor where it is one.
pub fn read_tensors(path: &Path, device: &Device) -> Result<BTreeMap<String, Tensor>> {
    let mut tensors = BTreeMap::new();
    for (name, stored) in files::open(&Place::from(path))? {
        let tensor = (stored.tensor(device))
            .map_err(|problem| Error::file(path, format_args!("`{name}` {problem}")))?;
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

/// Loads every tensor of a dbloss checkpoint; all names must be there.
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

/// Says what was loaded, as loudly as it deserves: missing tensors are a warning, and those of
/// frozen stages are named apart, because nothing will ever train them; so are tensors that look
/// as if they were meant to be used.
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
        // Beside the command that made it: experiments/shapes-pretrain.toml.
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
