//! Sends what a script would otherwise do unseen through functions of the sandbox (`prelude.luau`).
//!
//! Some of what Luau does is the same on every replica, or takes little time, only with help, and nothing at run time
//! can give it. So the text itself is changed before it is compiled, on the same lines:
//!
//! * **Order.** A loop may walk a bare table (`for k, v in t do`) in the order of its memory. `in EXPRESSIONS do`
//!   becomes `in __iterate(EXPRESSIONS) do`, and the guard knows no such loops.
//! * **Keys.** Tables, functions and threads are hashed by their addresses. When a table with such keys is laid out
//!   anew, and hence what `#t` answers if it has holes, may differ between replicas. A bracket that is assigned to
//!   becomes `[__key(KEY)]`, which refuses them.
//! * **Work.** Strings are compared and made into numbers in as long as they are: operands of such operators become
//!   `__weigh(OPERAND)`. A table that has not grown is laid out anew only when an element is set after one was removed:
//!   what is assigned to elements becomes `__value(EXPRESSION)`, where that is charged. `...` becomes `__spread(...)`,
//!   since it can be thousands of values. And a long body of a loop or function begins with `__work(STEPS)`, so that
//!   no turn and no call is one step only because its text has no other.
//!
//! The reader ([`super::reader`]) is no parser, and need not be one: it is given only what the compiler has accepted,
//! and its result is compiled again. It knows which brackets and blocks are open, and where an operand begins and ends;
//! a guard stands around whole operands, so it changes no precedence. What it does not know is refused: `if` as an
//! expression, strings between backticks, compound assignments, types and attributes. All of those Luau added to Lua
//! 5.1. Metamethods of arithmetic are refused as well, because nothing would weigh what they answer.

use std::fmt;

use super::reader::{Around, Reader};
use super::tokens::{Kind, Token, tokens};

/// What of Luau a script may not use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    IfExpression,
    InterpolatedString,
    CompoundAssignment,
    TypeSyntax,
    ReservedName,
    ArithmeticMetamethod,
    Nul,
    Unbalanced,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IfExpression => "'if' cannot be used as an expression",
            Self::InterpolatedString => "strings cannot be written between backticks",
            Self::CompoundAssignment => "compound assignments cannot be used",
            Self::TypeSyntax => "types and attributes cannot be written",
            Self::ReservedName => "names of the sandbox's own functions are reserved",
            Self::ArithmeticMetamethod => "metamethods of arithmetic cannot be used",
            Self::Nul => "a script cannot contain a byte 0",
            Self::Unbalanced => "blocks are not balanced",
        })
    }
}

/// The script with its guards, or the line on which it is refused and why.
pub(super) fn guard(source: &[u8]) -> Result<Vec<u8>, (usize, Refused)> {
    let all = tokens(source);
    // Luau takes it for the end of the text.
    if let Some(at) = source.iter().position(|byte| *byte == 0) {
        return Err((1 + source[..at].iter().filter(|byte| **byte == b'\n').count(), Refused::Nul));
    }
    let significant: Vec<Token<'_>> = all.iter().filter(|token| token.is_significant()).copied().collect();
    let around = Reader::new(&significant).read()?;
    Ok(written(&all, &around))
}

/// The text with what is to stand around its significant tokens, of which there is one entry each and one for the end.
fn written(all: &[Token<'_>], around: &[Around]) -> Vec<u8> {
    let mut text = Vec::new();
    let mut around = around.iter();
    for token in all {
        match token.kind {
            Kind::Space => text.extend_from_slice(token.text),
            // A space, and its line breaks, so that line numbers stay.
            Kind::Comment => {
                text.push(b' ');
                text.extend(std::iter::repeat_n(b'\n', token.line_breaks()));
            }
            Kind::Text | Kind::Word | Kind::Number | Kind::Symbol => {
                let around = around.next().expect("each significant token has an entry");
                close(&mut text, around.closing);
                text.extend_from_slice(if around.is_beginning { b"; " } else { b"" });
                text.extend_from_slice(if around.is_setting { b" __value(true) " } else { b"" });
                text.extend_from_slice(&b"__weigh(".repeat(around.weighing));
                text.extend_from_slice(if around.is_spread { b"__spread(...)" } else { token.text });
                text.extend_from_slice(around.after.as_bytes());
            }
        }
    }
    close(&mut text, around.next().map_or(0, |end| end.closing));
    text
}

fn close(text: &mut Vec<u8>, brackets: usize) {
    text.extend(std::iter::repeat_n(b')', brackets));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guarded(source: &str) -> String {
        let text = String::from_utf8(guard(source.as_bytes()).expect("accepted")).expect("text");
        text.split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .replace("( ", "(")
            .replace(" )", ")")
            .replace("  ", " ")
    }

    fn refused(source: &str) -> (usize, Refused) {
        guard(source.as_bytes()).expect_err(source)
    }

    #[test]
    fn each_loop_over_expressions_passes_the_guard() {
        let cases = [
            ("for k, v in pairs(t) do f() end", "for k, v in __iterate(pairs(t))do f() end"),
            ("for i = 1, 3 do end", "for i = __weigh(1), __weigh(3)do end"),
            ("while x do do end end", "while x do do end end"),
            (
                "for k in (function() for a in b do end while c do end return d end)() do end",
                "for k in __iterate((function() for a in __iterate(b)do end while c do end return d end)())do end",
            ),
            ("repeat for a in b do end until c", "repeat for a in __iterate(b)do end until c"),
        ];
        for (source, expected) in cases {
            assert_eq!(guarded(source), expected);
        }
    }

    #[test]
    fn operands_of_comparison_and_arithmetic_are_weighed_whole() {
        let cases = [
            ("x = a < b", "x = __weigh(a)< __weigh(b)"),
            ("x = a.b[c]:d(e) >= f'g' y = 1", "x = __weigh(a.b[c]:d(e))>= __weigh(f'g')y = 1"),
            ("x = a .. b < c .. d", "x = a .. __weigh(b)< __weigh(c).. d"),
            ("x = a + b * c", "x = __weigh(a)+ __weigh(b)* __weigh(c)"),
            ("x = -s ^ -t", "x = -__weigh(s)^ -__weigh(t)"),
            ("x = #s + 1 - 1e-5", "x = #s + 1 - 1e-5"),
            ("x = #s ^ 2", "x = #__weigh(s)^ 2"),
            ("if a < 1 and b > 2 then end", "if a < 1 and b > 2 then end"),
            ("x = a < 1 .. b", "x = __weigh(a)< 1 .. b"),
            ("x = a == b ~= c", "x = a == b ~= c"),
            ("x = ... (f)()", "x = __spread(...) ; (f)()"),
        ];
        for (source, expected) in cases {
            assert_eq!(guarded(source), expected);
        }
    }

    #[test]
    fn keys_and_what_is_assigned_to_elements_are_guarded() {
        let cases = [
            ("t[k] = 1", "t[ __key(k)] = __value(1)"),
            ("t.a.b['c'][d] = e f()", "t.a.b['c'][ __key(d)] = __value(e)f()"),
            ("t[a], u[b] = 1, 2", "t[ __key(a)], u[ __key(b)] = __values(2, 1, 2)"),
            ("x = {[f()] = t[1], [k] = 2}", "x = {[ __key(f())] = t[1], [ __key(k)] = 2}"),
            ("local a, b = t[i], t[j]", "local a, b = t[i], t[j]"),
            ("t.x = nil; a = t[k]", "t.x = __value(nil); a = t[k]"),
            ("function t.m() end", "__value(true) function t.m() end"),
            ("local function f() return t[k], 1 end", "local function f() return t[k], 1 end"),
            (
                "t[a] = function() u[b] = c end",
                "t[ __key(a)] = __value(function() u[ __key(b)] = __value(c)end)",
            ),
        ];
        for (source, expected) in cases {
            assert_eq!(guarded(source), expected);
        }
    }

    #[test]
    fn comments_are_left_out_and_their_lines_are_kept() {
        let cases = [
            ("-- for a in b\nx = 1", " \nx = 1"),
            ("--[[ for a\nin b ]] x = 1", " \n x = 1"),
            ("--[ for a in b\nx = t[i]", " \nx = t[i]"),
            ("a--[=[ ]] ]=]b = 1 --", "a b = 1  "),
        ];
        for (source, expected) in cases {
            assert_eq!(guard(source.as_bytes()).expect("accepted"), expected.as_bytes());
        }
    }

    #[test]
    fn statements_beginning_with_if_are_told_from_expressions() {
        for source in [
            "f() if a then elseif b then else end",
            "x = 1 if a then return end",
            "x = {} if a then x = t[1] if b then end end",
            "if a then if b then c() end end",
        ] {
            assert_eq!(guarded(source), source);
        }
        for source in ["x = if a then b else c", "f(if a then b else c)", "return if a then b else c"] {
            assert_eq!(refused(source), (1, Refused::IfExpression));
        }
    }

    #[test]
    fn what_cannot_be_read_safely_is_refused_with_its_line() {
        assert_eq!(refused("\nx = `a{b}`"), (2, Refused::InterpolatedString));
        assert_eq!(refused("local __iterate = f"), (1, Refused::ReservedName));
        assert_eq!(refused("function f(__weigh) end"), (1, Refused::ReservedName));
        assert_eq!(refused("--[[\n]] t[k] += 1"), (2, Refused::CompoundAssignment));
        assert_eq!(refused("m.__add = f"), (1, Refused::ArithmeticMetamethod));
        assert_eq!(refused("x = {a; if b then c else d}"), (1, Refused::Unbalanced));
        assert_eq!(refused("x = 1\n--\0"), (2, Refused::Nul));
        assert_eq!(refused("end"), (1, Refused::Unbalanced));
        for source in
            ["local x: number = 1", "x = y :: any", "@native function f() end", "function f<T>() end"]
        {
            assert_eq!(refused(source), (1, Refused::TypeSyntax), "{source}");
        }
    }
}
