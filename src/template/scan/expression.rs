//! Expressions: which paths they use, and what becomes of each.

use super::{Arg, BlockKind, Call, Root, Scanner, Shape, What};
use crate::template::strict::{self, Path};
use crate::template::token::{Kind, NotTera, Token};
use std::ops::Range;

/// How deep brackets may be nested before the pass gives up; Tera gives up at 40.
const MAX_DEPTH: usize = 48;

impl Scanner<'_> {
    pub(super) fn strict_expression(&mut self) -> Result<(), NotTera> {
        if let Shape::Path(path) = self.expression(true)? {
            strict::used(&path, false, self.text, &mut self.out.edits);
        }
        Ok(())
    }

    pub(super) fn expression(&mut self, ternary: bool) -> Result<Shape, NotTera> {
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
        while let Some(Token { kind: Kind::Op(op), start, .. }) = self.peek() {
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
    pub(super) fn component_call(&mut self) -> Result<(), NotTera> {
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
                    // To Tera `not` is a variable here and nowhere else: it cannot be sent through a filter. It is used
                    // strictly where the component uses its argument.
                    if self.word(token) != "not" {
                        strict::attribute(token.start..token.end, self.text, &mut self.out.edits);
                    }
                }
                _ => return Err(NotTera),
            }
        }
    }

    // Calls.

    /// A filter's name and arguments, after `|`.
    pub(super) fn filter_call(&mut self) -> Result<Range<usize>, NotTera> {
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
                self.op("=")?;
                let first = self.at;
                if let Shape::Path(path) = self.expression(true)? {
                    if what == What::Filter && self.word(name) == "default" && self.word(arg) == "value" {
                        fallback = Some(path);
                    } else {
                        strict::used(&path, false, self.text, &mut self.out.edits);
                    }
                }
                let alone = self.tokens.get(first).filter(|_| self.at == first + 1);
                let literal = alone.filter(|token| matches!(token.kind, Kind::Str | Kind::Literal));
                args.push(Arg { name: arg.start..arg.end, literal: literal.map(|token| token.start..token.end) });
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
