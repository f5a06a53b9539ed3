//! How much memory a training step will ask for, before anything is asked for.

use super::architecture::{Operation, Source};
use super::config::BackboneConfig;
use super::plan::Plan;

/// Bytes of an f32.
const SCALAR: u64 = 4;

/// Bytes of the process beside the network: program, loader, buffers of the kernels.
const PROCESS: u64 = 120 << 20;

impl BackboneConfig {
    /// Bytes that a training step of `batch` pictures of `side` x `side` holds at its peak on the
    /// CPU, to about a fifth: the outputs of all nodes whose gradient is wanted, the largest
    /// output once more (its gradient), and every parameter, those that learn with gradient and
    /// momentum. Frozen stages at the start keep nothing but what their next node reads, and what
    /// only weights that do not learn have read is not kept either.
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
            // Some derivatives are told from what went into the activation.
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
        // What no number holds is more than any machine has.
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
