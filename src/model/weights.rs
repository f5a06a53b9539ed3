//! Weights from a file or the Hugging Face hub into a model, with a report of what fitted.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};

use super::parameters::{Parameters, Role};
use crate::error::{Error, Result};

/// What became of the tensors of a weight file.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct LoadReport {
    /// Names set from the file, in the model's order.
    pub loaded: Vec<String>,
    /// The model's backbone tensors that the file lacks, in the model's order.
    pub missing: Vec<String>,
    /// Names in the file that the model has no place for (an ImageNet classifier, say).
    pub unexpected: Vec<String>,
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tensors loaded", self.loaded.len())?;
        for (what, names) in [
            ("missing in the file", &self.missing),
            ("unexpected in the file", &self.unexpected),
        ] {
            if !names.is_empty() {
                write!(f, ", {} {what} ({})", names.len(), first_names(names))?;
            }
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

/// Finds the weight file: a local path, or a hub name such as `timm/resnet50.tv_in1k` whose
/// `model.safetensors` is fetched once and cached.
pub fn locate(source: &str) -> Result<PathBuf> {
    let path = Path::new(source);
    if path.is_file() {
        return Ok(path.to_owned());
    }
    let looks_like_file = path.extension().is_some_and(|e| {
        ["safetensors", "pth", "pt", "bin"]
            .iter()
            .any(|known| e == *known)
    });
    if looks_like_file || source.split('/').count() != 2 {
        return Err(Error::input(source, "no such weight file").hint(
            "give a `.safetensors` or `.pth` file, or a hub name such as `timm/resnet50.tv_in1k`; \
             without `model.weights` the backbone starts from random numbers",
        ));
    }
    let fetch = || -> std::result::Result<PathBuf, hf_hub::api::sync::ApiError> {
        hf_hub::api::sync::Api::new()?
            .model(source.to_owned())
            .get("model.safetensors")
    };
    tracing::info!("looking for `{source}` in the hub's cache, and fetching it if it is not there");
    fetch().map_err(|e| {
        Error::input(source, format_args!("cannot be fetched from the hub: {e}"))
            .hint("download `model.safetensors` by hand and give its path as `model.weights`")
    })
}

/// Reads every tensor of a `.safetensors` or zip-format `.pth` file.
pub fn read_tensors(path: &Path, device: &Device) -> Result<BTreeMap<String, Tensor>> {
    let is_safetensors = path.extension().is_some_and(|e| e == "safetensors");
    let tensors = if is_safetensors {
        candle_core::safetensors::load(path, device).map(|map| map.into_iter().collect())
    } else {
        read_pth(path)
    };
    tensors.map_err(|e| {
        Error::file(path, format_args!("is not a readable weight file: {e}")).hint(
            "expected `.safetensors`, or a `.pth` in the zip format (PyTorch 1.6 and newer); \
             re-save older files with a current `torch.save(state_dict, ...)`",
        )
    })
}

fn read_pth(path: &Path) -> candle_core::Result<BTreeMap<String, Tensor>> {
    // A checkpoint holds its weights at the top or under one of these keys.
    let mut last_error = None;
    for key in [
        None,
        Some("state_dict"),
        Some("model"),
        Some("model_state_dict"),
    ] {
        let file = match candle_core::pickle::PthTensors::new(path, key) {
            Ok(file) => file,
            Err(e) => {
                last_error.get_or_insert(e);
                continue;
            }
        };
        let mut tensors = BTreeMap::new();
        for name in file.tensor_infos().keys() {
            if let Some(tensor) = file.get(name)? {
                tensors.insert(name.clone(), tensor);
            }
        }
        if !tensors.is_empty() {
            return Ok(tensors);
        }
    }
    match last_error {
        Some(e) => Err(e),
        None => candle_core::bail!("it holds no tensor"),
    }
}

/// Loads a backbone's weights: names of the file with or without the prefix `backbone.` or
/// `module.`. A file without a single tensor for this backbone is an error, and so is a tensor of
/// another shape; missing ones keep their initial values and are reported.
pub fn load_backbone(parameters: &Parameters, path: &Path, device: &Device) -> Result<LoadReport> {
    let tensors: BTreeMap<String, Tensor> = read_tensors(path, device)?
        .into_iter()
        .map(|(name, tensor)| {
            let bare = name.strip_prefix("module.").unwrap_or(&name);
            let bare = bare.strip_prefix("backbone.").unwrap_or(bare);
            (format!("backbone.{bare}"), tensor)
        })
        .collect();
    let mut report = LoadReport::default();
    for entry in parameters
        .iter()
        .filter(|e| e.name.starts_with("backbone."))
    {
        match tensors.get(&entry.name) {
            Some(tensor) => {
                set(&entry.name, &entry.var, tensor, path)?;
                report.loaded.push(entry.name.clone());
            }
            None => report.missing.push(entry.name.clone()),
        }
    }
    report.unexpected = tensors
        .keys()
        .filter(|name| parameters.get(name).is_none() && !name.ends_with("num_batches_tracked"))
        .map(|name| name.trim_start_matches("backbone.").to_owned())
        .collect();
    if report.loaded.is_empty() {
        let found = first_names(&report.unexpected);
        let wanted = first_names(&report.missing);
        return Err(Error::file(
            path,
            format_args!("holds nothing of this backbone: found {found}; expected {wanted}"),
        )
        .hint("set `model.backbone` to the network that the file was made from"));
    }
    Ok(report)
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
        set(&entry.name, &entry.var, tensor, path)?;
    }
    Ok(())
}

fn set(name: &str, var: &candle_core::Var, tensor: &Tensor, path: &Path) -> Result<()> {
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
    Ok(var.set(&value.contiguous()?)?)
}

/// Says what was loaded, as loudly as it deserves: missing tensors are a warning, and those of
/// frozen stages are named apart, because nothing will ever train them.
pub fn log_report(report: &LoadReport, parameters: &Parameters, source: &str) {
    if report.missing.is_empty() {
        tracing::info!("{source}: {report}");
        return;
    }
    tracing::warn!("{source}: {report}");
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

    fn model() -> Parameters {
        let mut parameters = Parameters::new();
        for name in [
            "backbone.conv1.weight",
            "backbone.layer4.weight",
            "head.weight",
        ] {
            let var = Var::zeros((2, 2), DType::F32, &Device::Cpu).unwrap();
            parameters.insert(name, var, Role::Trainable).unwrap();
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
        let report = load_backbone(&parameters, &path, &Device::Cpu).unwrap();
        assert_eq!(report.loaded, ["backbone.conv1.weight"]);
        assert_eq!(report.missing, ["backbone.layer4.weight"]);
        assert_eq!(report.unexpected, ["fc.weight"]);
        let value = parameters.var("backbone.conv1.weight").unwrap();
        assert_eq!(value.sum_all().unwrap().to_scalar::<f32>().unwrap(), 4.0);
    }

    #[test]
    fn strangers_and_wrong_shapes_are_refused() {
        let (_folder, path) = file(&["encoder.weight"], (2, 2));
        let error = load_backbone(&model(), &path, &Device::Cpu).unwrap_err();
        assert!(
            error.to_string().contains("nothing of this backbone"),
            "{error}"
        );
        let (_folder, path) = file(&["conv1.weight"], (3, 2));
        let error = load_backbone(&model(), &path, &Device::Cpu).unwrap_err();
        assert!(error.to_string().contains("[3, 2]"), "{error}");
    }

    #[test]
    fn a_missing_file_is_not_sought_on_the_hub() {
        let error = locate("nowhere/resnet50.safetensors").unwrap_err();
        assert_eq!(error.exit_code(), 2);
    }
}
