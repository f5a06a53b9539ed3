//! Vision transformers with timm's names: patches, tokens, blocks of attention and two linear
//! layers.

use std::sync::Arc;

use super::super::architecture::{
    Affine, Architecture, AttentionNode, ConvNode, LayerNormNode, Operation, Source, TokensNode,
};
use crate::model::builder::normal;
use crate::model::pooling::ClassToken;
use crate::ops::attention::AttentionShape;
use crate::ops::{Activation, Padding};

/// Standard deviation of the initial weights.
const DEVIATION: f64 = 0.02;

/// A pre-norm vision transformer whose pooled feature is the class token. The stem is stage 0, the
/// k-th block stage k, and the last norm belongs to the last stage.
#[derive(Clone, Copy)]
pub(super) struct Transformer {
    /// Rows and columns of a patch.
    pub patch: usize,
    /// The number of rows (and columns) of patches for which the position embeddings are made.
    pub side: usize,
    /// Channels of a token.
    pub width: usize,
    /// The attention heads, each of `width / heads` channels.
    pub heads: usize,
    /// The constant that the norms add to the variance.
    pub epsilon: f64,
    /// The activation between the two linear layers of a block.
    pub activation: Activation,
    /// The number of register tokens, which, like the class token, have no location.
    pub registers: usize,
    /// Whether the class token has a position embedding.
    pub class_has_position: bool,
    /// The initial value of the layer scales after attention and linear layers, if there are any.
    pub layer_scale: Option<f64>,
    /// Whether there is a norm before the first block, instead of a bias in the patch embedding.
    pub norm_before: bool,
    /// The width of the projection of the class token, if there is one.
    pub projection: Option<usize>,
}

/// The number of blocks.
const DEPTH: usize = 12;

impl Transformer {
    /// "An Image is Worth 16x16 Words", with patches of 16 pixels, for 224 pixels.
    pub(super) const VIT: Self = Transformer {
        patch: 16,
        side: 14,
        width: 768,
        heads: 12,
        epsilon: 1e-6,
        activation: Activation::Gelu,
        registers: 0,
        class_has_position: true,
        layer_scale: None,
        norm_before: false,
        projection: None,
    };

    /// Builds the network.
    pub(super) fn network(&self) -> Architecture {
        let mut net = Architecture::default();
        let width = self.width;
        let affine = if self.norm_before {
            Affine::None
        } else {
            Affine::Bias
        };
        let patches = ConvNode {
            padding: Padding::Symmetric(0),
            initial: Some(normal(DEVIATION)),
            ..ConvNode::new(
                "patch_embed.proj",
                affine,
                Source::Image,
                (3, width),
                (self.patch, self.patch),
                Activation::None,
            )
        };
        let input = net.push(0, Operation::Conv(patches));
        let registers = self.registers;
        let tokens = TokensNode {
            input,
            channels: width,
            class: "cls_token".to_owned(),
            registers: (registers > 0).then(|| ("reg_token".to_owned(), registers)),
            positions: "pos_embed".to_owned(),
            side: self.side,
            class_has_position: self.class_has_position,
        };
        let mut input = net.push(0, Operation::Tokens(tokens));
        if self.norm_before {
            input = self.norm(&mut net, 0, "norm_pre".to_owned(), input);
        }
        for index in 0..DEPTH {
            input = self.block(&mut net, index, input);
        }
        self.norm(&mut net, DEPTH, "norm".to_owned(), input);
        net.pooling = Arc::new(ClassToken {
            first_tokens: 1 + self.registers,
            patch: self.patch,
            projection: self.projection.map(|width| ("head.weight", width)),
        });
        net
    }

    /// Appends attention and two linear layers, each preceded by a norm and added to its input.
    fn block(&self, net: &mut Architecture, index: usize, input: usize) -> usize {
        let (stage, width) = (index + 1, self.width);
        let name = |part: &str| format!("blocks.{index}.{part}");
        let normed = self.norm(net, stage, name("norm1"), input);
        let project = linear(name("attn.qkv"), normed, (width, 3 * width));
        let projected = net.push(stage, Operation::Conv(project));
        let attention = AttentionNode {
            input: projected,
            name: name("attn"),
            shape: AttentionShape {
                channels: width,
                heads: self.heads,
            },
        };
        let attended = net.push(stage, Operation::Attention(attention));
        let back = ConvNode {
            affine: self.ending(name("ls1.gamma")),
            residual: Some(input),
            ..linear(name("attn.proj"), attended, (width, width))
        };
        let input = net.push(stage, Operation::Conv(back));
        let normed = self.norm(net, stage, name("norm2"), input);
        let widen = ConvNode {
            activation: self.activation,
            ..linear(name("mlp.fc1"), normed, (width, 4 * width))
        };
        let wide = net.push(stage, Operation::Conv(widen));
        let narrow = ConvNode {
            affine: self.ending(name("ls2.gamma")),
            residual: Some(input),
            ..linear(name("mlp.fc2"), wide, (4 * width, width))
        };
        net.push(stage, Operation::Conv(narrow))
    }

    /// Returns the affine transformation at the end of a branch.
    fn ending(&self, name: String) -> Affine {
        match self.layer_scale {
            Some(initial) => Affine::LayerScale {
                name,
                dimensions: 1,
                initial,
            },
            None => Affine::Bias,
        }
    }

    fn norm(&self, net: &mut Architecture, stage: usize, name: String, input: usize) -> usize {
        let node = LayerNormNode {
            input,
            name,
            channels: self.width,
            epsilon: self.epsilon,
        };
        net.push(stage, Operation::LayerNorm(node))
    }
}

/// A linear layer with bias.
fn linear(name: String, input: usize, channels: (usize, usize)) -> ConvNode {
    ConvNode {
        linear: true,
        initial: Some(normal(DEVIATION)),
        ..ConvNode::new(
            name,
            Affine::Bias,
            Source::Node(input),
            channels,
            (1, 1),
            Activation::None,
        )
    }
}
