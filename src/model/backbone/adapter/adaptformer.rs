//! AdaptFormer: Chen, Ge, Tong et al., AdaptFormer: Adapting Vision Transformers for Scalable Visual
//! Recognition, NeurIPS 2022 (arXiv 2205.13535).

use candle_nn::Init;
use serde::{Deserialize, Serialize};

use super::super::architecture::{Affine, Architecture, ConvNode, Operation, Source};
use super::interface::Adapter;
use super::lora::LinearLayer;
use crate::error::{KeyPath, Result};
use crate::model::builder::uniform;
use crate::ops::Activation;
use crate::range::Range;

/// AdaptFormer: beside the two linear layers of a block, and from the same norm,
/// `scale up(relu(down(x)))`, two linear layers with biases.
///
/// `down` begins uniform within 1 / sqrt(channels), all else with zeros, as in the authors' code. No
/// dropout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdaptFormer {
    /// Channels between `down` and `up`, 64; 1 to 4096.
    pub width: usize,
    /// Factor of the branch, 0.1; above 0.
    pub scale: f64,
}

impl Default for AdaptFormer {
    fn default() -> Self {
        AdaptFormer {
            width: 64,
            scale: 0.1,
        }
    }
}

impl Adapter for AdaptFormer {
    const NAME: &'static str = "adaptformer";
    const PARTS: &'static [&'static str] = &["adaptmlp"];

    fn check(&self, at: &KeyPath) -> Result<()> {
        Range::WholeWithin(1, 4096).check_whole(&at.join("width"), self.width)?;
        Range::Positive.check(&at.join("scale"), self.scale)
    }

    fn adapt(&self, architecture: Architecture, first: usize) -> Architecture {
        let mut adapted = Architecture {
            nodes: Vec::new(),
            pooling: architecture.pooling,
        };
        // Maps each old node index to its index in the adapted network.
        let mut places: Vec<usize> = Vec::new();
        let mut norm = None;
        for mut node in architecture.nodes {
            node.renumber(|old| places[old]);
            let stage = node.stage;
            if let Operation::Conv(conv) = &mut node.operation
                && stage >= first
            {
                if conv.conv.ends_with(LinearLayer::Fc1.ending()) {
                    norm = Some(conv.input);
                } else if let (Some(block), Some(norm)) =
                    (conv.conv.strip_suffix(LinearLayer::Fc2.ending()), norm)
                {
                    let branch = self.branch(&mut adapted, stage, block, norm, conv);
                    conv.residual = Some(branch);
                }
            }
            places.push(adapted.push(stage, node.operation));
        }
        adapted
    }
}

impl AdaptFormer {
    /// Appends the branch that reads `norm`, plus the residual that `last` adds to its block, and
    /// returns its index.
    fn branch(
        &self,
        net: &mut Architecture,
        stage: usize,
        block: &str,
        norm: Source,
        last: &ConvNode,
    ) -> usize {
        let channels = last.out_channels;
        let linear = |part: &str, affine, input, channels: (usize, usize), activation| {
            let name = format!("{block}.adaptmlp.{part}");
            ConvNode {
                linear: true,
                added: true,
                ..ConvNode::new(name, affine, input, channels, (1, 1), activation)
            }
        };
        let (narrow, wide) = ((channels, self.width), (self.width, channels));
        let down = ConvNode {
            initial: Some(uniform(channels)),
            ..linear("down_proj", Affine::Bias, norm, narrow, Activation::Relu)
        };
        let down = Source::Node(net.push(stage, Operation::Conv(down)));
        let affine = Affine::Scaled(self.scale);
        let up = ConvNode {
            initial: Some(Init::Const(0.0)),
            residual: last.residual,
            ..linear("up_proj", affine, down, wide, Activation::None)
        };
        net.push(stage, Operation::Conv(up))
    }
}
