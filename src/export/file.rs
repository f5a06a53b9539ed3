//! Writing and reading files of exported models.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use half::f16;

use super::card::Card;
use crate::error::{Error, Result};
use crate::model::backbone::{PREFIX, adapter};
use crate::model::names::{in_program, published};
use crate::model::onnx::GraphOptions;
use crate::model::weights::{self, metadata, read_tensors};
use crate::model::{Model, Parameters};
use crate::onnx::Document;

/// The metadata key that holds the card.
pub const KEY: &str = "dbloss.card";

/// How errors refer to such a file.
const EXPORTED: &str = "a model that `dbloss export` wrote";

/// Returns whether the metadata of the file at `path` marks it as an exported model.
pub fn is_exported(path: &Path) -> bool {
    path.is_file() && metadata(path).is_ok_and(|metadata| metadata.contains_key(KEY))
}

/// Reads only the card of an exported model.
///
/// # Errors
/// Returns an error if the file is not an exported model or its card is damaged.
pub fn card_of(path: &Path) -> Result<Card> {
    let text = weights::told(path, KEY, EXPORTED).map_err(|error| {
        error.hint("expected a `.safetensors` file of `dbloss export`, or the folder of a run")
    })?;
    Card::parse(path, &text)
}

/// Writes the network's tensors under their published names, with the card.
///
/// # Errors
/// Returns an error if the file cannot be written.
pub fn write_safetensors(path: &Path, parameters: &Parameters, card: &Card) -> Result<()> {
    let tensors: Vec<(String, Tensor)> = (parameters.iter())
        .map(|entry| {
            let tensor = entry.var.as_tensor().clone();
            (published(&entry.name).into_owned(), tensor)
        })
        .collect();
    weights::save(path, &tensors, (KEY, card.to_json()?))
}

/// The metadata key by which a backbone-only file says which network it belongs to.
pub const BACKBONE_KEY: &str = "dbloss.backbone";

/// Writes only the backbone's tensors, under their published names and in half precision, for use
/// as the `model.weights` of another training.
///
/// # Errors
/// Returns an error if the model has no backbone or the backbone has an adapter, if a value is out
/// of the range of half precision, or if the file cannot be written.
pub fn write_backbone(path: &Path, network: &Model) -> Result<()> {
    let mut tensors = Vec::new();
    for entry in network.parameters.iter() {
        let below = (entry.name.strip_prefix(PREFIX)).and_then(|name| name.strip_prefix('.'));
        let Some(name) = below else {
            continue;
        };
        if adapter::owns(name) {
            let problem =
                "the backbone has an adapter, which a file of the backbone alone cannot contain";
            return Err(
                Error::file(path, problem).hint("export the whole model: `--format safetensors`")
            );
        }
        let tensor = entry.var.as_tensor().to_dtype(DType::F16)?;
        let values = tensor.flatten_all()?.to_vec1::<f16>()?;
        if values.iter().any(|value| !value.is_finite()) {
            let problem = format!("`{name}` contains values outside the range of half precision");
            return Err(
                Error::file(path, problem).hint("export the whole model: `--format safetensors`")
            );
        }
        tensors.push((name.to_owned(), tensor));
    }
    if tensors.is_empty() {
        return Err(Error::file(path, "the model has no backbone")
            .hint("it was trained on features from a file"));
    }
    let name = network.kind.name();
    weights::save(path, &tensors, (BACKBONE_KEY, name.to_owned()))
}

/// Loads the tensors of an exported file into a network.
///
/// # Errors
/// Returns an error if a tensor is missing from the file or has another shape.
pub fn restore(path: &Path, parameters: &Parameters, device: &Device) -> Result<()> {
    let tensors: BTreeMap<String, Tensor> = (read_tensors(path, device)?.into_iter())
        .map(|(name, tensor)| (in_program(&name).into_owned(), tensor))
        .collect();
    weights::restore(parameters, &tensors, path)
}

/// Writes the network as an ONNX graph, with the card in its metadata.
///
/// # Errors
/// Returns an error if the network cannot be expressed as an ONNX graph, or if the file cannot be
/// written.
pub fn write_onnx(path: &Path, network: &Model, card: &Card, options: &GraphOptions) -> Result<()> {
    let graph = network.graph(card.classes.len(), options)?;
    let pictures = match options.normalisation {
        Some(_) => "pictures of bytes [batch, rows, columns, RGB], resized",
        None => "normalised pictures [batch, RGB, rows, columns]",
    };
    let document = Document {
        graph,
        name: card.name.clone(),
        about: format!("From {pictures} to one logit per class. The card is in the metadata."),
        metadata: vec![(KEY.to_owned(), card.to_json()?)],
    };
    document.write(path)
}
