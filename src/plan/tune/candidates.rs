//! The settings to try for each method.

use toml::Value;

use crate::error::{Error, KeyPath, Result};
use crate::layers::{Assignment, Origin, plain, read_table};
use crate::plan::SweepFile;
use crate::plan::grid::{self, Axis, Point};
use crate::plan::tune_config::{Strategy, TuneConfig};
use crate::rng::Stream;

/// The settings of one method.
#[derive(Debug, Clone)]
pub(super) struct Candidates {
    /// The method's name.
    pub method: String,
    /// The settings to try, at least one.
    pub points: Vec<Point>,
}

/// The values of a key that are drawn from.
#[derive(Debug, Clone)]
struct Space {
    key: KeyPath,
    /// The random stream of its draws: methods that share a key share the values.
    stream: String,
    values: Values,
}

#[derive(Debug, Clone)]
enum Values {
    List(Vec<(Value, Origin)>),
    Range(Bounds, Origin),
}

/// The range of a drawn value.
#[derive(Debug, Clone, Copy, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Bounds {
    min: f64,
    max: f64,
    #[serde(default)]
    scale: Scale,
}

/// How a value is drawn from its range.
#[derive(Debug, Clone, Copy, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Scale {
    /// Uniformly.
    #[default]
    Linear,
    /// Uniformly in the logarithm.
    Log,
}

impl Bounds {
    fn read(leaf: &Value, at: &KeyPath) -> Result<Self> {
        let Value::Table(table) = leaf else {
            let problem = format!(
                "is {}, expected a range such as {{ min = 0.001, max = 0.1, scale = \"log\" }}",
                plain(leaf)
            );
            return Err(Error::key(at.clone(), problem));
        };
        let bounds: Bounds = read_table(table, at, &[])?;
        let Bounds { min, max, scale } = bounds;
        if !(min.is_finite() && max.is_finite() && min < max) {
            let problem = format!("goes from {min} to {max}, expected two ascending numbers");
            return Err(Error::key(at.clone(), problem));
        }
        if matches!(scale, Scale::Log) && min <= 0.0 {
            let problem = format!("begins at {min}, expected a number above 0 with `log`");
            return Err(Error::key(at.join("min"), problem));
        }
        Ok(bounds)
    }

    /// Draws a value, rounded to three significant digits so that the recorded value is exactly the
    /// one that is tried.
    fn draw(self, stream: &mut Stream) -> Value {
        let value = match self.scale {
            Scale::Linear => stream.range(self.min, self.max),
            Scale::Log => stream.range(self.min.ln(), self.max.ln()).exp(),
        };
        let rounded = format!("{value:.2e}").parse().unwrap_or(value);
        Value::Float(rounded)
    }
}

impl Space {
    fn draw(&self, seed: u64, number: usize) -> Assignment {
        let mut stream = Stream::new(seed, &self.stream, 0, number as u64);
        let (value, origin) = match &self.values {
            Values::List(values) => values[stream.below(values.len())].clone(),
            Values::Range(bounds, origin) => (bounds.draw(&mut stream), origin.clone()),
        };
        Assignment {
            key: self.key.clone(),
            value,
            origin,
        }
    }
}

/// Returns the settings of every method of `methods`; `shared` applies to all runs.
///
/// # Errors
/// Fails if the file has no value to try, has a value that cannot differ, or gives the methods
/// different numbers of trials.
pub(super) fn of(
    sweep: &SweepFile,
    config: &TuneConfig,
    methods: &[String],
    shared: &[Assignment],
) -> Result<Vec<Candidates>> {
    let at = KeyPath::from("tune");
    if let Some(unknown) = (config.methods.keys()).find(|name| !methods.contains(name)) {
        let key = at.child("methods").child(unknown);
        let problem = format!("is not a method of this file, only {}", methods.join(", "));
        let error = Error::key(key, problem);
        let names = methods.iter().map(String::as_str);
        return Err(sweep.locate(error.did_you_mean(unknown, names)));
    }
    let mut all = Vec::new();
    for method in methods {
        let spaces = spaces(sweep, config, method, shared)?;
        if spaces.is_empty() {
            let problem = "has no values to try";
            return Err(Error::file(&sweep.path, problem).hint(
                "add `[grid]` with `\"optimizer.learning_rate\" = [0.005, 0.01, 0.02, 0.05]`",
            ));
        }
        let points = match config.trials {
            0 => grid::points(&listed(&spaces, sweep)?),
            trials => draw(&spaces, config.seed, trials, sweep)?,
        };
        all.push(Candidates {
            method: method.clone(),
            points,
        });
    }
    match all
        .iter()
        .find(|other| other.points.len() != all[0].points.len())
    {
        Some(other) => {
            let (first, n) = (&all[0].method, all[0].points.len());
            let problem = format!(
                "tries {n} settings of `{first}` and {} of `{}`, which is not a fair comparison",
                other.points.len(),
                other.method
            );
            Err(Error::file(&sweep.path, problem).hint(
                "`strategy = \"random\"` with `trials` draws as many settings for each method",
            ))
        }
        None => Ok(all),
    }
}

/// Returns what varies for a method: the grid, the ranges, and what its own table adds or replaces.
fn spaces(
    sweep: &SweepFile,
    config: &TuneConfig,
    method: &str,
    shared: &[Assignment],
) -> Result<Vec<Space>> {
    let at = KeyPath::from("tune");
    let mut spaces: Vec<Space> = (sweep.axes(shared)?.into_iter())
        .map(|Axis { key, values }| Space {
            stream: format!("tune {key}"),
            key,
            values: Values::List(values),
        })
        .collect();
    let ranges = sweep.spaces(&at.child("range"), &config.range);
    let own = match config.methods.get(method) {
        Some(Value::Table(own)) => sweep.spaces(&at.child("methods").child(method), own),
        Some(other) => {
            let key = at.child("methods").child(method);
            let problem = format!("is {}, expected a table of keys", plain(other));
            return Err(sweep.locate(Error::key(key, problem)));
        }
        None => Vec::new(),
    };
    let shared_ranges = ranges.into_iter().map(|leaf| (leaf, String::new()));
    let owned = own.into_iter().map(|leaf| (leaf, format!(" {method}")));
    for ((path, leaf), whose) in shared_ranges.chain(owned) {
        grid::check_key(&leaf, shared)?;
        let values = match &leaf.value {
            Value::Array(values) if !values.is_empty() => Values::List(
                (values.iter().enumerate())
                    .map(|(i, value)| (value.clone(), sweep.origin(&path.item(i))))
                    .collect(),
            ),
            other => {
                let bounds = Bounds::read(other, &path).map_err(|e| sweep.locate(e))?;
                Values::Range(bounds, leaf.origin.clone())
            }
        };
        let space = Space {
            stream: format!("tune{whose} {}", leaf.key),
            key: leaf.key,
            values,
        };
        match spaces.iter_mut().find(|known| known.key == space.key) {
            Some(known) => *known = space,
            None => spaces.push(space),
        }
    }
    Ok(spaces)
}

/// Converts spaces that are all lists to the axes of a grid.
fn listed(spaces: &[Space], sweep: &SweepFile) -> Result<Vec<Axis>> {
    let axis = |space: &Space| match &space.values {
        Values::List(values) => Ok(Axis {
            key: space.key.clone(),
            values: values.clone(),
        }),
        Values::Range(_, origin) => {
            let problem = format!(
                "`{}` is a range, which contains infinitely many points",
                space.key
            );
            Err(Error::at(origin.place(), problem).hint(format_args!(
                "say in {} how many settings to draw: `[tune]` with `trials = 12` and \
                 `strategy = \"random\"`",
                sweep.path.display()
            )))
        }
    };
    spaces.iter().map(axis).collect()
}

/// Draws `trials` different settings, one by one.
fn draw(spaces: &[Space], seed: u64, trials: usize, sweep: &SweepFile) -> Result<Vec<Point>> {
    let names = grid::names(spaces.iter().map(|space| &space.key));
    let mut points: Vec<Point> = Vec::new();
    for number in 0..trials.saturating_mul(200) {
        let mut point = Point::default();
        for (space, name) in spaces.iter().zip(&names) {
            point = point.with(name, space.draw(seed, number));
        }
        if points.iter().all(|known| known.label != point.label) {
            points.push(point);
        }
        if points.len() == trials {
            return Ok(points);
        }
    }
    let problem = format!("is {trials}, but there are only {} settings", points.len());
    Err(sweep.locate(
        Error::key("tune.trials", problem)
            .hint("use fewer trials, more values, or `strategy = \"grid\"`"),
    ))
}

impl Strategy {
    /// Describes the strategy in words: `trials` settings on `folds` folds.
    pub(super) fn words(self, trials: usize, folds: usize) -> String {
        match self {
            Strategy::Grid => format!("grid: {trials} settings per method, each on {folds} folds"),
            Strategy::Random => {
                format!("random: {trials} settings drawn per method, each on {folds} folds")
            }
            Strategy::Halving => format!(
                "successive halving: {trials} settings per method on the first of {folds} folds, \
                 fewer on each further one"
            ),
        }
    }
}
