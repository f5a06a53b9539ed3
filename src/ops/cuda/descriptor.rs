//! A convolution in the form that cuDNN expects: numbers that depend on shapes alone.

use super::convolution::Convolution;
use crate::ops::Padding;

/// The contents of cuDNN's descriptors. Sizes are in cuDNN's order: batch or outputs, channels,
/// rows, columns; the values in memory are channels last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Descriptor {
    /// Size of the input, including the zeros of `border` around it.
    pub input: [i32; 4],
    /// Size of the weights: outputs, channels of a group, rows, columns.
    pub weights: [i32; 4],
    /// Size of the output.
    pub output: [i32; 4],
    /// Rows and columns of zeros on both sides, which cuDNN adds itself.
    pub padding: [i32; 2],
    /// Distance in pixels from one output to the next.
    pub stride: [i32; 2],
    /// Number of groups of channels.
    pub groups: i32,
    /// Zeros that must be added beforehand, because cuDNN only supports equal padding on both
    /// sides: above, below, to the left, to the right.
    pub border: [usize; 4],
}

impl Descriptor {
    /// Returns the descriptor of `convolution` on pictures `[batch, height, width]`, or `None` if a
    /// size does not fit in 32 bits.
    pub fn new(
        convolution: &Convolution,
        (batch, height, width): (usize, usize, usize),
    ) -> Option<Self> {
        let Convolution {
            in_channels,
            out_channels,
            kernel,
            stride,
            groups,
            ..
        } = *convolution;
        let (rows, columns) = convolution.output_size((height, width));
        let zeros = |size| convolution.padding.zeros(size, kernel, stride);
        let ((above, below), (left, right)) = (zeros(height), zeros(width));
        let even = matches!(convolution.padding, Padding::Symmetric(_))
            || (above == below && left == right);
        let (padding, border) = match even {
            true => ([above, left], [0; 4]),
            false => ([0, 0], [above, below, left, right]),
        };
        let [up, down, to_left, to_right] = border;
        let four = |sizes: [usize; 4]| narrow(sizes);
        Some(Descriptor {
            input: four([
                batch,
                in_channels,
                height + up + down,
                width + to_left + to_right,
            ])?,
            weights: four([out_channels, in_channels / groups.max(1), kernel, kernel])?,
            output: four([batch, out_channels, rows, columns])?,
            padding: narrow(padding)?,
            stride: narrow([stride, stride])?,
            groups: i32::try_from(groups).ok()?,
            border,
        })
    }
}

fn narrow<const N: usize>(sizes: [usize; N]) -> Option<[i32; N]> {
    let mut found = [0; N];
    for (to, size) in found.iter_mut().zip(sizes) {
        *to = i32::try_from(size).ok()?;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convolution(kernel: usize, stride: usize, padding: Padding, groups: usize) -> Convolution {
        Convolution {
            in_channels: 64,
            out_channels: 128,
            kernel,
            stride,
            padding,
            groups,
        }
    }

    #[test]
    fn sizes_are_in_cudnns_order() {
        let stem = convolution(7, 2, Padding::Symmetric(3), 1);
        let found = Descriptor::new(&stem, (32, 224, 200)).unwrap();
        assert_eq!(found.input, [32, 64, 224, 200]);
        assert_eq!(found.weights, [128, 64, 7, 7]);
        assert_eq!(found.output, [32, 128, 112, 100]);
        assert_eq!((found.padding, found.stride), ([3, 3], [2, 2]));
        assert_eq!((found.groups, found.border), (1, [0; 4]));
    }

    #[test]
    fn groups_share_the_channels() {
        let found = convolution(3, 1, Padding::Symmetric(1), 64);
        let found = Descriptor::new(&found, (2, 9, 9)).unwrap();
        assert_eq!((found.weights, found.groups), ([128, 1, 3, 3], 64));
    }

    /// cuDNN's formula applied to the descriptor gives the output size that the network has.
    #[test]
    fn cudnn_comes_to_the_same_size() {
        for padding in [Padding::Symmetric(0), Padding::Symmetric(2), Padding::Same] {
            for (kernel, stride, size) in
                [(3, 2, 224), (5, 2, 113), (5, 1, 7), (3, 2, 9), (1, 2, 8)]
            {
                let convolution = convolution(kernel, stride, padding, 1);
                let found = Descriptor::new(&convolution, (1, size, size)).unwrap();
                for side in 0..2 {
                    let whole = found.input[2 + side] + 2 * found.padding[side];
                    let expected = (whole - kernel as i32) / stride as i32 + 1;
                    assert_eq!(found.output[2 + side], expected, "{found:?}");
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let large = convolution(1, 1, Padding::Symmetric(0), 1);
        assert!(Descriptor::new(&large, (1 << 31, 1, 1)).is_none());
    }
}
