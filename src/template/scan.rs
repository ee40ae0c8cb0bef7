//! One pass over a template before Tera sees it: which names, filters, tests, functions and files it uses, where, and
//! the edits of [`super::strict`] that make undefined an error everywhere.
//!
//! It follows the grammar of Tera 2.4 (`tera::parsing::parser`) without its precedences. What it cannot follow is an
//! error; Tera's message for it is asked for then, so a template is never rendered half checked.

use super::strict::{self, Edit, Path};
use super::token::{Kind, NotTera, Token, tokenize};
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
    /// The names of its arguments.
    pub args: Vec<Range<usize>>,
}

/// Another file that is included or extended: the string literal with its quotes.
#[derive(Debug)]
pub(super) struct Link {
    pub literal: Range<usize>,
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

/// How deep brackets may be nested before the pass gives up; Tera gives up at 40.
const MAX_DEPTH: usize = 48;

/// Reads a template. The error is that Tera would refuse it too.
pub(super) fn scan(text: &str) -> Result<Scan, NotTera> {
    let tokens = tokenize(text)?;
    let mut scanner = Scanner { text, tokens, at: 0, depth: 0, blocks: vec![Block::file()], out: Scan::default() };
    scanner.file()?;
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
            match token.kind {
                Kind::PrintStart => self.print()?,
                Kind::TagStart => self.tag()?,
                _ => return Err(NotTera),
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
                let literal = self.expect(Kind::Str)?;
                self.out.links.push(Link { literal: literal.start..literal.end });
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

    // Expressions.

    fn strict_expression(&mut self) -> Result<(), NotTera> {
        if let Shape::Path(path) = self.expression(true)? {
            strict::used(&path, false, self.text, &mut self.out.edits);
        }
        Ok(())
    }

    fn expression(&mut self, ternary: bool) -> Result<Shape, NotTera> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(NotTera);
        }
        let shape = self.operands(ternary);
        self.depth -= 1;
        shape
    }

    /// Operands and operators up to what cannot continue an expression.
    fn operands(&mut self, ternary: bool) -> Result<Shape, NotTera> {
        // Whether an operator binds the operand tighter than a following `is`; whether text is built from it.
        let (mut tight, mut concat, mut alone) = (false, false, true);
        loop {
            let mut minus = false;
            loop {
                if self.take_op("-") {
                    (minus, alone) = (true, false);
                } else if self.take_word("not") {
                    alone = false;
                } else {
                    break;
                }
            }
            let mut shape = self.operand()?;
            if let Shape::Path(path) = &mut shape {
                path.negated = minus;
                let tested = usize::from(self.is_word(1, "not")) + 1;
                let tests = self.is_word(tested, "defined") || self.is_word(tested, "undefined");
                let may_be_missing = !minus
                    && (self.is_op(0, "|") && self.is_word(1, "default") || self.is_word(0, "is") && tests && !tight);
                if may_be_missing {
                    strict::optional(path, &mut self.out.edits);
                    shape = Shape::Other;
                } else if !alone || self.continues(ternary) {
                    let printed = concat || self.is_op(0, "~");
                    strict::used(path, printed, self.text, &mut self.out.edits);
                    shape = Shape::Other;
                }
            }
            loop {
                if self.take_op("|") {
                    shape = Shape::Filtered(self.filter_call()?);
                } else if self.take_word("is") {
                    self.take_word("not");
                    let name = self.expect(Kind::Ident)?;
                    self.call(What::Test, name)?;
                    (shape, alone) = (Shape::Other, false);
                } else if self.is_op(0, "[") {
                    self.subscript()?;
                    shape = Shape::Other;
                } else {
                    break;
                }
            }
            match self.peek().map(|token| (token.kind, self.word(token))) {
                Some((Kind::Op(op @ ("+" | "-" | "*" | "/" | "//" | "%" | "**" | "~")), _)) => {
                    (tight, concat) = (true, op == "~");
                }
                Some((Kind::Op("<" | ">" | "<=" | ">=" | "==" | "!="), _)) => (tight, concat) = (true, false),
                Some((Kind::Ident, "and" | "or" | "in")) => (tight, concat) = (false, false),
                Some((Kind::Ident, "not")) if self.is_word(1, "in") => {
                    self.at += 1;
                    (tight, concat) = (false, false);
                }
                Some((Kind::Ident, "if")) if ternary => {
                    self.at += 1;
                    self.strict_expression()?;
                    if !self.take_word("else") {
                        return Err(NotTera);
                    }
                    self.strict_expression()?;
                    return Ok(Shape::Other);
                }
                _ if alone => return Ok(shape),
                _ => return Ok(Shape::Other),
            }
            alone = false;
            self.at += 1;
        }
    }

    /// Whether the next token goes on with the expression.
    fn continues(&self, ternary: bool) -> bool {
        match self.peek().map(|token| (token.kind, self.word(token))) {
            Some((Kind::Op(op), _)) => !matches!(op, "," | ")" | "]" | "}" | ":" | "="),
            Some((Kind::Ident, "if")) => ternary,
            Some((Kind::Ident, word)) => word != "for" && word != "else",
            _ => false,
        }
    }

    fn operand(&mut self) -> Result<Shape, NotTera> {
        let token = self.next().ok_or(NotTera)?;
        match token.kind {
            Kind::Str | Kind::Literal => Ok(Shape::Other),
            Kind::Ident if matches!(self.word(token), "none" | "None" | "null") => Ok(Shape::Other),
            Kind::Ident if self.is_op(0, "(") => {
                self.call(What::Function, token)?;
                Ok(if self.word(token) == "super" { Shape::Rendered } else { Shape::Other })
            }
            Kind::Ident => self.path(token),
            Kind::Op("(") => {
                let shape = self.expression(true)?;
                self.op(")")?;
                Ok(match shape {
                    // A path in brackets is still a path: `(app.x) | default(value=1)`.
                    Shape::Path(path) => Shape::Path(path),
                    _ => Shape::Other,
                })
            }
            Kind::Op("[") => self.array(),
            Kind::Op("{") => self.map(),
            Kind::Op("<") => {
                self.component_call()?;
                Ok(Shape::Rendered)
            }
            _ => Err(NotTera),
        }
    }

    fn path(&mut self, root: Token) -> Result<Shape, NotTera> {
        let own = self.word(root) == "loop" && self.in_loop();
        if !own {
            self.root(root);
        }
        let mut path = Path { range: root.start..root.end, steps: Vec::new(), optional: false, negated: false };
        loop {
            let Some(Token { kind: Kind::Op(op), start, .. }) = self.peek() else { break };
            match op {
                "." | "?." => {
                    self.at += 1;
                    self.expect(Kind::Ident)?;
                }
                "[" | "?[" => self.subscript()?,
                _ => break,
            }
            if op.starts_with('?') {
                path.optional = true;
            } else {
                path.steps.push(start);
            }
            path.range.end = self.tokens[self.at - 1].end;
        }
        Ok(if own { Shape::Other } else { Shape::Path(path) })
    }

    /// `[key]`, `[from:to:step]`.
    fn subscript(&mut self) -> Result<(), NotTera> {
        self.at += 1;
        while !self.take_op("]") {
            if !self.take_op(":") {
                self.strict_expression()?;
            }
        }
        Ok(())
    }

    fn array(&mut self) -> Result<Shape, NotTera> {
        let (first_root, mut first) = (self.out.roots.len(), true);
        while !self.take_op("]") {
            self.take_op("...");
            self.strict_expression()?;
            if first && self.take_word("for") {
                return self.comprehension(first_root);
            }
            first = false;
            if !self.take_op(",") && !self.is_op(0, "]") {
                return Err(NotTera);
            }
        }
        Ok(Shape::Other)
    }

    /// `[item.x for item in list if item.y]`; the item's uses before `for` are in `roots` from `first_root`.
    fn comprehension(&mut self, first_root: usize) -> Result<Shape, NotTera> {
        let item_roots = first_root..self.out.roots.len();
        let names = self.loop_names()?;
        for part in 0..2 {
            if part == 1 && !self.take_word("if") {
                break;
            }
            if part == 1 {
                self.open(BlockKind::Other);
                let binds: Vec<_> = names.iter().map(|name| (self.word(*name), true)).collect();
                self.blocks.last_mut().ok_or(NotTera)?.binds = binds;
            }
            if let Shape::Path(path) = self.expression(false)? {
                strict::used(&path, false, self.text, &mut self.out.edits);
            }
            if part == 1 {
                self.close(BlockKind::Other)?;
            }
        }
        self.op("]")?;
        let text = self.text;
        let own = |root: &Root| names.iter().any(|name| text[root.name.clone()] == text[name.start..name.end]);
        let mut index = 0;
        self.out.roots.retain(|root| {
            let keep = !(item_roots.contains(&index) && own(root));
            index += 1;
            keep
        });
        Ok(Shape::Other)
    }

    fn map(&mut self) -> Result<Shape, NotTera> {
        while !self.take_op("}") {
            if !self.take_op("...") {
                let key = self.next().ok_or(NotTera)?;
                if !matches!(key.kind, Kind::Str | Kind::Literal) {
                    return Err(NotTera);
                }
                self.op(":")?;
            }
            self.strict_expression()?;
            if !self.take_op(",") && !self.is_op(0, "}") {
                return Err(NotTera);
            }
        }
        Ok(Shape::Other)
    }

    /// `Name attribute="x" other={expression} short {...map} />`, after `<`; ends after `>`.
    fn component_call(&mut self) -> Result<(), NotTera> {
        self.expect(Kind::Ident)?;
        while self.take_op(".") {
            self.expect(Kind::Ident)?;
        }
        loop {
            let token = self.next().ok_or(NotTera)?;
            match token.kind {
                Kind::Op(">") => return Ok(()),
                Kind::Op("/") => return self.op(">"),
                Kind::Op("{") => {
                    self.op("...")?;
                    self.strict_expression()?;
                    self.op("}")?;
                }
                Kind::Ident if self.take_op("=") => {
                    if self.take_op("{") {
                        self.strict_expression()?;
                        self.op("}")?;
                    } else {
                        self.expect(Kind::Str)?;
                    }
                }
                Kind::Ident => {
                    self.root(token);
                    strict::attribute(token.start..token.end, self.text, &mut self.out.edits);
                }
                _ => return Err(NotTera),
            }
        }
    }

    // Calls.

    /// A filter's name and arguments, after `|`.
    fn filter_call(&mut self) -> Result<Range<usize>, NotTera> {
        let name = self.expect(Kind::Ident)?;
        let fallback = self.call(What::Filter, name)?;
        if let Some(path) = fallback {
            if self.is_op(0, "|") && self.is_word(1, "default") {
                // `a | default(value=b) | default(value="c")`: `b` may be missing as well.
                strict::optional(&path, &mut self.out.edits);
            } else {
                strict::used(&path, false, self.text, &mut self.out.edits);
            }
        }
        Ok(name.start..name.end)
    }

    /// The arguments that may follow a name. Gives back the path that `default` falls back to, its edits undecided.
    fn call(&mut self, what: What, name: Token) -> Result<Option<Path>, NotTera> {
        let mut fallback = None;
        let mut args = Vec::new();
        if self.take_op("(") {
            while !self.take_op(")") {
                let arg = self.expect(Kind::Ident)?;
                args.push(arg.start..arg.end);
                self.op("=")?;
                if let Shape::Path(path) = self.expression(true)? {
                    if what == What::Filter && self.word(name) == "default" && self.word(arg) == "value" {
                        fallback = Some(path);
                    } else {
                        strict::used(&path, false, self.text, &mut self.out.edits);
                    }
                }
                if !self.take_op(",") && !self.is_op(0, ")") {
                    return Err(NotTera);
                }
            }
        }
        self.out.reads_env |= what == What::Function && self.word(name) == "env";
        self.out.calls.push(Call { what, name: name.start..name.end, args });
        Ok(fallback)
    }
}
