//! Escaping: a value is data, so it cannot end the double-quoted scalar that it stands in.

use std::io::{self, Write};

/// How a value is escaped inside a double-quoted scalar of the target's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Escape {
    /// As it is.
    None,
    /// The body of a JSON string.
    Json,
    /// The body of a YAML double-quoted scalar.
    Yaml,
    /// The body of a TOML basic string.
    Toml,
    /// Inside double quotes of a POSIX shell.
    Shell,
    /// The body of a double-quoted value in an env file.
    Env,
    /// HTML text and attributes.
    Html,
}

impl Escape {
    /// The escaping that a target's ending asks for; [`Escape::None`] for any other.
    pub fn of_path(path: &std::path::Path) -> Escape {
        match path.extension().and_then(std::ffi::OsStr::to_str) {
            Some("json") => Escape::Json,
            Some("yaml" | "yml") => Escape::Yaml,
            Some("toml") => Escape::Toml,
            Some("sh" | "bash") => Escape::Shell,
            Some("env") => Escape::Env,
            Some("html" | "htm" | "xml") => Escape::Html,
            _ => Escape::None,
        }
    }

    /// The escaping of this name (`none`, `json`, `yaml`, `toml`, `shell`, `env`, `html`).
    pub fn by_name(name: &str) -> Option<Escape> {
        Some(match name {
            "none" => Escape::None,
            "json" => Escape::Json,
            "yaml" => Escape::Yaml,
            "toml" => Escape::Toml,
            "shell" => Escape::Shell,
            "env" => Escape::Env,
            "html" => Escape::Html,
            _ => return None,
        })
    }

    /// The function that Tera calls for each printed string.
    pub(super) fn function(self) -> tera::EscapeFn {
        match self {
            Escape::None => |text, out| out.write_all(text.as_bytes()),
            Escape::Json => |text, out| each(text, out, json),
            Escape::Yaml => |text, out| each(text, out, yaml),
            Escape::Toml => |text, out| each(text, out, toml),
            // systemd and docker compose read an env file's double quotes as a shell does.
            Escape::Shell | Escape::Env => |text, out| {
                if text.contains('\0') {
                    return Err(io::Error::from(io::ErrorKind::InvalidData));
                }
                each(text, out, shell)
            },
            Escape::Html => |text, out| tera::escape_html(text, out),
        }
    }

    /// The text, escaped. The error is that this format cannot hold it (a NUL byte in a shell).
    pub(super) fn text(self, text: &str) -> io::Result<String> {
        let mut out = Vec::with_capacity(text.len() + 8);
        self.function()(text, &mut out)?;
        String::from_utf8(out).map_err(|_| io::ErrorKind::InvalidData.into())
    }

    /// The text as a whole double-quoted scalar; for a shell in single quotes, which nothing can end.
    pub(super) fn quoted(self, text: &str) -> io::Result<String> {
        Ok(match self {
            Escape::Shell => shell_word(text)?,
            Escape::None => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
            _ => format!("\"{}\"", self.text(text)?),
        })
    }
}

/// One word of a POSIX shell: single quotes around everything, also where none are needed.
pub(super) fn shell_word(text: &str) -> io::Result<String> {
    if text.contains('\0') {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(format!("'{}'", text.replace('\'', "'\\''")))
}

/// Writes the text in pieces: what needs an escape, and what is between.
fn each(text: &str, out: &mut dyn Write, escape: fn(char, &mut dyn Write) -> io::Result<bool>) -> io::Result<()> {
    let mut from = 0;
    for (at, c) in text.char_indices() {
        // Most text needs no escape at all: these are looked at by nobody.
        if c.is_ascii_alphanumeric() {
            continue;
        }
        let mut escaped = Vec::new();
        if escape(c, &mut escaped)? {
            out.write_all(&text.as_bytes()[from..at])?;
            out.write_all(&escaped)?;
            from = at + c.len_utf8();
        }
    }
    out.write_all(&text.as_bytes()[from..])
}

fn short(c: char, out: &mut dyn Write) -> io::Result<bool> {
    let escaped: &[u8] = match c {
        '"' => b"\\\"",
        '\\' => b"\\\\",
        '\n' => b"\\n",
        '\r' => b"\\r",
        '\t' => b"\\t",
        _ => return Ok(false),
    };
    out.write_all(escaped)?;
    Ok(true)
}

/// RFC 8259 §7.
fn json(c: char, out: &mut dyn Write) -> io::Result<bool> {
    if short(c, out)? {
        return Ok(true);
    }
    let control = c < ' ';
    if control {
        write!(out, "\\u{:04x}", c as u32)?;
    }
    Ok(control)
}

/// YAML 1.2 §5.7. Whatever a YAML 1.1 reader takes for a line break or refuses as not printable is escaped as well.
fn yaml(c: char, out: &mut dyn Write) -> io::Result<bool> {
    if short(c, out)? {
        return Ok(true);
    }
    let refused = c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}');
    if refused {
        write!(out, "\\u{:04x}", c as u32)?;
    }
    Ok(refused)
}

/// TOML 1.0, basic strings: control characters but tab, and DEL.
fn toml(c: char, out: &mut dyn Write) -> io::Result<bool> {
    if short(c, out)? {
        return Ok(true);
    }
    let refused = c < ' ' || c == '\u{7f}';
    if refused {
        write!(out, "\\u{:04X}", c as u32)?;
    }
    Ok(refused)
}

/// POSIX.1-2024, Shell Command Language, 2.2.3: what stays special between double quotes.
fn shell(c: char, out: &mut dyn Write) -> io::Result<bool> {
    let special = matches!(c, '"' | '\\' | '$' | '`');
    if special {
        out.write_all(&[b'\\', c as u8])?;
    }
    Ok(special)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a POSIX shell makes of the body of a double-quoted word.
    fn unquote_shell(body: &str) -> Option<String> {
        let mut out = String::new();
        let mut chars = body.chars();
        while let Some(c) = chars.next() {
            match c {
                '"' | '$' | '`' => return None,
                '\\' => match chars.next()? {
                    c @ ('"' | '\\' | '$' | '`') => out.push(c),
                    c => out.extend(['\\', c]),
                },
                c => out.push(c),
            }
        }
        Some(out)
    }

    proptest! {
        #[test]
        fn a_quoted_value_parses_back(text in any::<String>()) {
            let quoted = |escape: Escape| format!("\"{}\"", escape.text(&text).unwrap());
            prop_assert_eq!(&serde_json::from_str::<String>(&quoted(Escape::Json)).unwrap(), &text);
            let yaml: String = serde_saphyr::from_str(&quoted(Escape::Yaml)).unwrap();
            prop_assert_eq!(&yaml, &text);
            let document = format!("x = {}", quoted(Escape::Toml));
            let document: toml::Table = toml::from_str(&document).unwrap();
            prop_assert_eq!(document["x"].as_str(), Some(text.as_str()));
            if !text.contains('\0') {
                let shell = Escape::Shell.text(&text).unwrap();
                prop_assert_eq!(unquote_shell(&shell), Some(text));
            }
        }
    }

    #[test]
    fn a_real_shell_agrees() {
        let text = "a\"b'c$HOME`id`\\n\\\nnext *?~ !x";
        let script =
            format!("printf '%s' \"{}\" {}", Escape::Shell.text(text).unwrap(), Escape::Shell.quoted(text).unwrap());
        let Ok(output) = std::process::Command::new("/bin/sh").args(["-c", &script]).output() else { return };
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{text}{text}"));
        assert!(Escape::Shell.text("a\0b").is_err());
    }

    #[test]
    fn html_attributes_hold() {
        assert_eq!(Escape::Html.quoted("<a href=\"x\">&'").unwrap(), "\"&lt;a href=&quot;x&quot;&gt;&amp;&#39;\"");
    }
}
