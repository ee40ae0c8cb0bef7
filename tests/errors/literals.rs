//! What proem can say, read from its own source: every string literal of two words or more that is not a test's, an
//! attribute's, a log line's or a panic's.

use proc_macro2::{Delimiter, Group, Ident, TokenStream, TokenTree};
use std::path::{Path, PathBuf};

/// A message, or a part of one, as the source writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Literal {
    /// The file below `src/`.
    pub file: String,
    /// Its first line, from 1.
    pub line: usize,
    /// The text with its placeholders, its escapes resolved.
    pub text: String,
}

/// Macros whose text is no error: what happens, and what cannot.
const PASSED_BY: &[&str] = &[
    "info",
    "debug",
    "panic",
    "assert",
    "assert_eq",
    "assert_ne",
    "debug_assert",
    "debug_assert_eq",
    "unreachable",
    "concat",
    "include_str",
];

/// Every literal of the crate's source, in the order of files and lines.
pub fn all() -> Vec<Literal> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    files.sort();
    let mut scan = Scan { file: String::new(), found: Vec::new(), tests: Vec::new() };
    for path in &files {
        let text = std::fs::read_to_string(path).unwrap();
        let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path.strip_prefix(&root).unwrap().to_str().unwrap().clone_into(&mut scan.file);
        scan.stream(tokens);
    }
    let Scan { mut found, tests, .. } = scan;
    found.retain(|literal| !tests.iter().any(|test| literal.file.starts_with(test.as_str())));
    found
}

fn sources(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
}

struct Scan {
    file: String,
    found: Vec<Literal>,
    /// Modules that only tests compile: `config/tests.rs`, `config/tests/`.
    tests: Vec<String>,
}

impl Scan {
    fn stream(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token {
                TokenTree::Punct(hash) if hash.as_char() == '#' => {
                    let inner = matches!(tokens.get(at), Some(TokenTree::Punct(bang)) if bang.as_char() == '!');
                    at += usize::from(inner);
                    let Some(TokenTree::Group(attribute)) = tokens.get(at) else { continue };
                    at += 1;
                    if !inner && only_for_tests(attribute) {
                        at = self.skip_item(&tokens, at);
                    }
                }
                // `name!(…)`, `.expect(…)`.
                TokenTree::Ident(name) => {
                    let bang = matches!(tokens.get(at), Some(TokenTree::Punct(bang)) if bang.as_char() == '!');
                    let after = at + usize::from(bang);
                    let passed_by =
                        if bang { PASSED_BY.contains(&name.to_string().as_str()) } else { name == "expect" };
                    if passed_by && matches!(tokens.get(after), Some(TokenTree::Group(_))) {
                        at = after + 1;
                    }
                }
                TokenTree::Group(group) => self.stream(group.stream()),
                TokenTree::Literal(literal) => {
                    if let Some(text) = string(&literal.to_string()).filter(|text| is_prose(text)) {
                        let line = literal.span().start().line;
                        self.found.push(Literal { file: self.file.clone(), line, text });
                    }
                }
                TokenTree::Punct(_) => {}
            }
        }
    }

    /// Past the item that a `#[cfg(test)]` stands before: to the end of its `{…}`, or its `;`.
    fn skip_item(&mut self, tokens: &[TokenTree], mut at: usize) -> usize {
        let mut module: Option<&Ident> = None;
        let mut path = None;
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token {
                TokenTree::Ident(word) if word == "mod" => {
                    module = tokens
                        .get(at)
                        .and_then(|next| if let TokenTree::Ident(name) = next { Some(name) } else { None });
                }
                TokenTree::Group(body) if body.delimiter() == Delimiter::Brace => break,
                // `#[path = "…"]`
                TokenTree::Group(attribute)
                    if module.is_none() && attribute.stream().to_string().starts_with("path") =>
                {
                    path = attribute.stream().into_iter().nth(2).and_then(|token| string(&token.to_string()));
                }
                TokenTree::Punct(end) if end.as_char() == ';' => {
                    if let Some(name) = module {
                        self.tests.extend(self.files_of(&name.to_string(), path.as_deref()));
                    }
                    break;
                }
                _ => {}
            }
        }
        at
    }

    /// Where a module of the present file is: its file, and the folder of its own modules.
    fn files_of(&self, name: &str, path: Option<&str>) -> [String; 2] {
        let here = self.file.rfind('/').map_or("", |slash| &self.file[..=slash]);
        let folder = if self.file.ends_with("mod.rs") || self.file.ends_with("lib.rs") {
            here.to_owned()
        } else {
            format!("{}/", self.file.trim_end_matches(".rs"))
        };
        [path.map_or(format!("{folder}{name}.rs"), |path| format!("{here}{path}")), format!("{folder}{name}/")]
    }
}

/// Whether an attribute is `cfg(test)` or `cfg(all(test, …))`.
fn only_for_tests(attribute: &Group) -> bool {
    let text = attribute.stream().to_string().replace(' ', "");
    text.starts_with("cfg(test") || text.starts_with("cfg(all(test")
}

/// What a string literal stands for; `None` for other literals.
fn string(source: &str) -> Option<String> {
    if let Some(raw) = source.strip_prefix('r') {
        return Some(raw.trim_matches('#').strip_prefix('"')?.strip_suffix('"')?.to_owned());
    }
    let inner = source.strip_prefix('"')?.strip_suffix('"')?;
    let mut text = String::new();
    let mut chars = inner.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            text.push(c);
            continue;
        }
        match chars.next()? {
            'n' => text.push('\n'),
            't' => text.push('\t'),
            // A line's end with the next line's indent.
            '\n' => while chars.next_if(|c| c.is_whitespace()).is_some() {},
            c @ ('"' | '\'' | '\\') => text.push(c),
            // Control characters are no prose.
            _ => text.push(' '),
        }
    }
    Some(text)
}

/// Two words with a space between them, at least: what a person reads.
fn is_prose(text: &str) -> bool {
    let words: Vec<&str> = text.split_whitespace().collect();
    let word = |word: &&&str| word.chars().filter(char::is_ascii_lowercase).count() >= 2;
    words.len() >= 2 && words.iter().filter(word).count() >= 1
}
