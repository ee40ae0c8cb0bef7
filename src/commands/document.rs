//! What proem says of itself: `man` and `completions` are made from the command line's one definition, `schema` from the
//! configuration's tables.

use crate::cli;
use crate::error::{Failure, reason};
use crate::exit::Exit;
use clap_complete::Shell;
use std::io::Write;

/// Prints the man page, in roff: what `--help` says, signals and exit codes included.
pub fn man() -> anyhow::Result<Exit> {
    let mut page = Vec::new();
    clap_mangen::Man::new(cli::definition()).render(&mut page)?;
    print(&page)
}

/// Prints completions for a shell.
pub fn completions(shell: &str) -> anyhow::Result<Exit> {
    let shell: Shell = shell.parse().map_err(anyhow::Error::msg)?;
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut cli::definition(), "proem", &mut script);
    print(&script)
}

/// Prints the configuration's JSON Schema.
pub fn schema() -> anyhow::Result<Exit> {
    let text = serde_json::to_string_pretty(&crate::config::schema::document())?;
    print(format!("{text}\n").as_bytes())
}

fn print(text: &[u8]) -> anyhow::Result<Exit> {
    std::io::stdout().write_all(text).map_err(|error| {
        Failure::new(Exit::CANNOT_WRITE, format!("failed to write to standard output: {}", reason(&error)))
    })?;
    Ok(Exit::OK)
}
