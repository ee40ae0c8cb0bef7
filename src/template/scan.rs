//! One pass over a template before Tera sees it: which names, filters, tests, functions and files it uses, where, and
//! the edits of [`super::strict`] that make undefined an error everywhere.
//!
//! It follows the grammar of Tera 2.4 (`tera::parsing::parser`) without its precedences. What it cannot follow is an
//! error; Tera's message for it is asked for then, so a template is never rendered half checked.

mod expression;

use super::strict::{self, Edit, Path};
use super::token::{Kind, NotTera, Token, tokenize_partly};
use std::ops::Range;

/// What a name stands for where it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    Filter,
    Test,
    Function,
}

/// A filter, test or function that is called.
#[derive(Debug)]
pub(super) struct Call {
    pub what: What,
    pub name: Range<usize>,
    pub args: Vec<Arg>,
}

/// An argument of a call.
#[derive(Debug)]
pub(super) struct Arg {
    pub name: Range<usize>,
    /// Its value, where that is a literal and nothing else.
    pub literal: Option<Range<usize>>,
}

/// Another file that is included or extended: the string literal with its quotes.
#[derive(Debug)]
pub(super) struct Link {
    pub literal: Range<usize>,
    /// Extended, not included.
    pub extends: bool,
}

/// Whether a name is bound in the template at the place where it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    /// Nowhere: it is a source's name (or bound by the file that includes this one).
    No,
    /// In a branch that may not have been taken.
    Maybe,
    /// In the body of a component, which sees nothing but its arguments.
    Component,
}

/// A variable that does not certainly come from the template itself.
#[derive(Debug)]
pub(super) struct Root {
    pub name: Range<usize>,
    pub bound: Bound,
}

/// All that one pass found. Ranges are bytes of the text as the user wrote it.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub edits: Vec<Edit>,
    pub calls: Vec<Call>,
    pub links: Vec<Link>,
    pub roots: Vec<Root>,
    /// Every name that the file binds for the files that it includes.
    pub binds: Vec<Range<usize>>,
    pub defines_components: bool,
    /// It calls `env(…)`.
    pub reads_env: bool,
}

/// Reads a template. The error is that Tera would refuse it too, and what was found before the tag that is wrong.
pub(super) fn scan(text: &str) -> Result<Scan, Box<Scan>> {
    let (tokens, cut) = tokenize_partly(text);
    let mut scanner = Scanner { text, tokens, at: 0, depth: 0, blocks: vec![Block::file()], out: Scan::default() };
    if scanner.file().and(cut).is_err() {
        return Err(Box::new(scanner.out));
    }
    scanner.out.edits.sort_by_key(|edit| edit.at);
    Ok(scanner.out)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BlockKind {
    File,
    If,
    For,
    Component,
    Other,
}

/// An open tag and what it binds; `sure`: on every path through it.
struct Block<'t> {
    kind: BlockKind,
    binds: Vec<(&'t str, bool)>,
}

impl Block<'_> {
    fn file() -> Self {
        Block { kind: BlockKind::File, binds: Vec::new() }
    }
}

/// What an expression is, where that matters to whoever contains it.
enum Shape {
    /// A variable path and nothing else; its edits are the container's to choose.
    Path(Path),
    /// Something that ends with this filter.
    Filtered(Range<usize>),
    /// A component's or block's rendered text.
    Rendered,
    /// Anything else.
    Other,
}

struct Scanner<'t> {
    text: &'t str,
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    blocks: Vec<Block<'t>>,
    out: Scan,
}

impl<'t> Scanner<'t> {
    fn file(&mut self) -> Result<(), NotTera> {
        while let Some(token) = self.next() {
            let (roots, calls) = (self.out.roots.len(), self.out.calls.len());
            let read = match token.kind {
                Kind::PrintStart => self.print(),
                Kind::TagStart => self.tag(),
                _ => Err(NotTera),
            };
            if read.is_err() {
                // Half a tag says nothing certain: `[x.y for x in list]` explains `x` only at its end.
                self.out.roots.truncate(roots);
                self.out.calls.truncate(calls);
                return read;
            }
        }
        Ok(())
    }

    // Tokens.

    fn peek(&self) -> Option<Token> {
        self.tokens.get(self.at).copied()
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.peek();
        self.at += usize::from(token.is_some());
        token
    }

    fn word(&self, token: Token) -> &'t str {
        &self.text[token.start..token.end]
    }

    fn is_op(&self, ahead: usize, op: &str) -> bool {
        matches!(self.tokens.get(self.at + ahead), Some(Token { kind: Kind::Op(found), .. }) if *found == op)
    }

    fn is_word(&self, ahead: usize, word: &str) -> bool {
        self.tokens.get(self.at + ahead).is_some_and(|token| token.kind == Kind::Ident && self.word(*token) == word)
    }

    fn take_op(&mut self, op: &str) -> bool {
        let found = self.is_op(0, op);
        self.at += usize::from(found);
        found
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.is_word(0, word);
        self.at += usize::from(found);
        found
    }

    fn op(&mut self, op: &str) -> Result<(), NotTera> {
        if self.take_op(op) { Ok(()) } else { Err(NotTera) }
    }

    fn expect(&mut self, kind: Kind) -> Result<Token, NotTera> {
        self.next().filter(|token| token.kind == kind).ok_or(NotTera)
    }

    // Names.

    /// Binds a name in the innermost loop, component or the file, as Tera's `set` does.
    fn bind(&mut self, token: Token, global: bool) {
        let name = self.word(token);
        self.out.binds.push(token.start..token.end);
        let holds = |block: &Block| match block.kind {
            BlockKind::File | BlockKind::Component => true,
            BlockKind::For => !global,
            BlockKind::If | BlockKind::Other => false,
        };
        let home = self.blocks.iter().rposition(holds).unwrap_or(0);
        let inner = &self.blocks[home + 1..];
        let sure = !inner.iter().any(|block| matches!(block.kind, BlockKind::If | BlockKind::For));
        self.blocks[home].binds.push((name, sure));
    }

    fn root(&mut self, token: Token) {
        let name = self.word(token);
        let mut bound = Bound::No;
        if name.starts_with("__tera_") {
            // Tera's own, whatever the template sets: refused when it is loaded.
            return self.out.roots.push(Root { name: token.start..token.end, bound });
        }
        for block in self.blocks.iter().rev() {
            match block.binds.iter().rev().find(|(bind, _)| *bind == name) {
                Some((_, true)) => return,
                Some((_, false)) => bound = Bound::Maybe,
                None => {}
            }
            if block.kind == BlockKind::Component {
                if bound == Bound::No {
                    bound = Bound::Component;
                }
                break;
            }
        }
        self.out.roots.push(Root { name: token.start..token.end, bound });
    }

    fn in_loop(&self) -> bool {
        self.blocks.iter().any(|block| block.kind == BlockKind::For)
    }

    // Delimiters.

    fn print(&mut self) -> Result<(), NotTera> {
        let first = self.peek().ok_or(NotTera)?;
        let shape = self.expression(true)?;
        let last = self.tokens[self.at - 1];
        let one_token = first == last;
        self.expect(Kind::PrintEnd)?;
        match shape {
            Shape::Path(path) => strict::printed(&path, self.text, &mut self.out.edits),
            Shape::Rendered => {}
            Shape::Filtered(name) if super::catalog::writes_text(&self.text[name.clone()]) => {}
            Shape::Other if one_token => {}
            Shape::Filtered(_) | Shape::Other => strict::printed_whole(first.start..last.end, &mut self.out.edits),
        }
        Ok(())
    }

    fn tag(&mut self) -> Result<(), NotTera> {
        if self.take_op("</") {
            while !self.take_op(">") {
                self.next().ok_or(NotTera)?;
            }
            self.close(BlockKind::Other)?;
            return self.expect(Kind::TagEnd).map(drop);
        }
        if self.take_op("<") {
            self.component_call()?;
            self.blocks.push(Block { kind: BlockKind::Other, binds: Vec::new() });
            return self.expect(Kind::TagEnd).map(drop);
        }
        let keyword = self.expect(Kind::Ident)?;
        match self.word(keyword) {
            "if" => {
                self.strict_expression()?;
                self.open(BlockKind::If);
            }
            "elif" => self.strict_expression()?,
            "else" => {
                // The loop's variables are gone in its `else`, and it is no loop any more.
                if let Some(block) = self.blocks.last_mut().filter(|block| block.kind == BlockKind::For) {
                    *block = Block { kind: BlockKind::If, binds: Vec::new() };
                }
            }
            "endif" => self.close(BlockKind::If)?,
            "for" => self.for_tag()?,
            "endfor" => match self.blocks.pop().map(|block| block.kind) {
                Some(BlockKind::For | BlockKind::If) => {}
                _ => return Err(NotTera),
            },
            word @ ("set" | "set_global") => self.set_tag(word == "set_global")?,
            "endset" | "endfilter" => self.close(BlockKind::Other)?,
            "endblock" => {
                self.close(BlockKind::Other)?;
                self.skip_names();
            }
            "endcomponent" => {
                self.close(BlockKind::Component)?;
                self.skip_names();
            }
            "block" => {
                self.expect(Kind::Ident)?;
                self.open(BlockKind::Other);
            }
            "filter" => {
                self.filter_call()?;
                while self.take_op("|") {
                    self.filter_call()?;
                }
                self.open(BlockKind::Other);
            }
            "include" | "extends" => {
                let extends = self.word(keyword) == "extends";
                let literal = self.expect(Kind::Str)?;
                self.out.links.push(Link { literal: literal.start..literal.end, extends });
            }
            "component" => return self.component_definition(),
            "break" | "continue" => {}
            _ => return Err(NotTera),
        }
        self.expect(Kind::TagEnd).map(drop)
    }

    fn open(&mut self, kind: BlockKind) {
        self.blocks.push(Block { kind, binds: Vec::new() });
    }

    fn close(&mut self, kind: BlockKind) -> Result<(), NotTera> {
        if self.blocks.len() > 1 && self.blocks.pop().is_some_and(|block| block.kind == kind) {
            Ok(())
        } else {
            Err(NotTera)
        }
    }

    fn skip_names(&mut self) {
        while self.peek().is_some_and(|token| token.kind == Kind::Ident) || self.is_op(0, ".") {
            self.at += 1;
        }
    }

    fn for_tag(&mut self) -> Result<(), NotTera> {
        let names = self.loop_names()?;
        // `loop` in the target is the loop's own already, to Tera; its variables are not there yet.
        self.open(BlockKind::For);
        self.strict_expression()?;
        for name in names {
            self.bind(name, false);
        }
        Ok(())
    }

    fn loop_names(&mut self) -> Result<Vec<Token>, NotTera> {
        let mut names = vec![self.expect(Kind::Ident)?];
        if self.take_op(",") {
            names.push(self.expect(Kind::Ident)?);
        }
        if self.take_word("in") { Ok(names) } else { Err(NotTera) }
    }

    fn set_tag(&mut self, global: bool) -> Result<(), NotTera> {
        let name = self.expect(Kind::Ident)?;
        if self.take_op("=") {
            self.strict_expression()?;
        } else {
            while self.take_op("|") {
                self.filter_call()?;
            }
            self.open(BlockKind::Other);
        }
        self.bind(name, global);
        Ok(())
    }

    /// `component Name(label: string = "x", @implied, ...rest) {metadata}`: nothing in it is evaluated.
    fn component_definition(&mut self) -> Result<(), NotTera> {
        self.out.defines_components = true;
        self.skip_names();
        self.op("(")?;
        self.open(BlockKind::Component);
        let mut binds: Vec<(&'t str, bool)> = vec![("body", true)];
        let mut depth = 1_usize;
        let mut name_next = true;
        let mut implied = false;
        while depth > 0 {
            let token = self.next().ok_or(NotTera)?;
            match token.kind {
                Kind::Ident if name_next => {
                    binds.push((self.word(token), true));
                    if implied {
                        // The caller's variable of this name: maybe a source.
                        self.out.roots.push(Root { name: token.start..token.end, bound: Bound::Maybe });
                    }
                    (name_next, implied) = (false, false);
                }
                Kind::Op("(" | "[" | "{") => depth += 1,
                Kind::Op(")" | "]" | "}") => depth -= 1,
                Kind::Op(",") => name_next = depth == 1,
                Kind::Op("@") => implied = true,
                Kind::TagEnd => return Err(NotTera),
                _ => {}
            }
        }
        if let Some(block) = self.blocks.last_mut() {
            block.binds = binds;
        }
        while self.next().ok_or(NotTera)?.kind != Kind::TagEnd {}
        Ok(())
    }
}
