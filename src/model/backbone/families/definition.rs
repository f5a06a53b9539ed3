//! What is known of each backbone: the rows of the list.

use super::super::architecture::Architecture;

/// A backbone of the list.
#[derive(Debug)]
pub struct Definition {
    /// The name in configurations, which is that of torchvision or timm.
    pub name: &'static str,
    /// Authors' title and venue.
    pub source: &'static str,
    /// Whose names its parameters have.
    pub published: Published,
    /// What its published weights expect of a picture.
    pub input: ExpectedInput,
    /// Its structure.
    pub architecture: fn() -> Architecture,
}

/// The network of another library whose names a backbone's parameters have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// The library: `torchvision`, `timm` or `clip`; `dbloss` where no other has the network.
    pub library: &'static str,
    /// What the network is called there.
    pub name: &'static str,
}

impl Published {
    /// A network of `torchvision.models`.
    pub const fn torchvision(name: &'static str) -> Self {
        let library = "torchvision";
        Published { library, name }
    }

    /// A network of this program alone, in torchvision's manner.
    pub const fn own(name: &'static str) -> Self {
        let library = "dbloss";
        Published { library, name }
    }

    /// A network of timm.
    pub const fn timm(name: &'static str) -> Self {
        let library = "timm";
        Published { library, name }
    }

    /// An image tower of OpenAI's `clip`.
    pub const fn clip(name: &'static str) -> Self {
        let library = "clip";
        Published { library, name }
    }
}

/// What published weights expect of a picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExpectedInput {
    /// Side in pixels.
    pub size: u32,
    /// Mean of red, green, blue on the scale of 0 to 255, which is subtracted.
    pub mean: [f32; 3],
    /// Standard deviation of red, green, blue on that scale, by which is divided.
    pub std: [f32; 3],
}

impl ExpectedInput {
    /// The statistics of ImageNet's training pictures, 224 pixels.
    pub const IMAGENET: Self = ExpectedInput {
        size: 224,
        mean: [123.675, 116.28, 103.53],
        std: [58.395, 57.12, 57.375],
    };

    /// The statistics of CLIP's training pictures, 224 pixels.
    pub const CLIP: Self = ExpectedInput {
        size: 224,
        mean: [122.770_94, 116.746_01, 104.093_736],
        std: [68.500_533, 66.632_16, 70.323_163],
    };

    /// From -1 to 1, 224 pixels.
    pub const CENTRED: Self = ExpectedInput {
        size: 224,
        mean: [127.5; 3],
        std: [127.5; 3],
    };
}
