//! Estimates the memory of a training step before any is allocated.

use super::architecture::{Operation, Source};
use super::config::BackboneConfig;
use super::plan::Plan;

/// Bytes of an `f32`.
const SCALAR: u64 = 4;

/// Bytes that the process needs besides the network: program, loader, buffers of the kernels.
const PROCESS: u64 = 120 << 20;

impl BackboneConfig {
    /// Returns the peak number of bytes that a training step of `batch` images of `side` x `side`
    /// holds on the CPU, to within about a fifth: the outputs of all nodes whose gradient is
    /// wanted, the largest output once more (its gradient), and every parameter, with gradient and
    /// momentum if it is trainable. Frozen stages at the start keep only what their next node
    /// reads, and with an adapter, outputs that the backward pass does not need are not kept
    /// either.
    pub fn training_bytes(&self, batch: usize, side: usize) -> u64 {
        let architecture = self.architecture();
        let plan = Plan::new(self, &architecture);
        let mut sizes = Vec::with_capacity(architecture.nodes.len());
        let (mut kept, mut largest) = (0u64, 0u64);
        for (index, node) in architecture.nodes.iter().enumerate() {
            let input = match node.input() {
                Source::Image => (side, side),
                Source::Node(index) => sizes[index],
            };
            let output = node.output_size(input);
            sizes.push(output);
            let elements = (node.channels() * output.0 * output.1) as u64;
            largest = largest.max(elements);
            let held = self.adapter.is_some() && !plan.kept[index];
            if (plan.learns[index] || !self.norm_eval) && !held {
                kept += elements;
            }
            // Some activations keep their derivatives besides the output.
            kept += elements * u64::from(plan.kept_slope[index]);
        }
        let mut weights = 0;
        for (index, node) in architecture.nodes.iter().enumerate() {
            if let Operation::Conv(conv) = &node.operation {
                let own: usize = conv.weight_shape().iter().product();
                let low_rank = (conv.low_rank.as_ref())
                    .map(|added| added.rank * (conv.in_channels + conv.out_channels));
                let learning = match plan.has_learning[index] {
                    true => low_rank.unwrap_or(own),
                    false => 0,
                };
                weights += (own + low_rank.unwrap_or(0) + 2 * learning) as u64;
            }
        }
        let pictures = (3 * side * side) as u64;
        // A number that overflows is more than any machine has.
        (batch as u64)
            .saturating_mul(kept.saturating_add(largest).saturating_add(pictures))
            .saturating_add(weights)
            .saturating_mul(SCALAR)
            .saturating_add(PROCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BackboneConfig, BackboneKind};

    /// Peaks of whole training processes, measured with `benches/peer/engine.py` at 224 pixels and
    /// batch 32 (README, section Speed) and, for batch 128, with `dbloss bench step`.
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
