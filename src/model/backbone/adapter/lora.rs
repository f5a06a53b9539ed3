//! Low-rank adaptation: Hu, Shen, Wallis et al., LoRA: Low-Rank Adaptation of Large Language Models,
//! ICLR 2022 (arXiv 2106.09685).

use serde::{Deserialize, Serialize};

use super::super::architecture::{Architecture, LowRankNode, Operation};
use super::interface::Adapter;
use crate::error::{Error, KeyPath, Result};
use crate::range::Range;

/// LoRA: a linear layer with the weights W becomes one with W + (alpha / rank) B A (equation 3).
///
/// A begins uniform within 1 / sqrt(inputs) and B with zeros, as in the authors' code. No dropout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lora {
    /// Rows of A and columns of B, 8; 1 to 1024.
    pub rank: usize,
    /// `rank` times the factor of the product, 8; above 0.
    pub alpha: f64,
    /// The linear layers of a block that have it: some of `qkv` (makes queries, keys and values),
    /// `proj` (follows the heads), `fc1` and `fc2` (after the attention); `["qkv"]`.
    pub layers: Vec<LinearLayer>,
}

impl Default for Lora {
    fn default() -> Self {
        Lora {
            rank: 8,
            alpha: 8.0,
            layers: vec![LinearLayer::Qkv],
        }
    }
}

/// A linear layer of a transformer's block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinearLayer {
    /// To queries, keys and values.
    Qkv,
    /// From the heads.
    Proj,
    /// The first after the attention.
    Fc1,
    /// The second.
    Fc2,
}

impl LinearLayer {
    /// Returns the end of its name.
    pub(super) fn ending(self) -> &'static str {
        match self {
            LinearLayer::Qkv => ".attn.qkv",
            LinearLayer::Proj => ".attn.proj",
            LinearLayer::Fc1 => ".mlp.fc1",
            LinearLayer::Fc2 => ".mlp.fc2",
        }
    }
}

impl Adapter for Lora {
    const NAME: &'static str = "lora";
    const PARTS: &'static [&'static str] = &["lora_A", "lora_B"];

    fn check(&self, at: &KeyPath) -> Result<()> {
        Range::WholeWithin(1, 1024).check_whole(&at.join("rank"), self.rank)?;
        Range::Positive.check(&at.join("alpha"), self.alpha)?;
        match self.layers.is_empty() {
            true => Err(Error::key(at.join("layers"), "names no layer")
                .hint("expected some of `qkv`, `proj`, `fc1`, `fc2`")),
            false => Ok(()),
        }
    }

    fn adapt(&self, mut architecture: Architecture, first: usize) -> Architecture {
        for node in &mut architecture.nodes {
            if let Operation::Conv(conv) = &mut node.operation
                && node.stage >= first
                && (self.layers.iter()).any(|layer| conv.conv.ends_with(layer.ending()))
            {
                conv.low_rank = Some(LowRankNode {
                    rank: self.rank,
                    factor: self.alpha / self.rank as f64,
                });
            }
        }
        architecture
    }
}
