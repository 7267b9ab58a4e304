//! Finds in the tokens of a script where its guards belong ([`super::guards`]).

use super::guards::Refused;
use super::tokens::{Kind, Token};

const RESERVED: &[&[u8]] =
    &[b"__iterate", b"__key", b"__spread", b"__weigh", b"__value", b"__values", b"__work"];
/// The prelude has the same list, for names that a script makes while it runs.
const ARITHMETIC: &[&[u8]] =
    &[b"__add", b"__sub", b"__mul", b"__div", b"__idiv", b"__mod", b"__pow", b"__unm"];
/// A body up to this weight takes about as long as the step that leads into it.
const WEIGHT_FREE: usize = 48;
/// The weight of what takes about as long as one step.
const WEIGHT_PER_STEP: usize = 4;

/// Strings up to this length are not worth weighing.
const SHORT_BYTES: usize = 64;

/// Whether a key of a metatable would make arithmetic call a function, which nothing would weigh.
pub(super) fn is_arithmetic_metamethod(name: &[u8]) -> bool {
    ARITHMETIC.contains(&name)
}

/// What is to be written around a token.
#[derive(Clone, Debug, Default)]
pub(super) struct Around {
    /// Brackets to close before it.
    pub(super) closing: usize,
    /// Operands that begin with it and are to be weighed.
    pub(super) weighing: usize,
    /// A statement begins with it, which behind a guard would look like arguments.
    pub(super) is_beginning: bool,
    /// An element of a table is set by a function that has its name.
    pub(super) is_setting: bool,
    /// It stands for as many values as a function was given.
    pub(super) is_spread: bool,
    pub(super) after: String,
}

/// An open construct that a later token closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    /// The script itself.
    Chunk,
    Parenthesis,
    Brace,
    /// `[` behind an operand.
    Index,
    /// `[` of a table's constructor.
    Key,
    /// `if`, `do` or the body of a loop; ends with `end`.
    Block,
    /// Ends with `end`, and is an operand if it has no name.
    Function {
        is_operand: bool,
    },
    /// Becomes a condition with `until`.
    Repeat,
    /// Behind `until`, to the end of the expression.
    Until,
    /// `while`: the next `do` makes it a block.
    While,
    /// `for` before its `in` or `=`.
    For,
    /// `for .. in`: the next `do` closes the guard's bracket and makes it a block.
    Walk,
    /// `for .. =`, where each bound has a guard.
    Count,
}

/// One open construct and what is known within it.
#[derive(Debug)]
struct Frame {
    open: Open,
    /// The token that opened it.
    at: usize,
    /// The token behind which the price of a body stands, if it has one.
    body: Option<usize>,
    weight: usize,
    /// Where the last operand begins; `None` where a new one may begin.
    operand: Option<usize>,
    /// The last operand can be neither called nor indexed: what seems to be its arguments begins a statement.
    is_simple: bool,
    /// The last operand is short, or was weighed.
    is_weighed: bool,
    /// The guard of the last operand is open.
    is_weighing: bool,
    /// An operator wants the next operand weighed.
    wants_weight: bool,
    /// The guard of assigned values is open.
    is_assigning: bool,
    /// What the statement was so far may be what it assigns to.
    may_assign: bool,
    /// How many things it assigns to.
    targets: usize,
    /// One of them, but the last, is an element of a table.
    has_element: bool,
}

impl Frame {
    fn new(open: Open, at: usize) -> Self {
        Self {
            open,
            at,
            body: None,
            weight: 0,
            operand: None,
            is_simple: false,
            is_weighed: false,
            is_weighing: false,
            wants_weight: false,
            is_assigning: false,
            may_assign: true,
            targets: 1,
            has_element: false,
        }
    }

    fn begin_statement(&mut self) {
        self.begin_operand();
        self.may_assign = true;
        self.targets = 1;
        self.has_element = false;
    }

    fn begin_operand(&mut self) {
        self.operand = None;
        self.wants_weight = false;
    }

    fn has_statements(&self) -> bool {
        matches!(self.open, Open::Chunk | Open::Block | Open::Function { .. } | Open::Repeat)
    }
}

pub(super) struct Reader<'a> {
    tokens: &'a [Token<'a>],
    at: usize,
    around: Vec<Around>,
    frames: Vec<Frame>,
}

impl<'a> Reader<'a> {
    /// Over the significant tokens of a script.
    pub(super) fn new(tokens: &'a [Token<'a>]) -> Self {
        let around = vec![Around::default(); tokens.len() + 1];
        Self { tokens, at: 0, around, frames: vec![Frame::new(Open::Chunk, 0)] }
    }

    /// What to write around each token and at the end, or the line of what is refused.
    pub(super) fn read(mut self) -> Result<Vec<Around>, (usize, Refused)> {
        let result = self.read_all();
        let last = self.at.min(self.tokens.len().saturating_sub(1));
        let line = self.tokens.get(last).map_or(1, |token| token.line);
        result.map(|()| self.around).map_err(|reason| (line, reason))
    }

    fn read_all(&mut self) -> Result<(), Refused> {
        while let Some(token) = self.tokens.get(self.at) {
            self.leave_what_ends()?;
            self.top()?.weight += weight(token);
            match token.kind {
                Kind::Word => self.word(token.text)?,
                Kind::Number => self.operand_begins(true)?,
                Kind::Text => self.operand_begins(token.text.len() < SHORT_BYTES)?,
                Kind::Symbol => self.symbol(token.text)?,
                Kind::Space | Kind::Comment => {}
            }
            self.at += 1;
        }
        self.leave_what_ends()?;
        if self.frames.len() == 1 { Ok(()) } else { Err(Refused::Unbalanced) }
    }

    fn top(&mut self) -> Result<&mut Frame, Refused> {
        self.frames.last_mut().ok_or(Refused::Unbalanced)
    }

    /// The token `ahead` of this one.
    fn ahead(&self, ahead: usize) -> Option<&'a Token<'a>> {
        self.tokens.get(self.at + ahead)
    }

    fn behind(&self, behind: usize) -> &'a [u8] {
        self.at.checked_sub(behind).map_or(b"", |at| self.tokens[at].text)
    }

    /// Closes the guards of an operand and of what is assigned, if this token does not continue them.
    fn leave_what_ends(&mut self) -> Result<(), Refused> {
        let (at, token) = (self.at, self.tokens.get(self.at));
        let is_field = matches!(self.behind(1), b"." | b":");
        let Some(frame) = self.frames.last_mut().filter(|frame| frame.operand.is_some()) else {
            return Ok(());
        };
        let continues = is_field || token.is_some_and(continues_operand);
        if continues && !frame.is_simple {
            return Ok(());
        }
        self.around[at].closing += usize::from(std::mem::take(&mut frame.is_weighing));
        if token.is_some_and(continues_expression) && !continues {
            return Ok(());
        }
        self.around[at].closing += usize::from(std::mem::take(&mut frame.is_assigning));
        if frame.open == Open::Until {
            let frame = self.frames.pop().ok_or(Refused::Unbalanced)?;
            self.price(&frame)?;
            self.top()?.begin_statement();
            // A bracket behind a simple operand begins a statement, and would be a call of its guard.
            self.around[at].is_beginning |= continues && token.is_some_and(|token| token.text == b"(");
        } else if token.is_some_and(|token| continues && token.text == b"(") {
            frame.begin_statement();
            self.around[at].is_beginning = true;
        } else if continues {
            return Err(Refused::Unbalanced);
        }
        Ok(())
    }

    fn operand_begins(&mut self, is_short: bool) -> Result<(), Refused> {
        let at = self.at;
        let is_simple = !begins_prefix(&self.tokens[at]);
        let frame = self.top()?;
        if frame.operand.is_some() {
            // A string behind a function is its argument; a name begins the next statement.
            return Ok(());
        }
        frame.operand = Some(at);
        frame.is_simple = is_simple;
        let wants = std::mem::take(&mut frame.wants_weight);
        frame.is_weighing = wants && !is_short;
        frame.is_weighed = is_short || wants;
        if frame.is_weighing {
            self.around[at].weighing += 1;
        }
        Ok(())
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Refused> {
        if RESERVED.contains(&word) {
            return Err(Refused::ReservedName);
        } else if is_arithmetic_metamethod(word) {
            return Err(Refused::ArithmeticMetamethod);
        }
        match word {
            b"and" | b"or" | b"not" => self.top()?.begin_operand(),
            b"if" if self.at > 0 && wants_value(&self.tokens[self.at - 1]) => {
                return Err(Refused::IfExpression);
            }
            b"function" => return self.function(),
            b"if" | b"repeat" | b"for" | b"while" => self.enter_block(word)?,
            b"local" | b"then" | b"else" | b"elseif" | b"break" => self.top()?.begin_statement(),
            b"return" => {
                self.top()?.begin_statement();
                self.top()?.may_assign = false;
            }
            b"in" => self.walk()?,
            b"do" => self.enter_body()?,
            b"end" | b"until" => self.leave_block(word == b"until")?,
            // A field or a method.
            _ if matches!(self.behind(1), b"." | b":") => {}
            _ => {
                if self.top()?.operand.is_some() {
                    self.top()?.begin_statement();
                }
                self.operand_begins(false)?;
            }
        }
        Ok(())
    }

    fn enter_block(&mut self, word: &[u8]) -> Result<(), Refused> {
        self.top()?.begin_statement();
        let mut frame = Frame::new(
            match word {
                b"repeat" => Open::Repeat,
                b"for" => Open::For,
                b"while" => Open::While,
                _ => Open::Block,
            },
            self.at,
        );
        frame.body = (word == b"repeat").then_some(self.at);
        self.frames.push(frame);
        Ok(())
    }

    /// Reads the head of a function up to its body.
    fn function(&mut self) -> Result<(), Refused> {
        let is_operand = self.ahead(1).is_some_and(|next| next.text == b"(");
        if is_operand {
            self.operand_begins(false)?;
        } else {
            self.top()?.begin_statement();
        }
        let begin = self.at;
        let mut is_open = false;
        self.around[begin].is_setting = !is_operand && self.ahead(2).is_some_and(|token| token.text != b"(");
        loop {
            self.at += 1;
            let Some(token) = self.tokens.get(self.at) else { return Err(Refused::Unbalanced) };
            match token.text {
                b"(" => is_open = true,
                b")" => break,
                b"." | b":" if !is_open => {}
                b"," | b"..." if is_open => {}
                name if RESERVED.contains(&name) => return Err(Refused::ReservedName),
                name if is_arithmetic_metamethod(name) => return Err(Refused::ArithmeticMetamethod),
                _ if token.kind == Kind::Word => {}
                _ => return Err(Refused::TypeSyntax),
            }
        }
        let mut frame = Frame::new(Open::Function { is_operand }, begin);
        frame.body = Some(self.at);
        self.frames.push(frame);
        Ok(())
    }

    fn walk(&mut self) -> Result<(), Refused> {
        let at = self.at;
        let frame = self.top()?;
        if frame.open != Open::For {
            return Err(Refused::Unbalanced);
        }
        frame.open = Open::Walk;
        frame.begin_statement();
        self.around[at].after.push_str(" __iterate(");
        Ok(())
    }

    fn enter_body(&mut self) -> Result<(), Refused> {
        let at = self.at;
        let frame = self.top()?;
        frame.begin_statement();
        match frame.open {
            Open::While => {}
            Open::Walk | Open::Count => self.around[at].closing += 1,
            Open::Chunk | Open::Block | Open::Function { .. } | Open::Repeat => {
                self.frames.push(Frame::new(Open::Block, at));
                return Ok(());
            }
            Open::For | Open::Until | Open::Parenthesis | Open::Brace | Open::Index | Open::Key => {
                return Err(Refused::Unbalanced);
            }
        }
        let frame = self.top()?;
        frame.open = Open::Block;
        frame.body = Some(at);
        Ok(())
    }

    fn leave_block(&mut self, is_until: bool) -> Result<(), Refused> {
        let frame = self.top()?;
        if is_until && frame.open == Open::Repeat {
            frame.open = Open::Until;
            frame.begin_statement();
            return Ok(());
        }
        let frame = self.frames.pop().ok_or(Refused::Unbalanced)?;
        self.price(&frame)?;
        match frame.open {
            Open::Block if !is_until => self.top()?.begin_statement(),
            Open::Function { is_operand: false } if !is_until => self.top()?.begin_statement(),
            Open::Function { is_operand: true } if !is_until => {}
            _ => return Err(Refused::Unbalanced),
        }
        Ok(())
    }

    /// Writes what a body costs at its beginning, or lets its parent pay.
    fn price(&mut self, frame: &Frame) -> Result<(), Refused> {
        match frame.body {
            Some(body) if frame.weight > WEIGHT_FREE => {
                let steps = frame.weight / WEIGHT_PER_STEP;
                self.around[body].after.push_str(&format!(" __work({steps}); "));
            }
            Some(_) => {}
            None => self.top()?.weight += frame.weight,
        }
        Ok(())
    }

    fn symbol(&mut self, sign: &[u8]) -> Result<(), Refused> {
        match sign {
            b"`" => Err(Refused::InterpolatedString),
            b"+=" | b"-=" | b"*=" | b"/=" | b"//=" | b"%=" | b"^=" | b"..=" => {
                Err(Refused::CompoundAssignment)
            }
            b"(" | b"{" | b"[" => self.enter_bracket(sign),
            b")" | b"}" | b"]" => self.leave_bracket(sign),
            b"+" | b"-" | b"*" | b"/" | b"//" | b"%" | b"^" | b"<" | b"<=" | b">" | b">=" => {
                self.operator(sign)
            }
            b"=" => self.assignment(),
            b"," => self.comma(),
            b";" if self.top()?.open != Open::Brace => {
                self.top()?.begin_statement();
                Ok(())
            }
            b".." | b"==" | b"~=" | b"#" | b";" => {
                self.top()?.begin_operand();
                Ok(())
            }
            b"..." => {
                self.around[self.at].is_spread = true;
                self.operand_begins(false)
            }
            b"." => Ok(()),
            b":" if self.top()?.operand.is_some() && self.ahead(2).is_some_and(begins_arguments) => Ok(()),
            _ => Err(Refused::TypeSyntax),
        }
    }

    fn operator(&mut self, sign: &[u8]) -> Result<(), Refused> {
        let at = self.at;
        let compares = matches!(sign, b"<" | b"<=" | b">" | b">=");
        let is_free = compares && self.is_number_ahead();
        let tokens = self.tokens;
        let frame = self.top()?;
        if let Some(operand) = frame.operand
            && !is_free
            && !frame.is_weighed
            // A length is a number, but `#a ^ b` is `#(a ^ b)`.
            && !(operand > 0 && tokens[operand - 1].text == b"#" && sign != b"^")
        {
            self.around[operand].weighing += 1;
            self.around[at].closing += 1;
        }
        let frame = self.top()?;
        frame.operand = None;
        frame.wants_weight = true;
        Ok(())
    }

    /// Whether the right side of a comparison is a number and nothing else, so that no long strings are compared.
    fn is_number_ahead(&self) -> bool {
        self.ahead(1).is_some_and(|token| token.kind == Kind::Number)
            && self.ahead(2).is_none_or(|token| {
                token.kind == Kind::Word || matches!(token.text, b")" | b"]" | b"}" | b"," | b";")
            })
    }

    fn assignment(&mut self) -> Result<(), Refused> {
        let at = self.at;
        let is_element = self.is_behind_element();
        let frame = self.top()?;
        let (has_element, targets) = (frame.has_element || is_element, frame.targets);
        frame.begin_operand();
        match frame.open {
            Open::Brace => return Ok(()),
            Open::For => {
                frame.open = Open::Count;
                self.around[at].after.push_str(" __weigh(");
                return Ok(());
            }
            _ if !frame.has_statements() || !frame.may_assign => return Err(Refused::Unbalanced),
            _ => {}
        }
        frame.may_assign = false;
        frame.is_assigning = has_element;
        if has_element {
            let guard = if targets > 1 { format!(" __values({targets}, ") } else { " __value(".into() };
            self.around[at].after.push_str(&guard);
        }
        Ok(())
    }

    fn comma(&mut self) -> Result<(), Refused> {
        let at = self.at;
        let is_element = self.is_behind_element();
        let frame = self.top()?;
        frame.begin_operand();
        if frame.open == Open::Count {
            self.around[at].closing += 1;
            self.around[at].after.push_str(" __weigh(");
        } else if frame.has_statements() && frame.may_assign {
            frame.targets += 1;
            frame.has_element |= is_element;
        }
        Ok(())
    }

    /// Whether the operand before this token is an element of a table, if it can be assigned to at all.
    fn is_behind_element(&self) -> bool {
        self.behind(1) == b"]" || self.behind(2) == b"."
    }

    fn enter_bracket(&mut self, sign: &[u8]) -> Result<(), Refused> {
        let (at, has_operand) = (self.at, self.top()?.operand.is_some());
        let open = match sign {
            b"(" => Open::Parenthesis,
            b"{" => Open::Brace,
            _ if has_operand => Open::Index,
            _ if self.top()?.open == Open::Brace => Open::Key,
            _ => return Err(Refused::TypeSyntax),
        };
        if !has_operand && open != Open::Key {
            self.operand_begins(false)?;
        }
        self.frames.push(Frame::new(open, at));
        Ok(())
    }

    fn leave_bracket(&mut self, sign: &[u8]) -> Result<(), Refused> {
        let frame = self.frames.pop().ok_or(Refused::Unbalanced)?;
        let closes = match frame.open {
            Open::Parenthesis => b")",
            Open::Brace => b"}",
            Open::Index | Open::Key => b"]",
            _ => return Err(Refused::Unbalanced),
        };
        if sign != closes {
            return Err(Refused::Unbalanced);
        }
        let is_assigned = match frame.open {
            Open::Key => true,
            Open::Index => {
                let frame = self.top()?;
                (frame.has_statements() && frame.may_assign)
                    && self.ahead(1).is_some_and(|token| matches!(token.text, b"=" | b","))
            }
            _ => false,
        };
        if is_assigned {
            self.around[frame.at].after.push_str(" __key(");
            self.around[self.at].closing += 1;
        }
        self.price(&frame)
    }
}

/// Whether a token behind an operand belongs to it: fields, calls and elements.
fn continues_operand(token: &Token<'_>) -> bool {
    token.kind == Kind::Text || matches!(token.text, b"." | b":" | b"(" | b"{" | b"[")
}

/// Whether an operand that begins with this token can be called and indexed.
fn begins_prefix(token: &Token<'_>) -> bool {
    match token.kind {
        Kind::Word => !matches!(token.text, b"nil" | b"true" | b"false" | b"function"),
        Kind::Symbol => token.text == b"(",
        Kind::Number | Kind::Text | Kind::Space | Kind::Comment => false,
    }
}

fn continues_expression(token: &Token<'_>) -> bool {
    match token.kind {
        Kind::Word => matches!(token.text, b"and" | b"or"),
        Kind::Symbol => !matches!(token.text, b")" | b"}" | b"]" | b";"),
        Kind::Number | Kind::Text | Kind::Space | Kind::Comment => false,
    }
}

fn begins_arguments(token: &Token<'_>) -> bool {
    token.kind == Kind::Text || matches!(token.text, b"(" | b"{")
}

/// Whether an expression is incomplete behind this token, so that an `if` is one, too.
fn wants_value(token: &Token<'_>) -> bool {
    match token.kind {
        Kind::Symbol => !matches!(token.text, b")" | b"]" | b"}" | b"..." | b";"),
        Kind::Word => {
            matches!(
                token.text,
                b"and" | b"or" | b"not" | b"return" | b"in" | b"if" | b"elseif" | b"while" | b"until"
            )
        }
        Kind::Number | Kind::Text | Kind::Space | Kind::Comment => false,
    }
}

/// How long a token takes to be run, where its neighbours count nothing.
fn weight(token: &Token<'_>) -> usize {
    match token.text {
        b"%" | b"^" | b".." | b"{" | b"function" => 8,
        _ => 1,
    }
}
