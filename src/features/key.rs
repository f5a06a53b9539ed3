//! Identifies features by everything they depend on.

use candle_core::Device;
use serde::Serialize;

use crate::data::augment::{AugmentConfig, InputConfig, TestTimeConfig};
use crate::data::image::ImageRoot;
use crate::data::labels::LabelTable;
use crate::data::picture_hashes::PictureHashes;
use crate::device;
use crate::error::{Error, Result};
use crate::model::backbone::{BackboneConfig, Winograd};
use crate::ops::Isa;

/// How the pictures are presented to the backbone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Shown {
    /// As in training, in every version of the augmentation.
    Training,
    /// As in testing, in every view.
    Testing,
}

/// Everything that the features of a set depend on.
#[derive(Debug, Clone, Copy)]
pub struct Key<'a> {
    /// Hash of the network's tensors.
    pub backbone: &'a str,
    /// The network's settings.
    pub network: &'a BackboneConfig,
    /// The preprocessing of its input pictures.
    pub input: &'a InputConfig,
    /// The set's images, in the order of the features.
    pub table: &'a LabelTable,
    /// The root of their pictures.
    pub root: &'a ImageRoot,
    /// How the pictures are presented.
    pub shown: Shown,
    /// Whether these are feature maps rather than pooled features.
    pub maps: bool,
    /// The device the network runs on, which affects the last bits.
    pub device: &'a Device,
}

/// The part of a key that is serialised.
#[derive(Serialize)]
struct Text<'a> {
    format: u32,
    version: &'static str,
    backbone: &'a str,
    architecture: &'a str,
    winograd: Winograd,
    pictures: String,
    shown: Shown,
    maps: bool,
    device: String,
    kernels: &'static str,
    input: InputConfig,
}

impl Key<'_> {
    /// Returns the hash of the key, in hexadecimal. Pictures in files enter it with their names,
    /// which determine the augmentation, and their contents, by the hashes that `hashes` knows or
    /// computes. Their location and their labels have no effect.
    ///
    /// # Errors
    /// Returns an error if a picture file exists but cannot be read.
    pub fn hash(&self, hashes: &mut PictureHashes) -> Result<String> {
        // Settings that do not affect these features are left out of the key.
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
            format: 2,
            version: env!("CARGO_PKG_VERSION"),
            backbone: self.backbone,
            architecture: self.network.name.name(),
            winograd: self.network.winograd,
            pictures: pictures(self.table, self.root, hashes)?,
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

/// Hashes the pictures of a set.
fn pictures(table: &LabelTable, root: &ImageRoot, hashes: &mut PictureHashes) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    if let ImageRoot::Shapes { seed, size } = root {
        hasher.update(&seed.to_le_bytes());
        hasher.update(&size.to_le_bytes());
    }
    for (image, hash) in table.images().iter().zip(hashes.of(root, table)?) {
        for text in [image, &hash] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
    }
    Ok(hasher.finalize().to_hex().to_string())
}
