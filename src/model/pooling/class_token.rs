//! Pooling by the first token of a transformer.

use std::sync::Arc;

use candle_core::Tensor;
use candle_nn::Init;

use super::{Pooler, Pooling};
use crate::error::Result;
use crate::model::builder::Builder;
use crate::model::constants::linear;
use crate::model::parameters::Parameter;
use crate::onnx::{Graph, Maps, Value};
use crate::ops::graph;

/// The class token, which is the first token, with an optional projection. The maps are the tokens
/// of the patches.
#[derive(Debug, Clone, Copy)]
pub struct ClassToken {
    /// The number of leading tokens without a location.
    pub first_tokens: usize,
    /// Rows and columns of a patch.
    pub patch: usize,
    /// The name and width of the projection; its parameter is `[width, channels]`.
    pub projection: Option<(&'static str, usize)>,
}

impl Pooling for ClassToken {
    fn num_pooled(&self, channels: usize) -> usize {
        self.projection.map_or(channels, |(_, width)| width)
    }

    fn create(&self, channels: usize, builder: &Builder) -> Result<Arc<dyn Pooler>> {
        let projection = match self.projection {
            Some((name, width)) => {
                let stdev = (channels as f64).powf(-0.5);
                let drawn = Init::Randn { mean: 0.0, stdev };
                Some(builder.parameter(name, &[width, channels], drawn)?)
            }
            None => None,
        };
        Ok(Arc::new(Token {
            design: *self,
            projection,
        }))
    }
}

/// [`ClassToken`] with its parameters.
#[derive(Debug)]
struct Token {
    design: ClassToken,
    projection: Option<Parameter>,
}

impl Pooler for Token {
    fn pooled(&self, output: &Tensor) -> Result<Tensor> {
        let (batch, _, _, channels) = output.dims4()?;
        let token = output.narrow(1, 0, 1)?.reshape((batch, channels))?;
        Ok(match &self.projection {
            Some(projection) => graph::linear(&token, projection.var.as_tensor(), None)?,
            None => token,
        })
    }

    fn maps(&self, output: &Tensor, (height, width): (usize, usize)) -> Result<Tensor> {
        let (batch, tokens, _, channels) = output.dims4()?;
        let ClassToken {
            first_tokens,
            patch,
            ..
        } = self.design;
        let places = output.narrow(1, first_tokens, tokens - first_tokens)?;
        Ok(places.reshape((batch, height / patch, width / patch, channels))?)
    }

    fn pooled_in(&self, graph: &mut Graph, output: &Maps) -> Result<Value> {
        let tokens = output.places(graph.at("pool"));
        let token = graph.pick(&tokens, 0, 1);
        match &self.projection {
            Some(projection) => linear(graph, &token, projection, None),
            None => Ok(token),
        }
    }

    fn places_in(&self, graph: &mut Graph, output: &Maps) -> Result<Value> {
        let tokens = output.places(graph.at("places"));
        let count = output.size.0 * output.size.1;
        Ok(graph.part(&tokens, self.design.first_tokens, count, 1))
    }

    fn parameters(&self) -> Vec<&Parameter> {
        self.projection.iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn the_class_token_is_pooled_and_the_patches_are_maps() {
        let pooling = ClassToken {
            first_tokens: 2,
            patch: 8,
            projection: Some(("head.weight", 4)),
        };
        assert_eq!(pooling.num_pooled(3), 4);
        let builder = Builder::new(&Device::Cpu, DType::F32, 0);
        let pooler = pooling.create(3, &builder).unwrap();
        // Token t of image n holds 10 n + t.
        let values: Vec<f32> = (0..2 * 8 * 3)
            .map(|i| (i / 24 * 10 + i % 24 / 3) as f32)
            .collect();
        let output = Tensor::from_vec(values, (2, 8, 1, 3), &Device::Cpu).unwrap();
        let maps = pooler.maps(&output, (16, 24)).unwrap();
        assert_eq!(maps.dims(), [2, 2, 3, 3]);
        let first: Vec<f32> = (maps.narrow(3, 0, 1).unwrap())
            .flatten_all()
            .unwrap()
            .to_vec1()
            .unwrap();
        let expected: Vec<f32> = (2..8).chain(12..18).map(|v| v as f32).collect();
        assert_eq!(first, expected);
        let pooled = pooler.pooled(&output).unwrap();
        assert_eq!(pooled.dims(), [2, 4]);
        // The class token of the first image is 0, that of the second 10.
        let weight = pooler.parameters()[0].var.sum(1).unwrap();
        let expected = (weight * 10.0).unwrap().to_vec1::<f32>().unwrap();
        let rows = pooled.to_vec2::<f32>().unwrap();
        assert_eq!(rows[0], [0.0; 4]);
        for (found, expected) in rows[1].iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5);
        }
    }
}
