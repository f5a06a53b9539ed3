//! The job script of a job array.

use std::path::Path;

use crate::error::{Error, Result};
use crate::plan::folder::Plan;
use crate::plan::slurm_config::SlurmConfig;

/// Returns the script of the plan's job array: `program` runs one of the runs, with `options`.
///
/// # Errors
/// Fails if a folder has a name that Slurm does not accept.
pub(super) fn script(
    plan: &Plan,
    config: &SlurmConfig,
    program: &Path,
    options: &[String],
) -> Result<String> {
    let home = std::path::absolute(&plan.home)?;
    let here = std::env::current_dir()?;
    let logs = home.join("logs");
    for path in [&home, &here] {
        if path.to_string_lossy().contains(['"', '\n', '%', '\\']) {
            return Err(Error::file(
                path,
                "Slurm does not take such a name for a folder",
            ));
        }
    }
    let mut lines = vec![
        format!("--job-name=dbloss-{}", plan.name),
        format!("--chdir=\"{}\"", here.display()),
        format!("--output=\"{}/slurm-%A_%a.log\"", logs.display()),
        "--open-mode=append".to_owned(),
        "--requeue".to_owned(),
        format!("--signal=B:USR1@{}", config.signal_seconds),
        "--ntasks=1".to_owned(),
        format!("--cpus-per-task={}", config.cpus),
    ];
    let mut add = |option: &str, value: &Option<String>| {
        lines.extend(value.iter().map(|value| format!("--{option}={value}")));
    };
    add("time", &config.time);
    add("partition", &config.partition);
    add("account", &config.account);
    add("qos", &config.qos);
    add("constraint", &config.constraint);
    add("mem", &config.memory);
    if config.gpus > 0 {
        let kind = config.gpu_kind.iter().map(|kind| format!("{kind}:"));
        lines.push(format!(
            "--gres=gpu:{}{}",
            kind.collect::<String>(),
            config.gpus
        ));
    }
    lines.extend(config.options.iter().cloned());
    let mut script = "#!/bin/bash\n".to_owned();
    lines
        .iter()
        .for_each(|line| script.push_str(&format!("#SBATCH {line}\n")));
    script.push_str(
        "\n# Written by `dbloss sweep --executor slurm`; a later call writes it again.\n",
    );
    // Until dbloss handles the signal, there is nothing to save.
    script.push_str("trap '' USR1\n");
    config
        .setup
        .iter()
        .for_each(|line| script.push_str(&format!("{line}\n")));
    // `exec` replaces the shell, so that signals for the script reach the training.
    script.push_str(&format!(
        "exec {} sweep-task {} --index \"$SLURM_ARRAY_TASK_ID\" --slurm --threads {}",
        quoted(&program.to_string_lossy()),
        quoted(&home.to_string_lossy()),
        config.cpus
    ));
    options
        .iter()
        .for_each(|option| script.push_str(&format!(" {}", quoted(option))));
    script.push('\n');
    Ok(script)
}

/// Formats sorted indices as a Slurm array specification, such as `0-3,7`.
pub(super) fn ranges(indices: &[usize]) -> String {
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for &index in indices {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == index => *last = index,
            _ => parts.push((index, index)),
        }
    }
    let parts = parts.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    parts.collect::<Vec<_>>().join(",")
}

/// Quotes a word for the shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn arrays_are_written_as_ranges() {
        assert_eq!(ranges(&[0, 1, 2, 5, 7, 8]), "0-2,5,7-8");
        assert_eq!(ranges(&[4]), "4");
    }

    #[test]
    fn a_quoted_word_is_one_word() {
        let word = "it's $HOME; `x` \"y\"";
        let output = Command::new("sh")
            .args(["-c", &format!("printf %s {}", quoted(word))])
            .output();
        assert_eq!(String::from_utf8(output.unwrap().stdout).unwrap(), word);
    }
}
