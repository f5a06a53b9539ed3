//! The feature maps that flow through a network, in either order of dimensions.

use std::cell::OnceCell;

use super::graph::{Graph, Value};

/// Maps with several channels. Convolutions use them as `[batch, channels, rows, columns]`, linear
/// layers and norms over channels as a list of positions, `[batch, rows * columns, channels]`. Each
/// form is created from the other when it is first requested.
#[derive(Debug, Clone)]
pub struct Maps {
    /// Number of channels.
    pub channels: usize,
    /// Rows and columns.
    pub size: (usize, usize),
    order: Order,
    value: Value,
    /// The same value in the other order, once it has been requested.
    turned: OnceCell<Value>,
}

/// The order of dimensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Pictures,
    Places,
}

impl Maps {
    /// Creates maps from `[batch, channels, rows, columns]`.
    pub fn of_pictures(value: Value, channels: usize, size: (usize, usize)) -> Self {
        Self::new(Order::Pictures, value, channels, size)
    }

    /// Creates maps from `[batch, rows * columns, channels]`.
    pub fn of_places(value: Value, channels: usize, size: (usize, usize)) -> Self {
        Self::new(Order::Places, value, channels, size)
    }

    fn new(order: Order, value: Value, channels: usize, size: (usize, usize)) -> Self {
        Maps {
            channels,
            size,
            order,
            value,
            turned: OnceCell::new(),
        }
    }

    /// Returns whether they were created as a list of positions.
    pub fn are_places(&self) -> bool {
        self.order == Order::Places
    }

    /// Returns the maps as `[batch, channels, rows, columns]`.
    pub fn pictures(&self, graph: &mut Graph) -> Value {
        self.ordered(Order::Pictures, graph)
    }

    /// Returns the maps as `[batch, rows * columns, channels]`.
    pub fn places(&self, graph: &mut Graph) -> Value {
        self.ordered(Order::Places, graph)
    }

    fn ordered(&self, order: Order, graph: &mut Graph) -> Value {
        if order == self.order {
            return self.value.clone();
        }
        let (channels, (rows, columns)) = (self.channels as i64, self.size);
        let (rows, columns) = (rows as i64, columns as i64);
        let value = &self.value;
        let turn = || match order {
            Order::Pictures => {
                let moved = graph.transpose(value, &[0, 2, 1]);
                graph.reshape(&moved, &[0, channels, rows, columns])
            }
            Order::Places => {
                let flat = graph.reshape(value, &[0, channels, rows * columns]);
                graph.transpose(&flat, &[0, 2, 1])
            }
        };
        self.turned.get_or_init(turn).clone()
    }
}
