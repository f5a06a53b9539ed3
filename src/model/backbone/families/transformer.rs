//! Vision transformers in timm's names: patches, tokens, blocks of attention and two linear layers.

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

/// A vision transformer whose blocks begin with their norms, and whose feature is the class token.
/// The stem is stage 0, the k-th block stage k, the last norm in the last one.
#[derive(Clone, Copy)]
pub(super) struct Transformer {
    /// Rows and columns of a patch.
    pub patch: usize,
    /// Rows, and columns, of patches that the positions are made for.
    pub side: usize,
    /// Channels of a token.
    pub width: usize,
    /// Heads of an attention, each of `width / heads` channels.
    pub heads: usize,
    /// Added to the variance by the norms.
    pub epsilon: f64,
    /// Between the two linear layers of a block.
    pub activation: Activation,
    /// Tokens beside the class token that belong to no place.
    pub registers: usize,
    /// Whether the class token has a position.
    pub class_has_position: bool,
    /// Initial value of the factors of attention and linear layers, where there are such.
    pub layer_scale: Option<f64>,
    /// Whether there is a norm before the first block, in place of the patches' bias.
    pub norm_before: bool,
    /// Width of the projection of the class token, if there is one.
    pub projection: Option<usize>,
}

/// Blocks.
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

    /// The network.
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

    /// Attention and two linear layers, each behind a norm and added to what went into it.
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

    /// What ends a branch.
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
