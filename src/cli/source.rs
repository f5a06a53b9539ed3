//! The options that name labelled pictures: one a format and the options beside it, all from the
//! library's list of formats.

use clap::builder::PossibleValuesParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command};

use dbloss::data::formats::{FORMATS, FormatOption, Info, OptionValue, Source};
use dbloss::{Error, Result};

/// The options of a source as they were given.
#[derive(Debug, Clone)]
pub(super) struct SourceOptions {
    /// By name, with their texts; none for those that take nothing.
    given: Vec<(&'static str, Option<String>)>,
}

/// The group of the options that choose a format, of which one can be given.
pub(super) const GROUP: &str = "from";

const HEADING: &str = "Source";

/// Every option that chooses a format.
fn sources() -> impl Iterator<Item = (&'static Info, &'static FormatOption)> {
    FORMATS
        .iter()
        .flat_map(|info| info.sources.iter().map(move |source| (info, source)))
}

/// Every option beside, once.
fn beside() -> Vec<&'static FormatOption> {
    let mut options: Vec<&FormatOption> = Vec::new();
    for option in FORMATS.iter().flat_map(|info| info.options) {
        if !options.iter().any(|known| known.flag == option.flag) {
            options.push(option);
        }
    }
    options
}

fn argument(option: &'static FormatOption) -> Arg {
    let arg = Arg::new(option.flag)
        .long(option.flag)
        .help(option.help)
        .help_heading(HEADING);
    match option.value {
        OptionValue::Nothing => arg.action(ArgAction::SetTrue),
        OptionValue::Choice(words) => arg
            .value_name("CHOICE")
            .value_parser(PossibleValuesParser::new(words)),
        OptionValue::Path(name)
        | OptionValue::Text(name)
        | OptionValue::Whole(name)
        | OptionValue::Number(name) => arg.value_name(name).allow_hyphen_values(true),
    }
}

impl clap::Args for SourceOptions {
    fn augment_args(command: Command) -> Command {
        let flags = sources().map(|(_, source)| source.flag);
        command
            .args(sources().map(|(_, source)| argument(source)))
            .args(beside().into_iter().map(argument))
            .group(ArgGroup::new(GROUP).args(flags))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for SourceOptions {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let options = sources().map(|(_, source)| source).chain(beside());
        let given = options
            .filter(|option| matches.value_source(option.flag) == Some(ValueSource::CommandLine))
            .map(|option| match option.value {
                OptionValue::Nothing => (option.flag, None),
                _ => (option.flag, matches.get_one::<String>(option.flag).cloned()),
            });
        Ok(SourceOptions {
            given: given.collect(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl SourceOptions {
    /// The text that an option was given.
    pub(super) fn text(&self, flag: &str) -> Option<&str> {
        let given = self.given.iter().find(|(given, _)| *given == flag);
        given.and_then(|(_, text)| text.as_deref())
    }

    /// The first option that was given, beside `except`.
    pub(super) fn first_but(&self, except: &str) -> Option<&'static str> {
        let mut others = self.given.iter().filter(|(flag, _)| *flag != except);
        others.next().map(|(flag, _)| *flag)
    }

    /// The source that the options name; `None` where there are none. `instead` is what may name
    /// the pictures in place of them.
    ///
    /// # Errors
    /// An option of another format is given, or a value is not what the option takes.
    pub(super) fn source(&self, instead: &str) -> Result<Option<Source>> {
        let is_given = |flag: &str| self.given.iter().any(|(given, _)| *given == flag);
        let Some((info, source)) = sources().find(|(_, source)| is_given(source.flag)) else {
            return match self.given.first() {
                None => Ok(None),
                Some((flag, _)) => Err(no_effect(flag, instead)),
            };
        };
        let mut table = toml::Table::new();
        for (flag, text) in &self.given {
            let options = info.options.iter().chain([source]);
            let Some(option) = options.into_iter().find(|option| option.flag == *flag) else {
                return Err(no_effect(flag, source.flag));
            };
            if let Some(text) = text {
                table.insert(option.key.to_owned(), value(option, text)?);
            }
        }
        // The option is also a name of the format in configurations.
        table.insert("kind".to_owned(), source.flag.into());
        let source = toml::Value::Table(table).try_into();
        let source = source.map_err(|e: toml::de::Error| {
            let problem = e.message().lines().next().unwrap_or_default().to_owned();
            Error::argument("the source", problem)
        })?;
        Ok(Some(source))
    }
}

/// An option's text as a value of the configuration.
fn value(option: &FormatOption, text: &str) -> Result<toml::Value> {
    let wrong = |expected: &str| {
        let problem = format_args!("`{text}`, expected {expected}");
        Error::argument(format_args!("--{}", option.flag), problem)
    };
    Ok(match option.value {
        OptionValue::Whole(_) => {
            let number = text.parse::<i64>().ok().filter(|&number| number >= 0);
            number.ok_or_else(|| wrong("a whole number"))?.into()
        }
        OptionValue::Number(_) => {
            let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
            number.ok_or_else(|| wrong("a number"))?.into()
        }
        _ => text.into(),
    })
}

/// The error for an option that the chosen source does not take.
fn no_effect(flag: &str, source: &str) -> Error {
    let problem = format_args!("has no effect with `--{source}`");
    let takers: Vec<String> = sources()
        .filter(|(info, _)| info.options.iter().any(|option| option.flag == flag))
        .map(|(_, source)| format!("`--{}`", source.flag))
        .collect();
    let error = Error::argument(format_args!("--{flag}"), problem);
    match takers.is_empty() {
        true => error,
        false => error.hint(format_args!("it belongs with {}", takers.join(", "))),
    }
}
