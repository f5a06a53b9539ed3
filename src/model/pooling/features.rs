//! What a backbone makes of a batch of pictures.

use std::sync::{Arc, OnceLock};

use candle_core::Tensor;

use super::Pooler;
use crate::error::{Error, Result};

/// Features of a batch of pictures. Nothing is computed before it is asked for, and nothing twice.
#[derive(Debug, Clone)]
pub struct Features {
    source: Source,
    pooled: OnceLock<Tensor>,
}

#[derive(Debug, Clone)]
enum Source {
    /// What a network handed out.
    Output {
        /// `[batch, rows, columns, channels]`.
        output: Tensor,
        /// Height and width of the pictures.
        size: (usize, usize),
        pooler: Arc<dyn Pooler>,
    },
    /// Pooled features alone.
    Pooled(Tensor),
    /// Maps alone.
    Maps(Tensor),
}

impl Features {
    /// Those that `pooler` makes of a network's `output` for pictures of `size` (height, width).
    pub fn new(output: Tensor, size: (usize, usize), pooler: Arc<dyn Pooler>) -> Self {
        Features {
            source: Source::Output {
                output,
                size,
                pooler,
            },
            pooled: OnceLock::new(),
        }
    }

    /// Features that are pooled already, `[batch, features]`: there are no maps to them.
    pub fn of_pooled(pooled: Tensor) -> Self {
        Features {
            source: Source::Pooled(pooled),
            pooled: OnceLock::new(),
        }
    }

    /// Maps alone, `[batch, rows, columns, features]`.
    pub fn of_maps(maps: Tensor) -> Self {
        Features {
            source: Source::Maps(maps),
            pooled: OnceLock::new(),
        }
    }

    /// The same outside of the graph: no gradient comes back to them or to the pooling.
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn detached(&self) -> Result<Self> {
        let (source, pooled) = (self.source.clone(), OnceLock::new());
        if let Source::Output { .. } = &source {
            let _ = pooled.set(self.pooled()?.detach());
        }
        Ok(Features { source, pooled })
    }

    /// The maps, where they came without pooled features.
    pub fn given_maps(&self) -> Option<&Tensor> {
        match &self.source {
            Source::Maps(maps) => Some(maps),
            _ => None,
        }
    }

    /// One vector a picture, `[batch, features]`.
    ///
    /// # Errors
    /// If the features came as maps alone, or a tensor operation fails.
    pub fn pooled(&self) -> Result<Tensor> {
        match &self.source {
            Source::Pooled(pooled) => Ok(pooled.clone()),
            Source::Maps(_) => Err(Error::input(
                "features",
                "expected one vector per picture, found maps",
            )),
            Source::Output { output, pooler, .. } => match self.pooled.get() {
                Some(pooled) => Ok(pooled.clone()),
                None => {
                    let pooled = pooler.pooled(output)?;
                    Ok(self.pooled.get_or_init(|| pooled).clone())
                }
            },
        }
    }

    /// One vector for each place of a picture, `[batch, rows, columns, features]`.
    ///
    /// # Errors
    /// If the features came without maps, or a tensor operation fails.
    pub fn maps(&self) -> Result<Tensor> {
        match &self.source {
            Source::Output {
                output,
                size,
                pooler,
            } => pooler.maps(output, *size),
            Source::Maps(maps) => Ok(maps.clone()),
            Source::Pooled(_) => Err(Error::input(
                "features",
                "expected maps, found one vector per picture",
            )
            .hint("choose a head that reads pooled features, or train from the pictures")),
        }
    }
}
