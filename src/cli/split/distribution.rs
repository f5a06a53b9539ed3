//! The distribution arguments of `dbloss split`.

use std::collections::BTreeMap;

use dbloss::data::longtail::Pareto;
use dbloss::data::split::{Distribution, Preset};
use dbloss::{Error, Result};

use super::{Args, DistributionArg, PresetArg, RecipeArg};

impl Args {
    /// The distribution that the arguments ask for, if they ask for one.
    pub(super) fn distribution(&self) -> Result<Option<Distribution>> {
        let given = |name: &'static str, given: bool| given.then_some(name);
        let pareto = [
            given("--min", self.min.is_some()),
            given("--alpha", self.alpha.is_some()),
            given("--tail", self.tail.is_some()),
        ];
        let max = [given("--max", self.max.is_some())];
        let exponential = [given("--imbalance-factor", self.imbalance_factor.is_some())];
        let counts = [given("--counts", !self.counts.is_empty())];
        let none_of = |what: &str, lists: &[&[Option<&str>]]| match lists
            .iter()
            .flat_map(|list| list.iter())
            .flatten()
            .next()
        {
            None => Ok(()),
            Some(name) => Err(Error::input(name, format_args!("has no effect on {what}"))
                .hint("see the heading Distribution in `dbloss split --help`")),
        };
        if let Some(file) = &self.ids {
            none_of("an id list", &[&pareto, &max, &exponential, &counts])?;
            return Ok(Some(Distribution::Ids { file: file.clone() }));
        }
        if let Some(recipe) = self.recipe {
            none_of("a released list", &[&pareto, &max, &exponential, &counts])?;
            return Ok(Some(Distribution::Released {
                recipe: match recipe {
                    RecipeArg::VocMltReleased => Preset::VocMlt,
                    RecipeArg::CocoMltReleased => Preset::CocoMlt,
                },
            }));
        }
        let base = match self.like {
            Some(PresetArg::CocoMlt) => Preset::CocoMlt.pareto(),
            _ => Pareto::default(),
        };
        let of_pareto = pareto.iter().chain(&max).any(Option::is_some);
        Ok(match self.distribution {
            None if self.like.is_none() && !of_pareto => {
                none_of("the Pareto curve", &[&exponential, &counts])?;
                None
            }
            None | Some(DistributionArg::Pareto) => {
                none_of("the Pareto curve", &[&exponential, &counts])?;
                Some(Distribution::Pareto(Pareto {
                    alpha: self.alpha.unwrap_or(base.alpha),
                    max: self.max.unwrap_or(base.max),
                    min: self.min.unwrap_or(base.min),
                    tail: self.tail.unwrap_or(base.tail),
                }))
            }
            Some(DistributionArg::Exponential) => {
                none_of("the exponential curve", &[&pareto, &counts])?;
                Some(Distribution::Exponential {
                    max: self.max.unwrap_or(base.max),
                    imbalance_factor: self.imbalance_factor.unwrap_or(100.0),
                })
            }
            Some(DistributionArg::Counts) => {
                none_of("a list of counts", &[&pareto, &max, &exponential])?;
                Some(parse_counts(&self.counts)?)
            }
            Some(DistributionArg::AsIs) => {
                none_of("the pool as it is", &[&pareto, &max, &exponential, &counts])?;
                Some(Distribution::AsIs {})
            }
        })
    }
}

/// `--counts`: numbers by place, or `class=number`.
fn parse_counts(list: &[String]) -> Result<Distribution> {
    let number = |text: &str| {
        (text.trim().parse::<usize>()).map_err(|_| {
            Error::argument(
                "--counts",
                format_args!("`{text}`, expected a whole number"),
            )
        })
    };
    if list.is_empty() {
        return Err(Error::argument("--counts", "missing")
            .hint("write `--counts 800,400,...` or `--counts dog=30,cat=20,...`"));
    }
    if !list[0].contains('=') {
        let counts = list
            .iter()
            .map(|text| number(text))
            .collect::<Result<_>>()?;
        return Ok(Distribution::Counts { counts });
    }
    let mut counts = BTreeMap::new();
    for text in list {
        let Some((name, count)) = text.rsplit_once('=') else {
            return Err(Error::argument(
                "--counts",
                format_args!("`{text}`, expected `class=number`"),
            ));
        };
        if counts
            .insert(name.trim().to_owned(), number(count)?)
            .is_some()
        {
            return Err(Error::argument(
                "--counts",
                format_args!("class `{name}` is given twice"),
            ));
        }
    }
    Ok(Distribution::ClassCounts { counts })
}
