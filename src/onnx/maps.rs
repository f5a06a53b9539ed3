//! What flows through a network, in either order of its sides.

use std::cell::OnceCell;

use super::graph::{Graph, Value};

/// Maps of many channels. Convolutions take them as `[batch, channels, rows, columns]`, linear
/// layers and norms over channels as a list of places `[batch, rows * columns, channels]`; each
/// form is made from the other when it is first asked for.
#[derive(Debug, Clone)]
pub struct Maps {
    /// Channels.
    pub channels: usize,
    /// Rows and columns.
    pub size: (usize, usize),
    order: Order,
    value: Value,
    /// The same in the other order, once it was asked for.
    turned: OnceCell<Value>,
}

/// The order of the sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Pictures,
    Places,
}

impl Maps {
    /// Maps `[batch, channels, rows, columns]`.
    pub fn of_pictures(value: Value, channels: usize, size: (usize, usize)) -> Self {
        Self::new(Order::Pictures, value, channels, size)
    }

    /// Maps `[batch, rows * columns, channels]`.
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

    /// Whether they were made as a list of places.
    pub fn are_places(&self) -> bool {
        self.order == Order::Places
    }

    /// As `[batch, channels, rows, columns]`.
    pub fn pictures(&self, graph: &mut Graph) -> Value {
        self.ordered(Order::Pictures, graph)
    }

    /// As `[batch, rows * columns, channels]`.
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
