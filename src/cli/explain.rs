//! clap's errors in the house style.

use super::definition;
use crate::exit::Exit;
use crate::nearest::nearest;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// The code to end with and what to print, as [`super::parse`] returns them.
pub(super) fn explain(error: &clap::Error, args: &[String]) -> (Exit, String) {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return (Exit::OK, error.to_string());
    }
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        Some(ContextValue::Strings(texts)) => texts.first().map(String::as_str),
        _ => None,
    };
    let word = context(ContextKind::InvalidArg).or_else(|| context(ContextKind::InvalidSubcommand));
    if let Some(word) = word.filter(|word| !word.starts_with('-'))
        && matches!(error.kind(), ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand)
    {
        return (Exit::USAGE, explain_word(word, args));
    }
    // The first paragraph says what is wrong; the others are tips and usage.
    let text = error.to_string();
    let mut paragraphs = text.split("\n\n");
    let first = paragraphs.next().unwrap_or_default();
    let first = first.strip_prefix("error: ").unwrap_or(first);
    let message = first.split_whitespace().collect::<Vec<_>>().join(" ").replace('\'', "`");
    let suggested = context(ContextKind::SuggestedArg).or_else(|| context(ContextKind::SuggestedSubcommand));
    let hint = match suggested {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`proem --help` lists what there is".to_owned(),
    };
    (Exit::USAGE, format!("{message}\n  hint: {hint}"))
}

/// A bare word where an option or `--` was expected: mostly the command itself, without its `--`.
fn explain_word(word: &str, args: &[String]) -> String {
    let at = args.iter().position(|arg| arg == word).unwrap_or(args.len());
    let known = definition();
    let near = nearest(word, known.get_subcommands().map(clap::Command::get_name));
    if let Some(near) = near.filter(|_| at == 1) {
        return format!("`{word}` is no command of proem\n  hint: did you mean `{near}`?");
    }
    let (before, rest) = args.split_at(at);
    let quoted = |words: &[String]| words.iter().map(|arg| shell_word(arg)).collect::<Vec<_>>().join(" ");
    let command: Vec<String> = rest.iter().filter(|arg| *arg != "--").cloned().collect();
    let asked = before.iter().skip(1).find(|arg| known.find_subcommand(arg).is_some());
    if let Some(asked) = asked.filter(|asked| !matches!(asked.as_str(), "run" | "exec")) {
        let remedy = if before.last().is_some_and(|arg| arg == "--") {
            format!("`proem exec -- {}` runs one", quoted(&command))
        } else {
            format!("`proem {asked} --help` lists what it takes")
        };
        return format!("`{word}`: `proem {asked}` runs no command\n  hint: {remedy}");
    }
    let start = quoted(&before[1.min(at)..]);
    let space = if start.is_empty() { "" } else { " " };
    format!(
        "`{word}` is neither an option nor a command of proem\n  hint: the command that is run follows `--`: \
         `proem {start}{space}-- {}`; in an image, ENTRYPOINT ends with \"--\"",
        quoted(&command)
    )
}

/// A word as a shell takes it.
fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_=+./:,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}
