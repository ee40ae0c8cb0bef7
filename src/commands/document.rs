//! What proem says of itself: `man` and `completions` are made from the command line's one definition, `schema` from the
//! configuration's tables.

use crate::cli;
use crate::error::{Failure, reason};
use crate::exit::Exit;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use std::io::{self, Write};

/// Prints the man page, in roff: what `--help` says of proem and of each command, signals and exit codes included.
pub fn man() -> anyhow::Result<Exit> {
    let mut definition = cli::definition();
    definition.build();
    let page = Man::new(definition.clone());
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_options_section(&mut text)?;
    commands(&definition, &mut text)?;
    explanations(&definition, &mut text)?;
    page.render_version_section(&mut text)?;
    print(&text)
}

/// One page is all there is, so it says what each command takes beyond the options of all.
fn commands(definition: &clap::Command, text: &mut Vec<u8>) -> io::Result<()> {
    let mut section = Roff::new();
    section.control("SH", ["COMMANDS"]);
    for command in definition.get_subcommands().filter(|command| command.get_name() != "help") {
        let arguments = command.get_positionals().map(|argument| format!(" {argument}"));
        let usage: String = std::iter::once(command.get_name().to_owned()).chain(arguments).collect();
        section.control("SS", [&*format!("proem {usage}")]);
        section.text([roman(said(command.get_about()))]);
        let shared = |name: &str| definition.get_arguments().any(|argument| argument.get_id() == name);
        for option in
            command.get_arguments().filter(|option| !option.is_positional() && !shared(option.get_id().as_str()))
        {
            section.control("TP", []);
            section.text([bold(option.to_string())]);
            section.text([roman(said(option.get_help()))]);
        }
    }
    section.to_writer(text)
}

/// The tables below `--help`, lines as they are.
fn explanations(definition: &clap::Command, text: &mut Vec<u8>) -> io::Result<()> {
    let mut section = Roff::new();
    section.control("SH", ["ENVIRONMENT, SIGNALS, EXIT CODES"]);
    for (index, paragraph) in said(definition.get_after_long_help()).split("\n\n").enumerate() {
        section.control("PP", []);
        // The first one is prose.
        let table = index > 0;
        if table {
            section.control("nf", []);
        }
        section.text([roman(paragraph)]);
        if table {
            section.control("fi", []);
        }
    }
    section.to_writer(text)
}

fn said(text: Option<&clap::builder::StyledStr>) -> String {
    text.map(ToString::to_string).unwrap_or_default()
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
