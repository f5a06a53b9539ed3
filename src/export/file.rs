//! Exported models in files, and back.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};

use super::card::Card;
use crate::error::Result;
use crate::model::names::{in_program, published};
use crate::model::onnx::GraphOptions;
use crate::model::weights::{self, metadata, read_tensors};
use crate::model::{Model, Parameters};
use crate::onnx::Document;

/// The key of the card in a file's metadata.
pub const KEY: &str = "dbloss.card";

/// What such a file is called in errors.
const EXPORTED: &str = "a model that `dbloss export` wrote";

/// Whether the file at `path` is an exported model, by its metadata.
pub fn is_exported(path: &Path) -> bool {
    path.is_file() && metadata(path).is_ok_and(|metadata| metadata.contains_key(KEY))
}

/// The card of an exported model, of which no more is read.
///
/// # Errors
/// The file is no exported model, or its card is damaged.
pub fn card_of(path: &Path) -> Result<Card> {
    let text = weights::told(path, KEY, EXPORTED).map_err(|error| {
        error.hint("expected a `.safetensors` file of `dbloss export`, or the folder of a run")
    })?;
    Card::parse(path, &text)
}

/// Writes the network's tensors under their published names, with the card.
///
/// # Errors
/// If the file cannot be written.
pub fn write_safetensors(path: &Path, parameters: &Parameters, card: &Card) -> Result<()> {
    let tensors: Vec<(String, Tensor)> = (parameters.iter())
        .map(|entry| {
            let tensor = entry.var.as_tensor().clone();
            (published(&entry.name).into_owned(), tensor)
        })
        .collect();
    weights::save(path, &tensors, (KEY, card.to_json()?))
}

/// Puts the tensors of an exported file into a network.
///
/// # Errors
/// The file lacks one, or it has another shape.
pub fn restore(path: &Path, parameters: &Parameters, device: &Device) -> Result<()> {
    let tensors: BTreeMap<String, Tensor> = (read_tensors(path, device)?.into_iter())
        .map(|(name, tensor)| (in_program(&name).into_owned(), tensor))
        .collect();
    weights::restore(parameters, &tensors, path)
}

/// Writes the network as a graph of ONNX, with the card in its metadata.
///
/// # Errors
/// If the network cannot be written as such a graph, or the file cannot be written.
pub fn write_onnx(path: &Path, network: &Model, card: &Card, options: &GraphOptions) -> Result<()> {
    let graph = network.graph(card.classes.len(), options)?;
    let pictures = match options.normalisation {
        Some(_) => "pictures of bytes [batch, rows, columns, RGB], resized",
        None => "normalised pictures [batch, RGB, rows, columns]",
    };
    let document = Document {
        graph,
        name: card.name.clone(),
        about: format!("From {pictures} to a logit a class. The card is in the metadata."),
        metadata: vec![(KEY.to_owned(), card.to_json()?)],
    };
    document.write(path)
}
