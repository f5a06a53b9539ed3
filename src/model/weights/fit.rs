//! Loads the tensors of a file into the backbone, or explains why they do not fit.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use candle_core::{DType, Device, Tensor};

use super::conventions::translate;
use super::names::{block, choose, is_classifier, is_counter, pattern};
use super::recognise::{Kind, recognise};
use super::weight::Weight;
use super::{LoadReport, Place, files, first_names, set};
use crate::error::{Error, Result};
use crate::model::backbone::{BackboneKind, PREFIX, adapter};
use crate::model::{Parameter, Parameters};

/// Loads the weights of the backbone `configured` from a file or another place.
///
/// The names may have any prefix; the one under which most tensors fit is used. Individual missing
/// tensors keep their initial values and are reported.
///
/// # Errors
/// If nothing fits, or a tensor has another shape. If the file has blocks that the network lacks,
/// or lacks blocks that the network has: it then belongs to another network, which is named if it
/// is recognised. If a value is not finite.
pub fn load_backbone(
    parameters: &Parameters,
    place: impl Into<Place>,
    configured: &str,
    device: &Device,
) -> Result<LoadReport> {
    let place = place.into();
    let path = place.path();
    let tensors = files::open(&place)?;
    let found = recognise((tensors.iter()).map(|(name, stored)| (&name[..], &stored.shape[..])));
    let backbone = || {
        (parameters.iter()).filter_map(|e| {
            let bare = e.name.strip_prefix(PREFIX)?.strip_prefix('.')?;
            Some((bare, e))
        })
    };
    let wanted: HashMap<&str, &[usize]> = backbone()
        .map(|(bare, entry)| (bare, entry.var.dims()))
        .collect();
    let first: Vec<String> = (tensors.iter().map(|(name, _)| name.clone()).take(5)).collect();
    let chosen = choose(translate(tensors), &wanted);
    let mut report = LoadReport {
        prefix: chosen.prefix,
        rival: chosen.rival,
        elsewhere: chosen.elsewhere,
        ..LoadReport::default()
    };
    let mut fitting: Vec<(&str, &Parameter, &Weight)> = Vec::new();
    let mut other_shapes = Vec::new();
    for (bare, entry) in backbone() {
        match chosen.tensors.get(bare) {
            Some(stored) if stored.shape == entry.var.dims() => {
                fitting.push((bare, entry, stored));
            }
            Some(stored) => other_shapes.push((bare, &stored.shape, entry.var.dims())),
            // Published files never contain an adapter.
            None if adapter::owns(bare) => {}
            None => report.missing.push(entry.name.clone()),
        }
    }
    for name in chosen.tensors.keys() {
        if wanted.contains_key(name.as_str()) || is_counter(name) {
            continue;
        }
        match is_classifier(name) {
            true => report.classifier.push(name.clone()),
            false => report.unexpected.push(name.clone()),
        }
    }
    let refuse = |problem: String| refusal(path, configured, found.as_ref(), &problem);
    if fitting.is_empty() && other_shapes.is_empty() {
        return Err(refuse(match first.is_empty() {
            true => "the file contains no tensor".into(),
            false => format!(
                "none of its tensors has an expected name: found {}; expected {}",
                first_names(&first),
                first_names(&report.missing)
            ),
        }));
    }
    if let Some((name, shape, expected)) = other_shapes.first() {
        return Err(refuse(format!(
            "{} tensors have another shape, first `{name}`: {shape:?}, expected {expected:?}",
            other_shapes.len()
        )));
    }
    check_blocks(&wanted, &fitting, &report.unexpected).map_err(refuse)?;
    for (bare, entry, stored) in fitting {
        let value =
            (stored.tensor(device)).and_then(|tensor| check_finite(&tensor).map(|()| tensor));
        let value = value.map_err(|problem| {
            let name = format!("{}{bare}", report.prefix);
            Error::file(path, format_args!("`{name}` {problem}")).hint(
                "the file is damaged, or comes from a training that diverged: use another one",
            )
        })?;
        set(entry, &value, path)?;
        report.loaded.push(entry.name.clone());
    }
    Ok(report)
}

/// Checks that the file has the blocks of the network. Blocks determine the depth, so a file with
/// others belongs to another network, however many of its tensors fit.
fn check_blocks(
    wanted: &HashMap<&str, &[usize]>,
    fitting: &[(&str, &Parameter, &Weight)],
    unexpected: &[String],
) -> std::result::Result<(), String> {
    let patterns: BTreeSet<String> = wanted.keys().map(|name| pattern(name)).collect();
    let surplus: Vec<&String> = (unexpected.iter())
        .filter(|name| patterns.contains(&pattern(name)))
        .collect();
    if let Some(first) = surplus.first() {
        return Err(format!(
            "the network has no place for {} of its tensors, first `{first}`",
            surplus.len()
        ));
    }
    let there: BTreeSet<&str> = fitting
        .iter()
        .filter_map(|(name, ..)| block(name))
        .collect();
    let expected: BTreeSet<&str> = wanted.keys().filter_map(|name| block(name)).collect();
    // A file that lacks a whole stage, or holds the stem only, is part of a network of this kind.
    let stage = |block: &str| block.rsplit_once('.').map(|(stage, _)| stage.to_owned());
    let stages: BTreeSet<_> = there.iter().map(|block| stage(block)).collect();
    let missing: Vec<&&str> = (expected.difference(&there))
        .filter(|block| stages.contains(&stage(block)))
        .collect();
    match missing.first() {
        Some(first) => Err(format!(
            "it lacks {} of the network's {} blocks, first `{first}`",
            missing.len(),
            expected.len()
        )),
        None => Ok(()),
    }
}

fn refusal(path: &Path, configured: &str, found: Option<&Kind>, problem: &str) -> Error {
    let known = |name: &str| BackboneKind::named(name).is_some();
    match found {
        Some(Kind {
            backbone: Some(name),
            ..
        }) if name == configured => Error::file(
            path,
            format_args!("does not fit `{configured}`, though it looks like one: {problem}"),
        )
        .hint("use weights as torchvision or timm publish them for this network"),
        Some(Kind { name, backbone }) => {
            let error = Error::file(
                path,
                format_args!(
                    "this is {name}, but the configuration says `{configured}`: {problem}"
                ),
            );
            match backbone {
                Some(name) if known(name) => error.hint(format_args!(
                    "set `model.backbone = \"{name}\"`, or give the weights of a {configured}"
                )),
                _ => error.hint(format_args!("give the weights of a {configured}")),
            }
        }
        None => Error::file(path, format_args!("does not fit `{configured}`: {problem}"))
            .hint("set `model.backbone` to the network that the file was made from"),
    }
}

/// Checks that all values are finite. The error message follows the name of the tensor.
fn check_finite(tensor: &Tensor) -> std::result::Result<(), String> {
    let failed = |e: candle_core::Error| format!("cannot be read: {e}");
    let flat = tensor.flatten_all().map_err(failed)?;
    let bad = match flat.dtype() {
        DType::F64 => (flat.to_vec1::<f64>().map_err(failed)?.iter())
            .filter(|v| !v.is_finite())
            .count(),
        _ => (flat.to_vec1::<f32>().map_err(failed)?.iter())
            .filter(|v| !v.is_finite())
            .count(),
    };
    match bad {
        0 => Ok(()),
        bad => Err(format!(
            "contains {bad} values that are NaN or infinite, of {}",
            flat.elem_count()
        )),
    }
}
