//! Definitions of the backbones: the rows of the list.

use super::super::architecture::Architecture;

/// A backbone in the list.
#[derive(Debug)]
pub struct Definition {
    /// The name in configurations, as in torchvision or timm.
    pub name: &'static str,
    /// Authors, title and venue.
    pub source: &'static str,
    /// The published network whose parameter names it uses.
    pub published: Published,
    /// The input that its published weights expect.
    pub input: ExpectedInput,
    /// Builds its architecture.
    pub architecture: fn() -> Architecture,
}

/// The network of another library whose parameter names a backbone uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// The library: `torchvision`, `timm` or `clip`; `dbloss` if no other library has the network.
    pub library: &'static str,
    /// The name of the network in that library.
    pub name: &'static str,
}

impl Published {
    /// Creates a reference to a network of `torchvision.models`.
    pub const fn torchvision(name: &'static str) -> Self {
        let library = "torchvision";
        Published { library, name }
    }

    /// Creates a reference to a network of this program only, with parameters named as in
    /// torchvision.
    pub const fn own(name: &'static str) -> Self {
        let library = "dbloss";
        Published { library, name }
    }

    /// Creates a reference to a network of timm.
    pub const fn timm(name: &'static str) -> Self {
        let library = "timm";
        Published { library, name }
    }

    /// Creates a reference to an image tower of OpenAI's `clip`.
    pub const fn clip(name: &'static str) -> Self {
        let library = "clip";
        Published { library, name }
    }
}

/// The input that published weights expect.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExpectedInput {
    /// The side in pixels.
    pub size: u32,
    /// The mean of red, green and blue, on a scale of 0 to 255, which is subtracted.
    pub mean: [f32; 3],
    /// The standard deviation of red, green and blue on that scale, by which the difference is
    /// divided.
    pub std: [f32; 3],
}

impl ExpectedInput {
    /// The statistics of ImageNet's training images, at 224 pixels.
    pub const IMAGENET: Self = ExpectedInput {
        size: 224,
        mean: [123.675, 116.28, 103.53],
        std: [58.395, 57.12, 57.375],
    };

    /// The statistics of CLIP's training images, at 224 pixels.
    pub const CLIP: Self = ExpectedInput {
        size: 224,
        mean: [122.770_94, 116.746_01, 104.093_736],
        std: [68.500_533, 66.632_16, 70.323_163],
    };

    /// Values scaled to -1 to 1, at 224 pixels.
    pub const CENTRED: Self = ExpectedInput {
        size: 224,
        mean: [127.5; 3],
        std: [127.5; 3],
    };
}
