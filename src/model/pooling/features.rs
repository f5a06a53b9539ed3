//! The features that a backbone computes from a batch of images.

use std::sync::{Arc, OnceLock};

use candle_core::Tensor;

use super::Pooler;
use crate::error::{Error, Result};

/// Features of a batch of images, computed on demand and at most once.
#[derive(Debug, Clone)]
pub struct Features {
    source: Source,
    pooled: OnceLock<Tensor>,
}

#[derive(Debug, Clone)]
enum Source {
    /// The output of a network.
    Output {
        /// `[batch, rows, columns, channels]`.
        output: Tensor,
        /// Height and width of the images.
        size: (usize, usize),
        pooler: Arc<dyn Pooler>,
    },
    /// Pooled features only.
    Pooled(Tensor),
    /// Maps only.
    Maps(Tensor),
}

impl Features {
    /// Creates the features that `pooler` computes from a network's `output` for images of `size`
    /// (height, width).
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

    /// Creates features that are already pooled, `[batch, features]`, without maps.
    pub fn of_pooled(pooled: Tensor) -> Self {
        Features {
            source: Source::Pooled(pooled),
            pooled: OnceLock::new(),
        }
    }

    /// Creates features that are maps only, `[batch, rows, columns, features]`.
    pub fn of_maps(maps: Tensor) -> Self {
        Features {
            source: Source::Maps(maps),
            pooled: OnceLock::new(),
        }
    }

    /// Returns the same features outside the graph: neither they nor the pooling receive gradients.
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

    /// Returns the maps, if they were given without pooled features.
    pub fn given_maps(&self) -> Option<&Tensor> {
        match &self.source {
            Source::Maps(maps) => Some(maps),
            _ => None,
        }
    }

    /// Returns one vector per image, `[batch, features]`.
    ///
    /// # Errors
    /// If the features are maps only, or a tensor operation fails.
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

    /// Returns one vector per location of an image, `[batch, rows, columns, features]`.
    ///
    /// # Errors
    /// If the features have no maps, or a tensor operation fails.
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
