//! How much memory a training step will ask for, before anything is asked for.

use super::architecture::Source;
use super::config::BackboneConfig;

/// Bytes of an f32.
const SCALAR: u64 = 4;

/// Bytes of the process beside the network: program, loader, buffers of the kernels.
const PROCESS: u64 = 120 << 20;

impl BackboneConfig {
    /// Bytes that a training step of `batch` pictures of `side` x `side` holds at its peak on the
    /// CPU, to about a fifth: the outputs of all nodes that the backward pass reads, the largest
    /// output once more (its gradient), and every parameter with gradient
    /// and momentum. Frozen stages at the start keep nothing but what their next node reads.
    pub fn training_bytes(&self, batch: usize, side: usize) -> u64 {
        let architecture = self.name.architecture();
        let mut sizes = Vec::with_capacity(architecture.nodes.len());
        let (mut kept, mut largest) = (0u64, 0u64);
        for node in &architecture.nodes {
            let input = match node.input() {
                Source::Image => (side, side),
                Source::Node(index) => sizes[index],
            };
            let output = node.output_size(input);
            sizes.push(output);
            let elements = (node.channels() * output.0 * output.1) as u64;
            largest = largest.max(elements);
            if self.changes(node.stage) {
                // Some derivatives are told from what went into the activation: both are kept.
                kept += elements * (1 + u64::from(node.activation().keeps_slope()));
            }
        }
        let weights: u64 = (architecture.convolutions())
            .map(|(_, conv)| conv.weight_shape().iter().product::<usize>() as u64)
            .sum();
        let pictures = (3 * side * side) as u64;
        PROCESS + SCALAR * (batch as u64 * (kept + largest + pictures) + 3 * weights)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BackboneConfig, BackboneKind};

    /// Peaks of whole training processes, measured with `benches/peer/engine.py` at 224 pixels
    /// and batch 32 (README, section Speed) and, for batch 128, with `dbloss bench step`.
    #[test]
    fn the_estimate_is_near_what_was_measured() {
        for (name, batch, megabytes) in [
            ("resnet18", 32, 502.0),
            ("resnet50", 32, 1352.0),
            ("resnet50", 128, 4100.0),
            ("mobilenet_v2", 32, 564.0),
        ] {
            let kind = BackboneKind::named(name).unwrap();
            let estimate = BackboneConfig::new(kind).training_bytes(batch, 224) as f64 / 1e6;
            let ratio = estimate / megabytes;
            assert!(
                (0.75..1.3).contains(&ratio),
                "{name} {batch}: {estimate} MB"
            );
        }
    }
}
