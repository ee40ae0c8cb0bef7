//! The built-in check that a content parses as its format. It says where, never what: a parser's excerpt is a value.
//!
//! A template that states `format` gets the format's own rules. One that does not is checked by its target's ending, and
//! then only what every reader of such a file refuses is refused: a default must not stand in the way of a valid file.

mod syntax;

use super::PublishError;
use crate::config::plan::{TargetPlan, TemplatePlan};
use crate::error::Complaint;
use std::path::Path;
use syntax::Rules;

/// What a content can be checked to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syntax {
    /// TOML 1.0.
    Toml,
    /// YAML 1.2, any number of documents.
    Yaml,
    /// JSON (RFC 8259).
    Json,
    /// `NAME=value` lines.
    Env,
    /// `[section]` and `key = value`.
    Ini,
    /// Well-formed XML 1.0; no schema.
    Xml,
    /// Anything.
    Text,
}

impl Syntax {
    /// Every name that [`Syntax::by_name`] knows.
    pub const NAMES: &[&str] = &["toml", "yaml", "json", "env", "ini", "xml", "text"];

    /// The one of this name.
    pub fn by_name(name: &str) -> Option<Syntax> {
        Some(match name {
            "toml" => Syntax::Toml,
            "yaml" => Syntax::Yaml,
            "json" => Syntax::Json,
            "env" => Syntax::Env,
            "ini" => Syntax::Ini,
            "xml" => Syntax::Xml,
            "text" => Syntax::Text,
            _ => return None,
        })
    }

    /// What a name's ending promises. There are too many kinds of `.env` to tell a wrong one.
    fn of_path(path: &Path) -> Syntax {
        match path.extension().and_then(std::ffi::OsStr::to_str) {
            Some("toml") => Syntax::Toml,
            Some("yaml" | "yml") => Syntax::Yaml,
            Some("json") => Syntax::Json,
            Some("ini") => Syntax::Ini,
            Some("xml") => Syntax::Xml,
            _ => Syntax::Text,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Syntax::Toml => "TOML",
            Syntax::Yaml => "YAML",
            Syntax::Json => "JSON",
            Syntax::Env => "env lines",
            Syntax::Ini => "INI",
            Syntax::Xml => "XML",
            Syntax::Text => "text",
        }
    }
}

/// Refuses a content that does not parse as the template's `format`, or as what its target's ending says.
pub(super) fn check(template: &TemplatePlan, target: &str, content: &[u8]) -> Result<(), PublishError> {
    let (syntax, rules) = match (template.format, &template.to) {
        (Some(stated), _) => (stated, Rules::Strict),
        (None, TargetPlan::File(path)) => (Syntax::of_path(path), Rules::Common),
        (None, TargetPlan::Stdout) => (Syntax::of_path(Path::new(&template.name)), Rules::Common),
    };
    syntax::parses(syntax, rules, content).map_err(|fault| {
        let at = match fault.at {
            Some((line, column)) => format!(":{line}:{column}"),
            None => String::new(),
        };
        let message =
            format!("template `{}`: {target}{at} would not be valid {}: {}", template.name, syntax.title(), fault.what);
        let mut hint =
            "values inside quotes need the target's escaping, whole values the filter of that format".to_owned();
        if rules == Rules::Common {
            hint += "; `format = \"text\"` turns this check off";
        }
        PublishError::refused(Complaint::new(message).hint(hint))
    })
}

/// What is wrong with a content as its format, for `check`.
pub fn malformed(template: &TemplatePlan, content: &[u8]) -> Option<Complaint> {
    check(template, &template.to.to_string(), content).err().map(|error| error.complaint)
}
