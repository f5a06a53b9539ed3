//! Creates the parameters of a network: each under its name, with initial values from a random
//! stream of that name, in the order in which they are requested.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Shape, Tensor, Var};
use candle_nn::init::{FanInOut, NormalOrUniform};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};

use super::parameters::{Parameter, Parameters, Role};
use crate::error::Result;
use crate::rng::Stream;

/// Creates parameters under a prefix. Clones and children write to the same [`Parameters`].
#[derive(Debug, Clone)]
pub struct Builder {
    parameters: Arc<Mutex<Parameters>>,
    prefix: String,
    stage: usize,
    frozen: bool,
    dtype: DType,
    device: Device,
    seed: u64,
}

impl Builder {
    /// Creates a builder without prefix, in stage 0, of trainable parameters of type `dtype`;
    /// initial values are drawn from the streams of `seed`.
    pub fn new(device: &Device, dtype: DType, seed: u64) -> Self {
        Builder {
            parameters: Arc::default(),
            prefix: String::new(),
            stage: 0,
            frozen: false,
            dtype,
            device: device.clone(),
            seed,
        }
    }

    /// Returns the parameters created so far, in order.
    pub fn parameters(&self) -> Parameters {
        self.lock().clone()
    }

    /// Returns the type of the parameters.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Returns the device of the parameters.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Returns a builder for names under `name`: `pp("layer1").pp(0)` creates `layer1.0.weight`.
    pub fn pp(&self, name: impl ToString) -> Self {
        Builder {
            prefix: self.full(&name.to_string()),
            ..self.clone()
        }
    }

    /// Returns a builder for another stage, whose parameters are trainable unless `frozen`.
    pub fn at(&self, stage: usize, frozen: bool) -> Self {
        Builder {
            stage,
            frozen,
            ..self.clone()
        }
    }

    /// Returns a builder of parameters that are not trained.
    pub fn held(&self) -> Self {
        self.at(self.stage, true)
    }

    /// Creates a parameter of `shape`.
    ///
    /// # Errors
    /// If there is one of that name already.
    pub fn parameter(&self, name: &str, shape: &[usize], init: Init) -> Result<Parameter> {
        let role = match self.frozen {
            true => Role::Frozen,
            false => Role::Trainable,
        };
        self.make(name, shape, init, role)
    }

    /// Creates a buffer filled with `value`: a tensor, such as a running statistic, that is stored
    /// with the parameters but not trained.
    ///
    /// # Errors
    /// As [`Builder::parameter`].
    pub fn buffer(&self, name: &str, shape: impl Into<Shape>, value: f64) -> Result<Parameter> {
        self.make(name, shape.into().dims(), Init::Const(value), Role::Buffer)
    }

    /// Returns the same builder for a network written for candle-nn: whatever it requests becomes a
    /// parameter here, and running statistics become buffers.
    pub fn candle(&self) -> VarBuilder<'static> {
        let backend: Box<dyn SimpleBackend> = Box::new(Backend(self.clone()));
        VarBuilder::from_backend(backend, self.dtype, self.device.clone())
    }

    fn make(&self, name: &str, shape: &[usize], init: Init, role: Role) -> Result<Parameter> {
        let name = self.full(name);
        let values = initial(shape, init, Stream::new(self.seed, &name, 0, 0));
        let value = Tensor::from_vec(values, shape, &self.device)?.to_dtype(self.dtype)?;
        let var = Var::from_tensor(&value)?;
        self.lock().insert(name, var, role, self.stage)
    }

    fn full(&self, name: &str) -> String {
        match self.prefix.is_empty() {
            true => name.to_owned(),
            false => format!("{}.{name}", self.prefix),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Parameters> {
        self.parameters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// PyTorch's initial values for a linear layer and its bias: uniform within 1 / sqrt(fan-in).
pub fn uniform(fan_in: usize) -> Init {
    let bound = 1.0 / (fan_in.max(1) as f64).sqrt();
    Init::Uniform {
        lo: -bound,
        up: bound,
    }
}

/// Initial values from a normal distribution with mean 0.
pub fn normal(deviation: f64) -> Init {
    Init::Randn {
        mean: 0.0,
        stdev: deviation,
    }
}

/// Draws initial values from `stream`, element by element.
fn initial(shape: &[usize], init: Init, mut stream: Stream) -> Vec<f32> {
    let mut draw: Box<dyn FnMut() -> f64> = match init {
        Init::Const(value) => Box::new(move || value),
        Init::Randn { mean, stdev } => Box::new(move || mean + stdev * stream.normal()),
        Init::Uniform { lo, up } => Box::new(move || stream.range(lo, up)),
        Init::Kaiming {
            dist,
            fan,
            non_linearity,
        } => {
            let fan: usize = match fan {
                FanInOut::FanIn => shape.iter().skip(1).product(),
                FanInOut::FanOut => shape.iter().take(1).chain(shape.iter().skip(2)).product(),
            };
            let deviation = non_linearity.gain() / (fan.max(1) as f64).sqrt();
            let bound = 3f64.sqrt() * deviation;
            match dist {
                NormalOrUniform::Normal => Box::new(move || deviation * stream.normal()),
                NormalOrUniform::Uniform => Box::new(move || stream.range(-bound, bound)),
            }
        }
    };
    let count: usize = shape.iter().product();
    (0..count).map(|_| draw() as f32).collect()
}

/// candle-nn's view of a [`Builder`].
struct Backend(Builder);

impl SimpleBackend for Backend {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        init: Init,
        _: DType,
        _: &Device,
    ) -> candle_core::Result<Tensor> {
        if let Some(known) = self.0.lock().get(&self.0.full(name)) {
            return Ok(known.var.as_tensor().clone());
        }
        let builder = &self.0;
        let made = match name.ends_with("running_mean") || name.ends_with("running_var") {
            true => builder.make(name, shape.dims(), init, Role::Buffer),
            false => builder.parameter(name, shape.dims(), init),
        };
        // Returns the variable's own tensor, by which gradients are found and through which updates
        // are seen.
        made.map(|parameter| parameter.var.as_tensor().clone())
            .map_err(candle_core::Error::wrap)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        let name = self.0.full(name);
        match self.0.lock().get(&name) {
            Some(known) => Ok(known.var.as_tensor().clone()),
            None => candle_core::bail!("`{name}` has no shape to be made with"),
        }
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.0.lock().get(&self.0.full(name)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_nn::Module;

    fn values(parameter: &Parameter) -> Vec<f32> {
        let flat = parameter.var.flatten_all().unwrap();
        flat.to_vec1().unwrap()
    }

    #[test]
    fn a_parameter_depends_on_its_name_and_seed_alone() {
        let make = |seed, before: bool| {
            let builder = Builder::new(&Device::Cpu, DType::F32, seed);
            let init = Init::Randn {
                mean: 0.0,
                stdev: 2.0,
            };
            if before {
                builder.pp("b").parameter("weight", &[7], init).unwrap();
            }
            values(
                &builder
                    .pp("a")
                    .parameter("weight", &[50, 40], init)
                    .unwrap(),
            )
        };
        assert_eq!(make(1, false), make(1, true));
        assert_ne!(make(1, false), make(2, false));
        let drawn = make(1, false);
        let square: f32 = drawn.iter().map(|v| v * v).sum();
        assert!((square / 2000.0 - 4.0).abs() < 0.4, "{square}");
    }

    #[test]
    fn a_network_of_candle_nn_learns_here() {
        let builder = Builder::new(&Device::Cpu, DType::F32, 0)
            .pp("net")
            .at(2, false);
        let layer = candle_nn::linear(3, 2, builder.candle().pp("fc")).unwrap();
        let norm = candle_nn::batch_norm(2, 1e-5, builder.candle().pp("bn")).unwrap();
        let parameters = builder.parameters();
        let names: Vec<&str> = parameters.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names[..2], ["net.fc.weight", "net.fc.bias"]);
        assert_eq!(
            parameters.get("net.bn.running_var").unwrap().role,
            Role::Buffer
        );
        assert_eq!(
            parameters.get("net.bn.weight").unwrap().role,
            Role::Trainable
        );
        assert!(parameters.iter().all(|p| p.stage == 2));
        drop(norm);

        let input = Tensor::ones((1, 3), DType::F32, &Device::Cpu).unwrap();
        let before = layer.forward(&input).unwrap().sum_all().unwrap();
        let found = before.backward().unwrap();
        let weight = parameters.get("net.fc.weight").unwrap();
        let gradient = found.get(weight.var.as_tensor()).unwrap();
        assert_eq!(gradient.sum_all().unwrap().to_scalar::<f32>().unwrap(), 6.0);
        weight
            .set(&(weight.var.as_tensor() + 1.0).unwrap())
            .unwrap();
        let after = layer.forward(&input).unwrap().sum_all().unwrap();
        let moved = (after - before).unwrap().to_scalar::<f32>().unwrap();
        assert!((moved - 6.0).abs() < 1e-5);
    }
}
