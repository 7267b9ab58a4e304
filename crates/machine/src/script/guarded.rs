//! Tests of the guards in a script's text: they change no meaning, they leave no key that is known by its address, and
//! nothing that takes long is free.

use proptest::collection::vec;
use proptest::prelude::*;

use super::tests::{BUDGETS, FEW_STEPS, NOISE, eval};
use super::*;

/// What each random program begins and ends with: some names, and what became of them.
const BEGIN: &str = "local a, b, t = 1, '2', {3, x = 'x'} local function f(p, q) return q, p end
local function s(v) local k = type(v) if k == 'table' or k == 'function' then return k end return tostring(v) end ";
const END: &str =
    " return s(a) .. s(b) .. s(t.x) .. s(t.y) .. s(t[1]) .. s(t[2]) .. s(t['10']) .. s(t.m) .. s(t[true])";

/// A random expression whose value is a number, a string, a boolean or nil.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "1",
        "2.5",
        "0x1p4",
        "1e-3",
        "1_0",
        "'10'",
        "\"x\"",
        "[[ ] ]]",
        "nil",
        "true",
        "a",
        "b",
        "t.x",
        "t[1]",
        "t['y']",
        "f(a, b)",
        "#t",
        "#b",
        "...",
        "t[a == 1]",
        "b:rep(2)",
        "tonumber'7'",
        "-a",
        "select('#', ...)",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 3, |inner| {
        let binary = prop::sample::select(vec![
            "+", "-", "*", "/", "//", "%", "^", "..", "<", "<=", ">", ">=", "==", "~=", " and ", " or ",
        ]);
        let unary = prop::sample::select(vec!["- ", "not ", "#"]);
        prop_oneof![
            4 => (inner.clone(), binary, inner.clone()).prop_map(|(a, sign, b)| format!("{a} {sign} {b}")),
            2 => (unary, inner.clone()).prop_map(|(sign, a)| format!("{sign}{a}")),
            1 => inner.clone().prop_map(|a| format!("({a})")),
            1 => inner.clone().prop_map(|a| format!("({{{a}, x = {a}}}).x")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({{[{a}] = {b}; {b}}})[1]")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("(f({a}, {b}))")),
            1 => (inner.clone(), inner).prop_map(|(a, b)| {
                format!("(function(...) local c = {a} t.x, b = {b} return c, ... end)({b})")
            }),
        ]
    })
}

fn block() -> impl Strategy<Value = String> {
    let simple = (
        prop::sample::select(vec![
            "a = A",
            "b = A;",
            "t.x = A",
            "t[A] = B",
            "t[1], a = A, B",
            "t.x, t['y'] = A",
            "t[A], t[B], b = f(A)",
            "local c = A a = c",
            "local c, d = A, B b = d",
            "f(A)",
            "f{A}",
            "t.m = function() return A end",
            "function t.m(x) return A end",
            "function t:m(x) return x < A end",
            "(t).x = A",
            "t ['x'] = A b = B",
            "local g = f a, b = g(A, B)",
            "a = #{} (f)(A)",
            "a = ... (f)(A)",
            "a = nil (t).x = A",
            "a = 1 (t)['y'] = A",
            "a, b = b, a",
            "do local c <NOISE>= A t.y = c end",
            "t.x = nil t.y = A",
        ]),
        expression(),
        expression(),
    )
        .prop_map(|(form, a, b)| {
            let form = form.replace("<NOISE>", " ").replace('A', "\u{1}").replace('B', &b);
            format!("pcall(function(...) {} end, a)", form.replace('\u{1}', &a))
        });
    simple.prop_recursive(3, 16, 4, |inner| {
        let form = prop::sample::select(vec![
            "if a then S else S end",
            "for i = 1, 2 do S end",
            "for i, v in ipairs({1, 2}) do S S end",
            "repeat S until true",
            "do S end S",
            "local function g(x) S return x end g(1)",
            "S; S",
            "for i = 3, '1', -1 do S end",
            "if a == b then S elseif b then S end",
            "repeat local z = 1 S until z < 2 or z > '1'",
            "--[[ for ]] S --[==[ ]] ]==]\r S",
        ]);
        (form, vec(inner, 2))
            .prop_map(|(form, parts)| form.replacen('S', &parts[0], 1).replace('S', &parts[1]))
    })
}

/// What the text does without any guard, or nothing if it fails.
fn plainly(source: &str) -> Option<String> {
    let lua = mlua::Lua::new();
    lua.load(source).eval::<mlua::LuaString>().ok().map(|text| text.as_bytes().escape_ascii().to_string())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn guards_change_no_meaning(blocks in vec(block(), 1..4)) {
        let source = format!("{BEGIN}{}{END}", blocks.join("\n"));
        let reply = eval(&source, BUDGETS);
        match plainly(&source) {
            Some(text) => prop_assert_eq!(reply, format!("\"{text}\""), "{}", source),
            None => prop_assert!(reply.starts_with('-'), "{}: {}", source, reply),
        }
    }
}

/// Ways to give a table `t` the key `k`, as words between which anything may stand.
const WAYS: &[&[&str]] = &[
    &["t", "[", "k", "]", "=", "1"],
    &["t", "[", "(", "k", ")", "]", "=", "1"],
    &["(", "t", ")", "[", "k", "]", "=", "1"],
    &["t", "[", "k", "]", ",", "t", ".", "x", "=", "1", ",", "2"],
    &["t", ".", "x", ",", "t", "[", "k", "]", "=", "1", ",", "2"],
    &["t", "=", "{", "[", "k", "]", "=", "1", "}"],
    &["t", "=", "{", "1", ";", "[", "k", "]", "=", "1", "}"],
    &["rawset", "(", "t", ",", "k", ",", "1", ")"],
    &["local", "x", "=", "t", "x", "[", "k", "]", "=", "1"],
    &["local", "x", ";", "t", "[", "k", "]", "=", "1"],
    &["local", "x", "t", "[", "k", "]", ",", "x", "=", "1"],
    &["t", ".", "u", "=", "t", "t", ".", "u", "[", "k", "]", "=", "1"],
    &["if", "t", "then", "t", "[", "k", "]", "=", "1", "end"],
    &["repeat", "t", "[", "k", "]", "=", "1", "until", "t"],
    &["(", "function", "(", ")", "return", "t", "end", ")", "(", ")", "[", "k", "]", "=", "1"],
    &["t", "[", "t", "[", "1", "]", "or", "k", "]", "=", "1"],
    &["t", "[", "k", "]", "+=", "1"],
    &["for", "i", "=", "1", ",", "2", "do", "t", "[", "k", "]", "=", "1", "end"],
    &["t", "[", "'x'", "]", ",", "t", "[", "k", "]", "=", "1", ",", "1"],
    &["for", "_", ",", "i", "in", "ipairs", "{", "k", "}", "do", "t", "[", "i", "]", "=", "1", "end"],
    &["local", "function", "g", "(", "i", ")", "t", "[", "i", "]", "=", "1", "end", "g", "(", "k", ")"],
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn no_text_hides_a_key_from_its_guard(
        way in 0..WAYS.len(),
        is_function in any::<bool>(),
        noise in vec((0_usize..20, 0..NOISE.len()), 0..5),
    ) {
        let key = if is_function { "pairs" } else { "{}" };
        let mut body = format!("local t, k = {{}}, {key} ");
        for (place, word) in WAYS[way].iter().enumerate() {
            noise.iter().filter(|(at, _)| *at == place).for_each(|(_, which)| body.push_str(NOISE[*which]));
            body.push_str(word);
            body.push(' ');
        }
        body.push_str(" return rawget(t, k) and 'held'");
        let reply = eval(&body, FEW_STEPS);
        prop_assert_ne!(reply, "\"held\"", "{}", body.escape_debug());
    }
}

/// Each way holds its key if nothing stands between its words, were it not for the guard.
#[test]
fn each_way_to_a_forbidden_key_is_refused_with_its_kind() {
    for way in WAYS {
        let body = format!("local t, k = {{}}, {{}} {} return rawget(t, k) and 'held'", way.join(" "));
        let reply = eval(&body, BUDGETS);
        let refused = ["a table cannot be a key of a table", "compound assignments cannot be used"];
        assert!(refused.iter().any(|text| reply.contains(text)), "{body}: {reply}");
        let allowed = eval(&body.replacen("{} ", "'k' ", 2).replace("+=", "="), BUDGETS);
        assert!(!allowed.starts_with('-'), "{body}: {allowed}");
    }
}

/// What takes long while no function is called and no loop turns; each was free once.
const UNSEEN: &[(&str, &str)] = &[
    ("local a = string.rep('a', 9000) local b, x = a .. 'b'", "x=a<b "),
    ("local a = string.rep('a', 9000) local b, x = a .. 'b'", "x=a>=b "),
    ("local s, x = string.rep('0', 9000)", "x=s+1 "),
    ("local s, x = string.rep('0', 9000)", "x=2^s "),
    ("local s, x = string.rep('0', 9000)", "x=-s "),
    ("local s = string.rep('0', 9000)", "for i=s,s do end "),
    ("local t = {}", "t.a=nil t.b=1 "),
    ("local t = {}", "t['a'],t.b=nil,1 "),
    ("local t = {}", "t.a=nil function t.b()end "),
];

#[test]
fn nothing_that_takes_long_is_free() {
    let budgets = Budgets { steps: 2_000, ..BUDGETS };
    for (head, unit) in UNSEEN {
        let few = eval(&format!("{head} {}", unit.repeat(3)), budgets);
        assert_eq!(few, "nil", "{unit}");
        let many = eval(&format!("{head} {}", unit.repeat(1_500)), budgets);
        assert_eq!(many, "-ERR script exceeded its budget of 2000 steps", "{unit}");
    }
}

#[test]
fn a_turn_or_a_call_costs_what_its_body_holds() {
    for (before, unit, after) in [
        ("local x while true do ", "x=1 ", "end"),
        ("local x repeat ", "x=x or x ", "until false"),
        ("local x repeat until not {", "1,", "}"),
        ("local x local function f() ", "x=x..x ", "end x = '' while true do f() end"),
        ("local x = 1 for i = 1, 1e9 do if x then ", "x=1 ", "end end"),
    ] {
        let (once, often) = (before.to_owned() + after, before.to_owned() + &unit.repeat(4_000) + after);
        let turns = |body: &str| {
            let invocation =
                Invocation { sha: script_sha(body.as_bytes()), body: body.as_bytes(), keys: &[], args: &[] };
            let program = Programs::default().get(invocation.sha, invocation.body).expect("it compiles");
            String::from_utf8_lossy(&program.bytecode).contains("__work")
        };
        assert!(!turns(&once), "{before} is short");
        assert!(turns(&often), "{before} pays for its length");
        let began = eval(&often, FEW_STEPS);
        assert_eq!(began, "-ERR script exceeded its budget of 300000 steps", "{before}");
    }
}
