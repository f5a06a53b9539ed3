//! What features depend on.

use std::time::UNIX_EPOCH;

use candle_core::Device;
use serde::Serialize;

use crate::data::augment::{AugmentConfig, InputConfig, TestTimeConfig};
use crate::data::image::ImageRoot;
use crate::data::labels::LabelTable;
use crate::data::source::PictureSource;
use crate::data::split::Set;
use crate::device;
use crate::error::{Error, Result};
use crate::model::backbone::{BackboneConfig, Winograd};
use crate::ops::Isa;

/// How the pictures were shown to the backbone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Shown {
    /// As training shows them, in every version of the augmentation.
    Training,
    /// As testing shows them, in every view.
    Testing,
}

/// Everything that the features of a set depend on.
#[derive(Debug, Clone, Copy)]
pub struct Key<'a> {
    /// Hash of the network's tensors.
    pub backbone: &'a str,
    /// The network's settings.
    pub network: &'a BackboneConfig,
    /// How pictures become its input.
    pub input: &'a InputConfig,
    /// Which of the split's sets.
    pub set: Set,
    /// The split's hash.
    pub split: &'a str,
    /// The set's images.
    pub table: &'a LabelTable,
    /// Where their pictures lie.
    pub root: &'a ImageRoot,
    /// How they are shown.
    pub shown: Shown,
    /// Maps rather than pooled features.
    pub maps: bool,
    /// Where the network runs: the last bits depend on it.
    pub device: &'a Device,
}

/// What of a key is written as text.
#[derive(Serialize)]
struct Text<'a> {
    format: u32,
    version: &'static str,
    backbone: &'a str,
    architecture: &'a str,
    winograd: Winograd,
    set: &'a str,
    split: &'a str,
    pictures: String,
    shown: Shown,
    maps: bool,
    device: String,
    kernels: &'static str,
    input: InputConfig,
}

impl Key<'_> {
    /// The hash of all of it, in hexadecimal. Pictures in files count by their names, lengths and
    /// times of change, so that no picture is read for it.
    ///
    /// # Errors
    /// A picture file cannot be looked at, unless it is missing.
    pub fn hash(&self) -> Result<String> {
        // What does not change these features makes no other key.
        let input = match self.shown {
            Shown::Training => InputConfig {
                test_time: TestTimeConfig::default(),
                ..self.input.clone()
            },
            Shown::Testing => InputConfig {
                augment: AugmentConfig::default(),
                ..self.input.clone()
            },
        };
        let text = toml::to_string(&Text {
            format: 1,
            version: env!("CARGO_PKG_VERSION"),
            backbone: self.backbone,
            architecture: self.network.name.name(),
            winograd: self.network.winograd,
            set: self.set.name(),
            split: self.split,
            pictures: pictures(self.table, self.root)?,
            shown: self.shown,
            maps: self.maps,
            device: device::name(self.device),
            kernels: Isa::best().name(),
            input,
        });
        let text = text.map_err(|e| Error::input("features", e))?;
        Ok(blake3::hash(text.as_bytes()).to_hex().to_string())
    }
}

/// The hash of a set's pictures.
fn pictures(table: &LabelTable, root: &ImageRoot) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    if let ImageRoot::Shapes { seed, size } = root {
        hasher.update(&seed.to_le_bytes());
        hasher.update(&size.to_le_bytes());
    }
    for image in table.images() {
        hasher.update(&(image.len() as u64).to_le_bytes());
        hasher.update(image.as_bytes());
        let Some(file) = root.file(image) else {
            continue;
        };
        // One that is missing is told of, or left out, when it is read.
        if let Ok(Some(source)) = PictureSource::find(&file) {
            let changed = source
                .changed
                .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            hasher.update(&source.stamp.to_le_bytes());
            hasher.update(&changed.unwrap_or_default().as_nanos().to_le_bytes());
        }
    }
    Ok(hasher.finalize().to_hex().to_string())
}
