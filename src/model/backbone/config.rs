//! Settings of a backbone.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::architecture::Architecture;
use super::mobilenet;
use super::resnet::{self, Block};

/// The networks to choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub enum BackboneKind {
    /// ResNet-18: 11.2 million parameters, 512 features.
    #[serde(rename = "resnet18")]
    ResNet18,
    /// ResNet-34: 21.3 million parameters, 512 features.
    #[serde(rename = "resnet34")]
    ResNet34,
    /// ResNet-50: 23.5 million parameters, 2048 features.
    #[serde(rename = "resnet50")]
    ResNet50,
    /// ResNet-101: 42.5 million parameters, 2048 features.
    #[serde(rename = "resnet101")]
    ResNet101,
    /// MobileNetV2 of width 1.0: 2.2 million parameters, 1280 features.
    #[serde(rename = "mobilenet_v2")]
    MobileNetV2,
}

impl BackboneKind {
    /// All of them.
    pub const ALL: [BackboneKind; 5] = [
        BackboneKind::ResNet18,
        BackboneKind::ResNet34,
        BackboneKind::ResNet50,
        BackboneKind::ResNet101,
        BackboneKind::MobileNetV2,
    ];

    /// The name in configurations, which is torchvision's.
    pub fn name(self) -> &'static str {
        match self {
            BackboneKind::ResNet18 => "resnet18",
            BackboneKind::ResNet34 => "resnet34",
            BackboneKind::ResNet50 => "resnet50",
            BackboneKind::ResNet101 => "resnet101",
            BackboneKind::MobileNetV2 => "mobilenet_v2",
        }
    }

    /// Its structure.
    pub fn architecture(self) -> Architecture {
        match self {
            BackboneKind::ResNet18 => resnet::resnet(Block::Basic, [2, 2, 2, 2]),
            BackboneKind::ResNet34 => resnet::resnet(Block::Basic, [3, 4, 6, 3]),
            BackboneKind::ResNet50 => resnet::resnet(Block::Bottleneck, [3, 4, 6, 3]),
            BackboneKind::ResNet101 => resnet::resnet(Block::Bottleneck, [3, 4, 23, 3]),
            BackboneKind::MobileNetV2 => mobilenet::mobilenet_v2(),
        }
    }

    /// Width of the pooled features.
    pub fn num_features(self) -> usize {
        match self {
            BackboneKind::ResNet18 | BackboneKind::ResNet34 => 512,
            BackboneKind::ResNet50 | BackboneKind::ResNet101 => 2048,
            BackboneKind::MobileNetV2 => 1280,
        }
    }
}

impl fmt::Display for BackboneKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Settings of a backbone.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BackboneConfig {
    /// Which network.
    pub name: BackboneKind,
    /// The parameters of stages 0 to this one do not learn: -1 none, 0 the stem, 1 the stem and
    /// the first layer, up to 4, everything. Which statistics their batch norms use is up to
    /// `norm_eval` all the same.
    #[serde(default = "default_frozen_stages")]
    pub frozen_stages: i32,
    /// True: batch norms use their running statistics in training too (their affine parameters
    /// still learn). False: statistics of the batch.
    #[serde(default = "default_norm_eval")]
    pub norm_eval: bool,
    /// Whether the CPU engine may trade a little rounding for speed in 3x3 convolutions.
    #[serde(default)]
    pub winograd: Winograd,
}

/// Winograd's minimal filtering for 3x3 convolutions of stride 1, on the CPU: about three times
/// fewer multiplications, rounding a few times larger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Winograd {
    /// Wherever it is faster.
    #[default]
    On,
    /// Nowhere: every sum as it is written.
    Off,
}

fn default_frozen_stages() -> i32 {
    1
}

fn default_norm_eval() -> bool {
    true
}

impl BackboneConfig {
    /// The published settings for a network: stem and first layer frozen, running statistics.
    pub fn new(name: BackboneKind) -> Self {
        BackboneConfig {
            name,
            frozen_stages: default_frozen_stages(),
            norm_eval: default_norm_eval(),
            winograd: Winograd::default(),
        }
    }

    /// Whether a node of `stage` keeps its parameters as they are.
    pub fn is_frozen(&self, stage: usize) -> bool {
        stage as i64 <= i64::from(self.frozen_stages)
    }

    /// Whether a training step changes anything at `stage`: what learns, and the running
    /// statistics of all stages where batch norms use the batch's.
    pub(super) fn changes(&self, stage: usize) -> bool {
        !self.is_frozen(stage) || !self.norm_eval
    }
}
