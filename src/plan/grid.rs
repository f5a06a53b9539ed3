//! Values to try: the axes of a grid, and the points they span.

use toml::{Table, Value};

use crate::error::{Error, KeyPath, Result};
use crate::layers::{Assignment, Origin, plain};

/// A key with the values to try.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    /// The configuration key.
    pub key: KeyPath,
    /// The values, at least one, each with the place where it was written.
    pub values: Vec<(Value, Origin)>,
}

/// Values for some keys.
#[derive(Debug, Clone, Default)]
pub(super) struct Point {
    /// The keys and their values.
    pub assignments: Vec<Assignment>,
    /// The same as part of a run's name: `+learning_rate=0.01`.
    pub label: String,
}

impl Point {
    /// Returns the assignments `shared`, followed by those of this point, which override them.
    pub(super) fn on(&self, shared: &[Assignment]) -> Vec<Assignment> {
        shared.iter().chain(&self.assignments).cloned().collect()
    }

    /// Returns this point with one more value; `name` is the key's name in the label.
    pub(super) fn with(&self, name: &str, assignment: Assignment) -> Self {
        let mut next = self.clone();
        let value = file_name(&assignment.value);
        next.label.push_str(&format!("+{name}={value}"));
        next.assignments.push(assignment);
        next
    }
}

/// Converts `leaves`, keys with lists as their values, to axes. `origin` says where an item of a
/// list was written.
///
/// # Errors
/// Fails if a value is not a list or is empty, if the key is not part of a method's configuration,
/// or if `shared` sets it.
pub(super) fn axes(
    leaves: Vec<(KeyPath, Assignment)>,
    shared: &[Assignment],
    origin: impl Fn(&KeyPath) -> Origin,
) -> Result<Vec<Axis>> {
    let axis = |(at, leaf): (KeyPath, Assignment)| {
        check_key(&leaf, shared)?;
        match leaf.value {
            Value::Array(values) if !values.is_empty() => Ok(Axis {
                key: leaf.key,
                values: (values.into_iter().enumerate())
                    .map(|(i, value)| (value, origin(&at.item(i))))
                    .collect(),
            }),
            other => {
                let problem = format!(
                    "the grid's `{}` is {}, expected a list such as [0.01, 0.02]",
                    leaf.key,
                    plain(&other)
                );
                Err(Error::at(leaf.origin.place(), problem))
            }
        }
    };
    leaves.into_iter().map(axis).collect()
}

/// Rejects keys that cannot differ between the points of a grid.
pub(super) fn check_key(axis: &Assignment, shared: &[Assignment]) -> Result<()> {
    let key = &axis.key;
    let problem = |text: String| Error::at(axis.origin.place(), text);
    let root = key.keys().first().map(String::as_str).unwrap_or_default();
    if ["name", "method", "seed", "seeds", "methods"].contains(&root) {
        return Err(problem(format!("`{key}` cannot be part of a grid"))
            .hint("methods and seeds have lists of their own: `methods`, `seeds`"));
    }
    match shared.iter().find(|set| set.key == *key) {
        Some(set) => Err(problem(format!(
            "the grid's `{key}` is set to one value too: {}, in {}",
            set.value,
            set.origin.place()
        ))),
        None => Ok(()),
    }
}

/// Returns each key's name in labels: its last part, or all of it if two keys end alike.
pub(super) fn names<'a>(keys: impl Iterator<Item = &'a KeyPath> + Clone) -> Vec<String> {
    let short = |key: &KeyPath| key.last().unwrap_or_default().to_owned();
    let name = |key: &KeyPath| match keys.clone().filter(|k| short(k) == short(key)).count() {
        1 => short(key),
        _ => key.to_string(),
    };
    keys.clone().map(name).collect()
}

/// Returns every combination of the values, the last axis varying fastest; one empty point if there
/// are no axes.
pub(super) fn points(axes: &[Axis]) -> Vec<Point> {
    let names = names(axes.iter().map(|axis| &axis.key));
    let mut points = vec![Point::default()];
    for (axis, name) in axes.iter().zip(&names) {
        let each = |point: &Point| -> Vec<Point> {
            let values = axis.values.iter();
            let with = values.map(|(value, origin)| {
                let assignment = Assignment {
                    key: axis.key.clone(),
                    value: value.clone(),
                    origin: origin.clone(),
                };
                point.with(name, assignment)
            });
            with.collect()
        };
        points = points.iter().flat_map(each).collect();
    }
    points
}

/// Formats a value as part of a folder's name.
fn file_name(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut name = String::new();
    for c in text.chars() {
        match c.is_alphanumeric() || "._-".contains(c) {
            true => name.push(c),
            false if name.ends_with('-') || name.is_empty() => {}
            false => name.push('-'),
        }
    }
    name.trim_end_matches('-').to_owned()
}

/// Returns the values of nested tables with their paths as written; a table for which `whole` is
/// true counts as a value.
pub(super) fn leaf_paths(
    table: &Table,
    at: &KeyPath,
    whole: fn(&Table) -> bool,
) -> Vec<(KeyPath, Value)> {
    let mut found = Vec::new();
    for (key, value) in table {
        let path = at.child(key);
        match value {
            Value::Table(inner) if !whole(inner) => found.extend(leaf_paths(inner, &path, whole)),
            _ => found.push((path, value.clone())),
        }
    }
    found
}
