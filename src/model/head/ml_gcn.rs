//! Classifiers that a graph network makes of the classes' words, over the graph of what is seen
//! together.

use std::collections::BTreeMap;
use std::path::PathBuf;

use candle_core::Tensor;
use candle_nn::Init;
use serde::{Deserialize, Serialize};

use super::interface::{Accepts, Definition, Head, HeadContext, Key, Settings, Takes};
use super::parts::places;
use super::word_vectors;
use crate::error::{Error, KeyPath, Result};
use crate::model::builder::Builder;
use crate::model::constants::derived;
use crate::model::parameters::Parameter;
use crate::onnx::{Graph, Value};
use crate::range::Range;

/// Slope of the LeakyReLU below 0.
const SLOPE: f64 = 0.2;

/// Added to the sums of the graph's columns, as in the published code.
const EPSILON: f64 = 1e-6;

pub(super) const DEFINITION: Definition = Definition {
    name: "ml-gcn",
    title: "ML-GCN",
    formula: "P_ij = images with i and j / images with i, for i other than j;\n\
        B_ij = 1 if P_ij >= threshold, else 0;\n\
        A = I + reweight / (1 - reweight) B, each column of B divided by its sum;\n\
        G = D A' D, D = (row sums of A)^(-1/2) on the diagonal, A' the transpose;\n\
        W = G leaky_relu(G V W1) W2 for the classes' vectors V;\n\
        z_c = W_c . x",
    source: "Chen et al., Multi-Label Image Recognition with Graph Convolutional Networks, CVPR 2019 \
        (arXiv 1904.03582), section 3, and its public code; the ML-GCN row of Wu et al., ECCV 2020",
    keys: &[
        Key {
            name: "threshold",
            accepts: Accepts::Range(Range::Above(0.0, 1.0)),
            meaning: "Conditional probability from which two classes are neighbours (the paper's \
                tau, the code's t)",
        },
        Key {
            name: "reweight",
            accepts: Accepts::Range(Range::Below(0.0, 1.0)),
            meaning: "Weight of the neighbours relative to the class itself (the paper's p)",
        },
        Key {
            name: "hidden",
            accepts: Accepts::Range(Range::WholeWithin(1, 1_048_576)),
            meaning: "Width between the two graph convolutions",
        },
        Key {
            name: "pooling",
            accepts: Accepts::Range(Range::OneOf(&["max", "embedding"])),
            meaning: "`max`: x is the maximum over the maps, as in the paper, and there is no neck; \
                `embedding`: x is the output of backbone and neck",
        },
        Key {
            name: "words",
            accepts: Accepts::Words("the path of a text file: one word and its numbers per line"),
            meaning: "Word vectors in GloVe's format; without them the classes' vectors are \
                one-hot",
        },
        Key {
            name: "dimensions",
            accepts: Accepts::Range(Range::WholeWithin(1, 65_536)),
            meaning: "Length of a word vector; not used without `words`",
        },
        Key {
            name: "spelling",
            accepts: Accepts::Words("a table of class names with the words to look up"),
            meaning: "Other words for a class's name: `{ tvmonitor = \"tv monitor\" }`",
        },
    ],
    notes: "The defaults are those of paper and code: threshold 0.4, p = 0.2, 1024 between the \
        convolutions, LeakyReLU 0.2, maxima of the maps, 300-dimensional GloVe vectors. Which side \
        of the graph is normalised follows the code that produced the published figures: it \
        divides columns and transposes, while the paper's formula divides rows. The graph is that \
        of the \
        training split, so a long-tailed one has few edges; a class without an image has none.\n\n\
        A class's vector is the mean of the vectors of its words: of its name if the file contains \
        it, otherwise of the words between blanks, `_` and the like, first as written, then in \
        lower case. If none of a class's words is in the file, that is an error that names the \
        class; if some are missing, a message says so. Three of VOC's names are two words written \
        as one: `spelling = { diningtable = \"dining table\", \
        pottedplant = \"potted plant\", tvmonitor = \"tv monitor\" }`.\n\n\
        Initial weights are uniform within 1 / sqrt(outputs), as in the code. The graph and the \
        classes' vectors are stored in the checkpoint, so the file of words is needed only for \
        training. The authors' learning rates (0.1 for the graph network, a tenth of it for the \
        backbone) are not those of this recipe.",
};

/// Settings of the ML-GCN head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MlGcn {
    /// Conditional probability from which two classes are neighbours, in (0, 1].
    pub threshold: f64,
    /// Weight of the neighbours, in [0, 1).
    pub reweight: f64,
    /// Width between the convolutions.
    pub hidden: usize,
    /// What the classifiers are applied to.
    pub pooling: Pooling,
    /// Word vectors in GloVe's text format.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub words: Option<PathBuf>,
    /// Numbers of a word vector.
    pub dimensions: usize,
    /// Other words for a class's name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub spelling: BTreeMap<String, String>,
}

/// What the classifiers are applied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// The maximum over the places of the maps.
    Max,
    /// The pooled features behind the neck.
    Embedding,
}

impl Default for MlGcn {
    fn default() -> Self {
        MlGcn {
            threshold: 0.4,
            reweight: 0.2,
            hidden: 1024,
            pooling: Pooling::Max,
            words: None,
            dimensions: 300,
            spelling: BTreeMap::new(),
        }
    }
}

impl Settings for MlGcn {
    fn check(&self, at: &KeyPath) -> Result<()> {
        if self.words.is_none() && !self.spelling.is_empty() {
            let problem = "says how to look up words, but no file of words is given";
            return Err(Error::key(at.join("spelling"), problem)
                .hint("set `words` too, or leave `spelling` out for one-hot vectors"));
        }
        Ok(())
    }

    fn takes(&self) -> Takes {
        match self.pooling {
            Pooling::Max => Takes::Maps,
            Pooling::Embedding => Takes::Embedding,
        }
    }

    fn build(&self, context: &HeadContext, builder: &Builder) -> Result<Box<dyn Head>> {
        let (classes, width, hidden) = (context.num_classes(), context.width, self.hidden);
        let held = builder.held();
        let graph = held.parameter("graph", &[classes, classes], Init::Const(0.0))?;
        let found = graph_of(context, self.threshold, self.reweight);
        graph.fill(found.iter().map(|&edge| edge as f32).collect())?;
        let dimensions = match &self.words {
            Some(_) => self.dimensions,
            None => classes,
        };
        let vectors = held.parameter("vectors", &[classes, dimensions], Init::Const(0.0))?;
        match &self.words {
            Some(path) if context.reads_files => {
                let (names, spelling) = (context.classes(), &self.spelling);
                vectors.fill(word_vectors::of_classes(path, names, spelling, dimensions)?)?;
            }
            Some(_) => {}
            None => {
                let diagonal = (0..classes * classes).map(|i| i % (classes + 1) == 0);
                vectors.fill(diagonal.map(|on| f32::from(u8::from(on))).collect())?;
            }
        }
        // The code's bound is by the outputs of a weight [in, out].
        let convolution = |name: &str, input: usize, output: usize| {
            let drawn = super::parts::uniform(output);
            builder
                .pp(name)
                .parameter("weight", &[input, output], drawn)
        };
        Ok(Box::new(MlGcnHead {
            graph,
            vectors,
            first: convolution("gc1", dimensions, hidden)?,
            second: convolution("gc2", hidden, width)?,
            pooling: self.pooling,
        }))
    }

    fn paths(&mut self) -> Vec<(&'static str, &mut PathBuf)> {
        self.words.iter_mut().map(|path| ("words", path)).collect()
    }
}

/// The normalised graph G of the classes, row by row.
fn graph_of(context: &HeadContext, threshold: f64, reweight: f64) -> Vec<f64> {
    let classes = context.num_classes();
    let (counts, co_occurrence) = (context.labels.class_counts(), context.co_occurrence());
    let at = |i: usize, j: usize| i * classes + j;
    let neighbours = |i: usize, j: usize| {
        let (both, images) = (co_occurrence[at(i, j)], counts[i]);
        i != j && images > 0 && both as f64 / images as f64 >= threshold
    };
    let mut matrix = vec![0.0; classes * classes];
    for j in 0..classes {
        let found: Vec<usize> = (0..classes).filter(|&i| neighbours(i, j)).collect();
        for &i in &found {
            matrix[at(i, j)] = reweight / (1.0 - reweight) / (found.len() as f64 + EPSILON);
        }
        matrix[at(j, j)] = 1.0;
    }
    let degree: Vec<f64> = (matrix.chunks(classes.max(1)))
        .map(|row| row.iter().sum::<f64>().powf(-0.5))
        .collect();
    (0..classes * classes)
        .map(|place| {
            let (i, j) = (place / classes, place % classes);
            degree[i] * matrix[at(j, i)] * degree[j]
        })
        .collect()
}

/// Parameters: `head.gc1.weight` [vector, hidden], `head.gc2.weight` [hidden, width]; kept with
/// them and not learning: `head.graph` [C, C], `head.vectors` [C, vector].
#[derive(Debug)]
struct MlGcnHead {
    graph: Parameter,
    vectors: Parameter,
    first: Parameter,
    second: Parameter,
    pooling: Pooling,
}

impl Head for MlGcnHead {
    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let x = match self.pooling {
            Pooling::Max => places(input)?.max(1)?,
            Pooling::Embedding => input.clone(),
        };
        Ok(x.matmul(&self.classifiers()?.t()?)?)
    }

    fn forward_in(&self, graph: &mut Graph, input: &Value) -> Result<Value> {
        let classifiers = derived(graph, &self.second, "classifiers", &self.classifiers()?)?;
        let x = match self.pooling {
            Pooling::Max => graph.largest(input, 1),
            Pooling::Embedding => input.clone(),
        };
        Ok(graph.linear(&x, &classifiers, None, 1.0))
    }
}

impl MlGcnHead {
    /// What the graph network makes of the classes' vectors: a classifier a class, [C, width].
    fn classifiers(&self) -> Result<Tensor> {
        let graph = self.graph.var.as_tensor();
        let hidden = graph.matmul(&self.vectors.var.matmul(&self.first.var)?)?;
        let hidden = (hidden.relu()? - (hidden.neg()?.relu()? * SLOPE)?)?;
        Ok(graph.matmul(&hidden.matmul(&self.second.var)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::labels::LabelTable;

    /// By hand: 0 is always with 1, 1 half of the time with 0, 2 once of three times with 1, 3 has
    /// no image.
    #[test]
    fn the_graph_is_that_of_the_training_labels() {
        let names = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        let mut labels = LabelTable::new(names);
        for (image, of_image) in [
            [0, 1].as_slice(),
            &[0, 1],
            &[1],
            &[1, 2],
            &[2],
            &[2],
            &[],
        ]
        .iter()
        .enumerate()
        {
            labels.push(image.to_string(), of_image.iter().copied());
        }
        let context = HeadContext {
            width: 8,
            labels: &labels,
            reads_files: true,
        };
        assert_eq!(labels.class_counts(), [2, 4, 3, 0]);
        let co_occurrence = context.co_occurrence();
        assert_eq!(co_occurrence[1], 2);
        assert_eq!(co_occurrence[4..8], [2, 0, 1, 0]);
        let graph = graph_of(&context, 0.4, 0.2);
        // A has one neighbour in each of the first two columns.
        let edge = 0.25 / (1.0 + 1e-6);
        let own = 1.0 / (1.0 + edge);
        let pair = edge / (1.0 + edge);
        let expected = [
            own, pair, 0.0, 0.0, //
            pair, own, 0.0, 0.0, //
            0.0, 0.0, 1.0, 0.0, //
            0.0, 0.0, 0.0, 1.0,
        ];
        for (found, expected) in graph.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{graph:?}");
        }
        // With a third as the threshold 2 has the neighbour 1, but 1 not the neighbour 2.
        let graph = graph_of(&context, 0.33, 0.2);
        assert!(graph[4 + 2] > 0.0 && graph[2 * 4 + 1] == 0.0, "{graph:?}");
    }
}
