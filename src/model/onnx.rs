//! Exports a network, from images to scores, as an ONNX graph.

use super::Model;
use super::backbone::onnx::write;
use super::head::Takes;
use crate::error::{Error, Result};
use crate::onnx::{Element, Graph, Side, Value};

/// The inputs and outputs of a graph.
#[derive(Debug, Clone, PartialEq)]
pub struct GraphOptions {
    /// Rows and columns of the images; the number of images is variable.
    pub size: (usize, usize),
    /// The normalisation, if the graph takes images of bytes and normalises them itself.
    pub normalisation: Option<Normalisation>,
    /// Whether to output probabilities as well as logits.
    pub probabilities: bool,
}

/// (x - mean) / std of red, green and blue, on a scale of 0 to 255.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalisation {
    /// The mean, which is subtracted.
    pub mean: [f32; 3],
    /// The standard deviation, by which the difference is divided.
    pub std: [f32; 3],
}

/// The name of the input.
pub const PICTURES: &str = "pictures";

/// The name of the first output.
pub const LOGITS: &str = "logits";
/// The name of the second output, if it is requested.
pub const PROBABILITIES: &str = "probabilities";

/// The name of the dimension of variable length.
const BATCH: &str = "batch";

impl Model {
    /// Returns the network in evaluation mode as an ONNX graph. Its input [`PICTURES`] holds
    /// normalised images `[batch, 3, rows, columns]`, in the order red, green, blue; with a
    /// normalisation in the graph, bytes `[batch, rows, columns, 3]`. Its outputs are [`LOGITS`]
    /// `[batch, classes]` and, if requested, [`PROBABILITIES`].
    ///
    /// # Errors
    /// If the network has no backbone, or one that is not a list of nodes, or if images of this
    /// size cannot be split into its patches.
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

/// Adds the input, and its preprocessing before the network.
fn input(graph: &mut Graph, options: &GraphOptions) -> Value {
    let (rows, columns) = (Side::Is(options.size.0), Side::Is(options.size.1));
    let (batch, three) = (Side::Any(BATCH), Side::Is(3));
    let Some(Normalisation { mean, std }) = options.normalisation else {
        return graph.input(PICTURES, Element::Float, &[batch, three, rows, columns]);
    };
    let pictures = graph.input(PICTURES, Element::Byte, &[batch, rows, columns, three]);
    let floats = graph.at("normalise").as_floats(&pictures);
    // In the same form as the program: x * scale + shift.
    let scale = std.map(|std| 1.0 / std);
    let shift = [0, 1, 2].map(|channel| -mean[channel] * scale[channel]);
    let scale = graph.floats("normalise/scale", &[3], scale.to_vec());
    let shift = graph.floats("normalise/shift", &[3], shift.to_vec());
    let scaled = graph.multiply(&floats, &scale);
    let shifted = graph.add(&scaled, &shift);
    graph.transpose(&shifted, &[0, 3, 1, 2])
}
