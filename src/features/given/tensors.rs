//! Features in `.safetensors` files.

use std::path::Path;

use candle_core::{DType, Device, Tensor};

use super::rows::{Rows, form};
use crate::data::split::Set;
use crate::error::{Error, Result};
use crate::model::weights;

/// The tensor with the features of all pictures.
pub(super) const ALL: &str = "features";

/// Metadata key for the names of the pictures, a list in JSON; `<set>.names` belongs to the tensor
/// of a set.
pub const NAMES: &str = "names";

/// Reads the rows of a set from the tensor named after it, or else from `features`.
pub(super) fn read(path: &Path, set: Set) -> Result<Rows> {
    let tensors = weights::read_tensors(path, &Device::Cpu)?;
    let candidates = [set.name(), ALL];
    let found = candidates
        .iter()
        .find_map(|name| tensors.get_key_value(*name));
    let Some((name, tensor)) = found else {
        let there: Vec<String> = tensors
            .keys()
            .take(5)
            .map(|key| format!("`{key}`"))
            .collect();
        let problem = format!(
            "has no tensor `{set}` or `{ALL}`, found {}",
            there.join(", ")
        );
        return Err(Error::file(path, problem));
    };
    let Some(form) = form(tensor.dims()) else {
        let shape = tensor.dims();
        let problem = format!("`{name}` has the shape {shape:?}, expected [pictures, features]");
        return Err(Error::file(path, problem));
    };
    let metadata = weights::metadata(path)?;
    let own = metadata.get(&format!("{name}.{NAMES}"));
    let names = match own.or_else(|| metadata.get(NAMES).filter(|_| name == ALL)) {
        Some(text) => Some(serde_json::from_str(text).map_err(|error| {
            let problem = format!("its metadata contain no list of names in JSON: {error}");
            Error::file(path, problem)
        })?),
        None => None,
    };
    Ok(Rows {
        form,
        values: values(tensor)?,
        names,
    })
}

fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}
