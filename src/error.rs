//! What ends proem or is reported and retried: a message in the house style, and a hint with the remedy.

use crate::exit::Exit;
use std::fmt;

/// A place in a file that the user wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At {
    /// The file, as messages name it.
    pub file: String,
    /// Line and column from 1, the column in characters; `None`: all of the file is meant.
    pub position: Option<(usize, usize)>,
}

impl At {
    /// Reads back what was displayed, when there is a line and a column.
    pub fn parse(text: &str) -> Option<At> {
        let mut parts = text.rsplitn(3, ':');
        let (column, line) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some(At { file: parts.next()?.to_owned(), position: Some((line, column)) })
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some((line, column)) => write!(f, "{}:{line}:{column}", self.file),
            None => f.write_str(&self.file),
        }
    }
}

/// A message that follows "proem: ", and the remedy.
///
/// House style: a lowercase fragment, user text in backticks, path and cause inside, no final period. It never holds a
/// value of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// What is wrong, where and why.
    pub message: String,
    /// What to do about it, exactly.
    pub hint: Option<String>,
    /// Which place of which file the message is about, where it is about one. The message says it, too: this is for
    /// programs.
    pub at: Option<Box<At>>,
}

impl Complaint {
    /// A complaint without a hint.
    pub fn new(message: impl Into<String>) -> Complaint {
        Complaint { message: message.into(), hint: None, at: None }
    }

    /// The same complaint with a remedy.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Complaint {
        self.hint = Some(hint.into());
        self
    }

    /// The same complaint about this place, which its message says already.
    #[must_use]
    pub fn at(mut self, file: impl Into<String>, position: Option<(usize, usize)>) -> Complaint {
        self.at = Some(Box::new(At { file: file.into(), position }));
        self
    }

    /// The same complaint in other words.
    #[must_use]
    pub fn reworded(mut self, words: impl FnOnce(&str) -> String) -> Complaint {
        self.message = words(&self.message);
        self
    }

    /// The message alone: without its place in front and the line that is shown below it.
    pub fn bare(&self) -> &str {
        let Some(at) = &self.at else { return &self.message };
        let place = at.to_string();
        let message = self.message.strip_prefix(&place).and_then(|rest| rest.strip_prefix(": "));
        message.unwrap_or(&self.message).split("\n    ").next().unwrap_or_default()
    }

    /// This complaint as the reason to end with `exit`.
    pub fn exit(self, exit: Exit) -> Failure {
        Failure { exit, complaints: vec![self] }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Why proem ends by itself, with every complaint there is (never only the first).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The code to end with.
    pub exit: Exit,
    /// At least one; in the order of the files that they are about.
    pub complaints: Vec<Complaint>,
}

impl Failure {
    /// A failure with one complaint that has no hint.
    pub fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Complaint::new(message).exit(exit)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, complaint) in self.complaints.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            complaint.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// An I/O error's cause in the house style: lowercase, without the number.
pub fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => error.kind().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_alone_has_neither_place_nor_excerpt() {
        let message = "a.tera:1:4: `x` is not defined\n    1 | {{ x }}\n      |    ^";
        assert_eq!(Complaint::new(message).bare(), message);
        assert_eq!(Complaint::new(message).at("a.tera", Some((1, 4))).bare(), "`x` is not defined");
        assert_eq!(Complaint::new("a: b").at("a", None).bare(), "b");
        assert_eq!(Complaint::new("b in a").at("a", None).bare(), "b in a");
    }
}
