//! Builds a split from a source.

use std::collections::HashSet;
use std::sync::Arc;

use crate::data::formats::{Loaded, table};
use crate::data::image::ToldPictures;
use crate::data::labels::LabelTable;
use crate::data::{balance, longtail, replay, stratify};
use crate::error::{Error, KeyPath, Result};
use crate::wording::{counted, first_named};

use super::{
    Counterpart, Distribution, EmptyClasses, ImageRoots, Manifest, PoolFacts, Preset, Split,
    SplitConfig, ValidationFrom,
};

impl Split {
    /// Reads the source and builds the split.
    pub fn build(config: &SplitConfig) -> Result<Split> {
        config.check(&KeyPath::from("split"))?;
        Split::from_loaded(config, config.source.load()?)
    }

    /// Builds the split from annotations that have already been read.
    pub fn from_loaded(config: &SplitConfig, loaded: Loaded) -> Result<Split> {
        config.check(&KeyPath::from("split"))?;
        let Loaded {
            mut pool,
            mut test,
            train_root,
            test_root,
            account,
        } = loaded;
        account.report();
        refuse_useless(config, &pool, test.as_ref())?;
        let facts = PoolFacts {
            images: pool.len(),
            hash: table::hash(&pool)?,
        };
        if test.is_none() && config.test > 0.0 {
            let (rest, held) = hold_out(&pool, config.test, config.seed, "test")?;
            test = Some(pool.subset(&held));
            pool = pool.subset(&rest);
        }
        handle_empty_classes(config.empty_classes, &mut pool, &mut test)?;
        let mut images = draw(config, &pool)?;
        let mut counterpart = None;
        if config.balanced {
            let (train, _) = without_validation(config, &pool, &images)?;
            counterpart = Some(Counterpart {
                images: train.len(),
                class_counts: train.class_counts(),
            });
            images = balance::draw(&pool, images.len(), config.seed);
        }
        let (in_pool, drawn) = (pool.len(), images.len());
        let (train, validation) = without_validation(config, &pool, &images)?;
        let test = test.unwrap_or_else(|| LabelTable::new(train.classes().to_vec()));
        let mut split = Split {
            groups: Vec::new(),
            thresholds: config.groups,
            manifest: Manifest {
                format: 1,
                dbloss: env!("CARGO_PKG_VERSION").into(),
                hash: String::new(),
                images: ImageRoots {
                    train: train_root.clone(),
                    test: test_root.clone(),
                },
                pool: facts,
                config: config.clone(),
                left_out: account.facts(),
                counterpart,
                fold: None,
            },
            train: Arc::new(train),
            test: Arc::new(test),
            validation: validation.map(Arc::new),
            train_root,
            test_root,
            hash: String::new(),
            told: ToldPictures::default(),
        };
        split.groups = split.manifest.groups(&split.train.class_counts());
        split.check_overlap("source")?;
        split.hash = split.files()?.hash();
        split.manifest.hash = split.hash.clone();
        split.tell_what_was_drawn(in_pool, drawn);
        split.warn_about_classes();
        split.hint_at_bounds();
        Ok(split)
    }
}

/// Rejects a pool without labels, and settings that would have no effect on what was read.
fn refuse_useless(
    config: &SplitConfig,
    pool: &LabelTable,
    test: Option<&LabelTable>,
) -> Result<()> {
    if pool.is_empty() {
        return Err(Error::key("split.source", "has no images"));
    }
    if pool.num_labels() == 0 {
        let problem = format!(
            "has no label in any of its {}",
            counted(pool.len(), "image")
        );
        return Err(Error::key("split.source", problem)
            .hint("see above what was left out, and check that the annotations are of this kind"));
    }
    if test.is_some() && config.test > 0.0 {
        let problem =
            "has no effect, since the source has a test set (`--test-part` with `--test`)";
        return Err(Error::key("split.test", problem).hint("leave out one of the two"));
    }
    Ok(())
}

/// Returns the images of the pool that the distribution selects.
fn draw(config: &SplitConfig, pool: &LabelTable) -> Result<Vec<usize>> {
    match &config.distribution {
        Distribution::AsIs {} => return Ok((0..pool.len()).collect()),
        Distribution::Ids { file } => return super::ids::find_ids(file, pool),
        Distribution::Released { recipe } => {
            let subset = match recipe {
                Preset::VocMlt => replay::voc_mlt(pool)?,
                Preset::CocoMlt => {
                    tracing::warn!(
                        "the replay of COCO-MLT has not been checked against the released list"
                    );
                    replay::coco_mlt(pool)?
                }
            };
            return Ok(subset.images);
        }
        _ => {}
    }
    let order = longtail::class_order(pool);
    let names: Vec<&str> = order.iter().map(|&c| pool.classes()[c].as_str()).collect();
    let wanted = (config.reference_counts(order.len(), &names)?).unwrap_or_default();
    let subset = longtail::draw(pool, &order, &wanted, config.keep_at_least, config.seed);
    for step in &subset.steps {
        tracing::debug!(
            "{}: {} selected, {} wanted",
            pool.classes()[step.class],
            step.selected,
            step.wanted
        );
    }
    if subset.images.is_empty() {
        return Err(Error::key("split.distribution", "gives an empty subset")
            .hint("no class has both images and a requested number above 0"));
    }
    Ok(subset.images)
}

/// Divides the images drawn from the pool into a training set and, if wanted, a validation set.
fn without_validation(
    config: &SplitConfig,
    pool: &LabelTable,
    images: &[usize],
) -> Result<(LabelTable, Option<LabelTable>)> {
    let train = pool.subset(images);
    if config.validation == 0.0 {
        return Ok((train, None));
    }
    let (from, kept) = match config.validation_from {
        ValidationFrom::Train => (train, None),
        ValidationFrom::Rest => {
            let drawn: HashSet<&usize> = images.iter().collect();
            let rest: Vec<usize> = (0..pool.len()).filter(|i| !drawn.contains(i)).collect();
            (pool.subset(&rest), Some(train))
        }
    };
    let (rest, held) = hold_out(&from, config.validation, config.seed, "validation")?;
    let validation = from.subset(&held);
    Ok((kept.unwrap_or_else(|| from.subset(&rest)), Some(validation)))
}

/// Holds out `amount` images (a fraction if below 1, otherwise a count). Returns the remaining
/// images and those held out.
fn hold_out(
    table: &LabelTable,
    amount: f64,
    seed: u64,
    key: &str,
) -> Result<(Vec<usize>, Vec<usize>)> {
    let wanted = if amount < 1.0 {
        amount * table.len() as f64
    } else {
        amount
    };
    if wanted >= table.len() as f64 {
        return Err(Error::key(
            KeyPath::from("split").join(key),
            format_args!("is {amount}, but there are only {} images", table.len()),
        ));
    }
    let part = stratify::iterative(table, &[table.len() as f64 - wanted, wanted], seed);
    Ok((0..table.len()).partition(|&i| part[i] == 0))
}

fn handle_empty_classes(
    what: EmptyClasses,
    pool: &mut LabelTable,
    test: &mut Option<LabelTable>,
) -> Result<()> {
    let counts = pool.class_counts();
    let empty: Vec<&str> = (pool.classes().iter().zip(&counts))
        .filter_map(|(name, &n)| (n == 0).then_some(name.as_str()))
        .collect();
    if empty.is_empty() {
        return Ok(());
    }
    let (count, names) = (counted(empty.len(), "class"), first_named(empty));
    match what {
        EmptyClasses::Error => Err(Error::key(
            "split.source",
            format_args!("leaves {count} without an image in the pool: {names}"),
        )
        .hint(
            "`empty_classes = \"drop\"` (`--empty-classes drop`) removes them, `keep` keeps them",
        )),
        EmptyClasses::Keep => {
            tracing::warn!("{count} without an image in the pool: {names}");
            Ok(())
        }
        EmptyClasses::Drop => {
            tracing::info!("{count} without an image in the pool dropped: {names}");
            let keep: Vec<bool> = counts.iter().map(|&n| n > 0).collect();
            *pool = pool.only_classes(&keep);
            if let Some(test) = test {
                *test = test.only_classes(&keep);
            }
            Ok(())
        }
    }
}
