//! A network, from pictures to scores, as a graph of ONNX.

use super::Model;
use super::backbone::onnx::write;
use super::head::Takes;
use crate::error::{Error, Result};
use crate::onnx::{Element, Graph, Side, Value};

/// What a graph takes and gives, beyond the network.
#[derive(Debug, Clone, PartialEq)]
pub struct GraphOptions {
    /// Rows and columns of the pictures; the number of pictures is open.
    pub size: (usize, usize),
    /// What normalises pictures of bytes, if that is to be part of the graph.
    pub normalisation: Option<Normalisation>,
    /// Whether probabilities are given beside logits.
    pub probabilities: bool,
}

/// (x - mean) / std of red, green, blue, on the scale of 0 to 255.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalisation {
    /// Subtracted.
    pub mean: [f32; 3],
    /// Divided by.
    pub std: [f32; 3],
}

/// The name of the input.
pub const PICTURES: &str = "pictures";

/// The names of the outputs.
pub const LOGITS: &str = "logits";
/// The second output, where it is asked for.
pub const PROBABILITIES: &str = "probabilities";

/// The name of the side that may be of any length.
const BATCH: &str = "batch";

impl Model {
    /// The network in evaluation. Its input [`PICTURES`] holds normalised pictures `[batch, 3, rows,
    /// columns]`, red, green, blue; with a normalisation in the graph, bytes `[batch, rows, columns,
    /// 3]`. Its outputs are [`LOGITS`] `[batch, classes]` and, if asked for, [`PROBABILITIES`].
    ///
    /// # Errors
    /// If it has no backbone, or one that is no list of nodes, or pictures of this size cannot be
    /// cut into its patches.
    pub fn graph(&self, num_classes: usize, options: &GraphOptions) -> Result<Graph> {
        let backbone = self.backbone.as_deref().ok_or_else(|| {
            Error::key(
                "model.features",
                "replaces the backbone: there is no network from pictures to scores",
            )
            .hint("train it on the pictures, with the backbone that made the features")
        })?;
        let name = self.kind.name();
        let parts = backbone.parts().ok_or_else(|| {
            let problem = format!("is `{name}`, which is no list of nodes");
            Error::key("model.backbone", problem).hint("export it as safetensors")
        })?;
        let (rows, columns) = options.size;
        let patch = parts.architecture.patch().unwrap_or(1);
        if !rows.is_multiple_of(patch) || !columns.is_multiple_of(patch) {
            let problem =
                format!("{rows} x {columns} pixels cannot be cut into patches of {patch}");
            return Err(Error::input("pictures", problem));
        }
        let mut graph = Graph::default();
        let pictures = input(&mut graph, options);
        let output = write(&parts, &mut graph, &pictures, options.size)?;
        let features = match self.takes {
            Takes::Maps => parts.pooler.places_in(&mut graph, &output)?,
            Takes::Embedding => parts.pooler.pooled_in(&mut graph, &output)?,
        };
        let embedding = match (self.takes, &self.neck) {
            (Takes::Embedding, Some(neck)) => neck.forward_in(&mut graph, &features)?,
            _ => features,
        };
        let logits = self.head.forward_in(graph.at("head"), &embedding)?;
        let sides = [Side::Any(BATCH), Side::Is(num_classes)];
        let logits = graph.output(&logits, LOGITS, &sides);
        if options.probabilities {
            let probabilities = graph.sigmoid(&logits);
            graph.output(&probabilities, PROBABILITIES, &sides);
        }
        Ok(graph)
    }
}

/// The input, and what becomes of it before the network.
fn input(graph: &mut Graph, options: &GraphOptions) -> Value {
    let (rows, columns) = (Side::Is(options.size.0), Side::Is(options.size.1));
    let (batch, three) = (Side::Any(BATCH), Side::Is(3));
    let Some(Normalisation { mean, std }) = options.normalisation else {
        return graph.input(PICTURES, Element::Float, &[batch, three, rows, columns]);
    };
    let pictures = graph.input(PICTURES, Element::Byte, &[batch, rows, columns, three]);
    let floats = graph.at("normalise").as_floats(&pictures);
    // As the program does it: x * scale + shift.
    let scale = std.map(|std| 1.0 / std);
    let shift = [0, 1, 2].map(|channel| -mean[channel] * scale[channel]);
    let scale = graph.floats("normalise/scale", &[3], scale.to_vec());
    let shift = graph.floats("normalise/shift", &[3], shift.to_vec());
    let scaled = graph.multiply(&floats, &scale);
    let shifted = graph.add(&scaled, &shift);
    graph.transpose(&shifted, &[0, 3, 1, 2])
}
