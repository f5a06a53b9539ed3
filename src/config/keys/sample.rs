//! Files that show what a key is where it is left out, and what is accepted.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::config::Experiment;
use crate::error::{Error, KeyPath, Result};
use crate::layers::leaves;
use crate::range::Range;

/// A file of TOML whose keys the reference describes.
pub trait Described: Serialize + DeserializeOwned + PartialEq {
    /// The type's name, and where it stands, from the root of the project.
    const NAMED: (&'static str, &'static str);
    /// The least that such a file says, and every table that is off where it is missing.
    const LEAST: &'static str;
    /// What else a kind may need beside its name: the first that leads to a good file is taken.
    const BESIDE: &'static [&'static str] = &[""];
    /// Kinds on which defaults of other tables may depend.
    const OTHERS: &'static [&'static str] = &[];

    /// Sets what `written`, the file's own table, leaves out and other keys decide.
    fn complete(&mut self, written: &Table) {
        let _ = written;
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// A value lies outside of its range.
    fn check(&self) -> Result<()>;
}

impl Described for Experiment {
    const NAMED: (&'static str, &'static str) = ("Experiment", "src/config/mod.rs");
    const LEAST: &'static str = "
name = 'x'
method = 'x'
loss.name = 'bce'
sampler.kind = 'uniform'
split.source.kind = 'shapes'
input.augment = { rand_augment = {}, cutout = {} }
start.run = 'x'
";
    const BESIDE: &'static [&'static str] = &[
        "",
        "model.neck.kind = 'none'",
        "model.backbone = 'vit_tiny_patch16_224'",
        "split.source.root = 'x'",
        "split.source.train = 'x'",
        "split.distribution = { max = 9, imbalance_factor = 3.0 }",
        "split.distribution.counts = [1]",
        "split.distribution.counts = { x = 1 }",
        "split.distribution.file = 'x'",
        "split.distribution.recipe = 'voc-mlt'",
        "model = { neck = { kind = 'none' }, head = { words = 'x' } }",
    ];
    const OTHERS: &'static [&'static str] = &[
        "split.source.kind = \"table\"",
        "optimizer.kind = \"adamw\"",
        "model.backbone = \"vit_tiny_patch16_224\"",
    ];

    fn complete(&mut self, written: &Table) {
        Experiment::complete(self, written);
    }

    fn check(&self) -> Result<()> {
        Experiment::check(self)
    }
}

/// A file in which one table is of a certain kind.
#[derive(Debug)]
pub(super) struct Sample<T> {
    of: PhantomData<T>,
    written: Table,
    /// What is written of it again: the defaults among it.
    whole: BTreeMap<String, Value>,
    ranges: BTreeMap<KeyPath, Range>,
}

impl<T: Described> Sample<T> {
    /// One that has `with`, such as `schedule.kind = "cosine"`; nothing where it is empty.
    ///
    /// # Errors
    /// There is no such file, which is a mistake of this program.
    pub(super) fn new(with: &str) -> Result<Self> {
        let mut problem = String::new();
        for beside in T::BESIDE {
            let mut written = parse(T::LEAST)?;
            merge(&mut written, parse(beside)?);
            merge(&mut written, parse(with)?);
            match Self::of(written) {
                Ok(sample) => return Ok(sample),
                Err(error) => problem = error.to_string(),
            }
        }
        Err(Error::input(
            "the list of keys",
            format_args!("`{with}`: {problem}"),
        ))
    }

    fn of(written: Table) -> Result<Self> {
        let read: T = read(&written)?;
        let mut checked = Ok(());
        let ranges = Range::listen(|| checked = read.check());
        checked?;
        let whole = Table::try_from(&read).map_err(|error| Error::input(T::NAMED.0, error))?;
        Ok(Sample {
            of: PhantomData,
            written,
            whole: leaves(&whole).into_iter().collect(),
            ranges,
        })
    }

    /// What `key` accepts, of a list each item.
    pub(super) fn range(&self, key: &KeyPath) -> Option<Range> {
        if let Some(range) = of_item(&self.ranges, key) {
            return Some(range);
        }
        // What is left out is not checked.
        let values = [Value::Integer(1), Value::Float(0.5)];
        values.into_iter().find_map(|value| {
            let mut written = self.written.clone();
            insert(&mut written, key.keys(), value);
            let read: T = read(&written).ok()?;
            of_item(&Range::listen(|| drop(read.check())), key)
        })
    }

    /// What `key` is where it is left out. What is not written again, since it is left out as well,
    /// is found out: it is the one among `candidates` that changes nothing.
    pub(super) fn default(&self, key: &KeyPath, candidates: &[Value]) -> Option<Value> {
        let mut written = self.written.clone();
        let is_given = remove(&mut written, key.keys());
        let whole = match is_given {
            false => self.whole.get(&key.to_string()).cloned(),
            // It is written in the sample, but it may still be left out.
            true => {
                let table = Table::try_from(read::<T>(&written).ok()?).ok()?;
                let mut leaves = leaves(&table).into_iter();
                leaves.find_map(|(other, value)| (other == key.to_string()).then_some(value))
            }
        };
        if whole.is_some() {
            return whole;
        }
        let left_out: T = read(&written).ok()?;
        let same = |value: &&Value| {
            let mut written = written.clone();
            insert(&mut written, key.keys(), (*value).clone());
            read::<T>(&written).is_ok_and(|read| read == left_out)
        };
        candidates.iter().find(same).cloned()
    }

    /// Whether there is no such file without `key`.
    pub(super) fn is_required(&self, key: &KeyPath) -> bool {
        let mut written = self.written.clone();
        remove(&mut written, key.keys()) && read::<T>(&written).is_err()
    }
}

/// The range of a key, or that of the first item of its list.
fn of_item(ranges: &BTreeMap<KeyPath, Range>, key: &KeyPath) -> Option<Range> {
    let range = ranges.get(key).or_else(|| ranges.get(&key.item(0)));
    range.copied()
}

fn parse(text: &str) -> Result<Table> {
    text.parse()
        .map_err(|error: toml::de::Error| Error::input("the list of keys", error.message()))
}

fn read<T: Described>(written: &Table) -> Result<T> {
    let read = written.clone().try_into::<T>();
    let mut read = read.map_err(|error| Error::input(T::NAMED.0, error.message()))?;
    read.complete(written);
    Ok(read)
}

fn merge(below: &mut Table, above: Table) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge(below, above),
            (_, value) => {
                below.insert(key, value);
            }
        }
    }
}

/// Takes a key out; false where it was not there.
fn remove(table: &mut Table, key: &[String]) -> bool {
    match key {
        [last] => table.remove(last).is_some(),
        [first, rest @ ..] => match table.get_mut(first) {
            Some(Value::Table(inner)) => remove(inner, rest),
            _ => false,
        },
        [] => false,
    }
}

fn insert(table: &mut Table, key: &[String], value: Value) {
    match key {
        [last] => {
            table.insert(last.clone(), value);
        }
        [first, rest @ ..] => {
            let inner = table
                .entry(first.clone())
                .or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                insert(inner, rest, value);
            }
        }
        [] => {}
    }
}
