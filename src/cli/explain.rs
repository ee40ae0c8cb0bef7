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
    let command: Vec<&str> = args[at..].iter().map(String::as_str).filter(|arg| *arg != "--").collect();
    let before = args[..at].iter().skip(1);
    let known = definition();
    let near = nearest(word, known.get_subcommands().map(clap::Command::get_name));
    match near {
        Some(near) if at == 1 => format!("`{word}` is no command of proem\n  hint: did you mean `{near}`?"),
        _ => {
            let start: String = before.flat_map(|arg| [arg.as_str(), " "]).collect();
            format!(
                "`{word}` is neither an option nor a command of proem\n  hint: the command that is run follows `--`: \
                 `proem {start}-- {}`; in an image, ENTRYPOINT ends with \"--\"",
                command.join(" ")
            )
        }
    }
}
