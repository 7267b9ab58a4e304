//! The libraries as scripts see them: what is written is read back, whatever it is; and nothing that is read does harm.
//! What they answer is in `tests/golden/script/libraries`, and compared with Redis by `compat/cases`.

use bytes::Bytes;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use crate::script::Budgets;
use crate::script::tests::{BUDGETS, FEW_STEPS, eval, eval_with};

/// A value of a script as its text in Lua, which every format can express.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i32>().prop_map(|number| format!("({number})")),
        (-1000..1000_i32).prop_map(|number| format!("({number} / 8)")),
        vec(any::<u8>(), 0..40).prop_map(|bytes| text(&bytes)),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(|elements| format!("{{{}}}", elements.join(", "))),
            btree_map("[a-z]{1,3}", inner, 1..5).prop_map(|members| {
                let members = members.iter().map(|(name, value)| format!("['{name}'] = {value}"));
                format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
            }),
        ]
    })
}

/// An exponent of any size, and the bounds of what it is kept in.
fn exponent() -> impl Strategy<Value = i64> {
    let bounds = vec![i32::MIN.into(), i32::MAX.into(), i64::from(i32::MIN) + 1, i64::MIN, i64::MAX];
    prop_oneof![prop::sample::select(bounds), any::<i64>(), any::<i32>().prop_map(i64::from), -1100..1100_i64]
}

fn text(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("\\{byte:03}")).collect();
    format!("'{digits}'")
}

/// Says whether two values are equal, all the way down.
const EQUAL: &str = "local function equal(a, b)
    if type(a) ~= 'table' or type(b) ~= 'table' then return a == b end
    for k, v in pairs(a) do if not equal(v, b[k]) then return false end end
    for k in pairs(b) do if a[k] == nil then return false end end
    return true
end ";

/// A call that may answer, or fail with an error of the script, and nothing else.
fn is_contained(call: &str) -> Result<(), TestCaseError> {
    let reply = eval(&format!("return type(select(2, pcall({call})))"), BUDGETS);
    prop_assert!(reply.starts_with('"'), "{} answered {}", call, reply);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_is_written_is_read_back(value in value()) {
        for (write, read) in [("cjson.encode", "cjson.decode"), ("cmsgpack.pack", "cmsgpack.unpack")] {
            let body = format!("{EQUAL} local v = {value} return equal(v, {read}({write}(v)))");
            prop_assert_eq!(eval(&body, BUDGETS), "1", "{}", body);
        }
    }

    #[test]
    fn structures_are_read_back(
        order in "[<>]?",
        alignment in "(![1248])?",
        items in vec((prop::sample::select(vec!["b", "h", "i", "l", "i3", "i6"]), -128..128_i32, "[a-z]{0,5}"), 0..6),
    ) {
        let format: String = items.iter().map(|(item, ..)| format!("{item}s")).collect();
        let format = format!("{order}{alignment}{format}d");
        let values: String = items.iter().map(|(_, number, text)| format!("{number}, '{text}', ")).collect();
        let body = format!(
            "local f = '{format}' local p = struct.pack(f, {values} 0.1) local t = {{struct.unpack(f, p)}}
            return struct.pack(f, unpack(t, 1, #t - 1)) == p and t[#t] == #p + 1"
        );
        prop_assert_eq!(eval(&body, BUDGETS), "1", "{}", body);
    }

    #[test]
    fn no_bytes_do_harm(bytes in vec(any::<u8>(), 0..64), offset in -3..70_i32) {
        let bytes = text(&bytes);
        is_contained(&format!("cjson.decode, {bytes}"))?;
        is_contained(&format!("cmsgpack.unpack, {bytes}"))?;
        is_contained(&format!("cmsgpack.unpack_limit, {bytes}, 3, {offset}"))?;
        is_contained(&format!("struct.unpack, {bytes}, {bytes}, {offset}"))?;
        is_contained(&format!("struct.pack, {bytes}, 1, 2, 3, 4"))?;
    }

    #[test]
    fn no_text_of_json_does_harm(text in "[\\[\\]{}:,\"\\\\u0-9a-fexintrul+. -]{0,40}") {
        is_contained(&format!("cjson.decode, {}", self::text(text.as_bytes())))?;
    }

    #[test]
    fn no_hexadecimal_number_does_harm(mantissa in "[0-9a-f]{0,20}[.]?[0-9a-f]{0,20}", exponent in exponent()) {
        is_contained(&format!("cjson.decode, '0x{mantissa}p{exponent}'"))?;
        is_contained(&format!("struct.pack, 'd', '-0x{mantissa}p{exponent}'"))?;
    }

    #[test]
    fn no_format_does_harm(format in "[bBhHlLTiIfdxcs0-9<>! ]{0,20}", offset in any::<i64>()) {
        is_contained(&format!("struct.unpack, '{format}', string.rep('a', 100), {offset}"))?;
        is_contained(&format!("struct.pack, '{format}', 1, 2, 3, 'a', 'b', 'c'"))?;
        is_contained(&format!("struct.size, '{format}'"))?;
    }
}

#[test]
fn settings_of_one_script_are_not_those_of_the_next() {
    assert_eq!(eval("return cjson.encode_max_depth(5)", BUDGETS), "5");
    assert_eq!(eval("return cjson.encode_max_depth()", BUDGETS), "1000");
}

#[test]
fn settings_of_a_script_that_failed_are_forgotten_too() {
    let reply =
        eval("cjson.encode_max_depth(5) cjson.decode_invalid_numbers(false) error('it fails')", BUDGETS);
    assert!(reply.starts_with("-ERR user_script:1: it fails"), "{reply}");
    let body = "return {cjson.encode_max_depth(), cjson.decode_invalid_numbers()}";
    assert_eq!(eval(body, BUDGETS), "[1000, 1]");
}

#[test]
fn too_many_values_to_pack_are_refused_in_the_words_of_redis() {
    let body = "local t = {} for i = 1, 4500 do t[i] = i end return {pcall(cmsgpack.pack, unpack(t))}";
    let told = "bad argument #0 to '?' (Too many arguments for MessagePack pack.)";
    // A false in a reply is a nil.
    assert_eq!(eval(body, BUDGETS), format!("[nil, \"{}\"]", told.escape_default()));
}

#[test]
fn deep_values_cost_steps_and_no_stack() {
    let body = "cjson.decode_max_depth(1e9) cjson.encode_max_depth(1e9)
        local t = {} for _, form in ipairs({{'[', ']'}, {'{\"a\":', '}'}}) do
            for _, n in ipairs({999, 1000, 100000}) do
                local s = form[1]:rep(n) .. '{}' .. form[2]:rep(n)
                local ok, v = pcall(cjson.decode, s)
                t[#t + 1] = ok and cjson.encode(v) == s or v
            end
        end return t";
    let too_many = |at| format!("\"Found too many nested data structures (1001) at character {at}\"");
    let (list, object) = (too_many(1001), too_many(5001));
    assert_eq!(eval(body, BUDGETS), format!("[1, {list}, {list}, 1, {object}, {object}]"));
    for (tag, depth) in [("\\145", 2000), ("\\129\\1", 2000), ("\\145", 1000), ("\\129\\1", 1000)] {
        let body =
            format!("local ok, v = pcall(cmsgpack.unpack, ('{tag}'):rep({depth}) .. '\\1') return type(v)");
        assert_eq!(eval(&body, BUDGETS), if depth == 1000 { "\"table\"" } else { "\"string\"" }, "{tag}");
    }
}

/// The host can hold some thousands of values at once, and panics beyond.
#[test]
fn no_number_of_values_is_too_much_for_the_host() {
    let many = "local t = {} for i = 1, 7990 do t[i] = 'value ' .. i end ";
    for call in [
        "cmsgpack.pack, unpack(t)",
        "cmsgpack.unpack, unpack(t)",
        "struct.pack, ('s'):rep(7990), unpack(t)",
        "struct.unpack, ('s'):rep(7990), ('a\\0'):rep(7990)",
        "cmsgpack.unpack, ('\\161a'):rep(7990)",
        "cmsgpack.unpack, ('\\144'):rep(3999)",
        "cjson.encode, unpack(t)",
        "cjson.encode, t",
        "bit.band, unpack(t)",
        "cjson.decode, cjson.encode(t)",
        "cmsgpack.unpack, cmsgpack.pack(t)",
        "redis.call, 'echo', unpack(t)",
    ] {
        let reply = eval(&format!("{many} return type(select(2, pcall({call})))"), BUDGETS);
        assert!(reply.starts_with('"'), "{call}: {reply}");
    }
}

/// Calls whose time grows with an input that is not copied, with how often they fit into [`FEW_STEPS`] if only what they
/// answer were paid for. Each once did.
fn walks() -> Vec<(&'static str, usize, Vec<u8>)> {
    const LONG: usize = 1 << 20;
    let long = |first: &str, byte: u8, last: &str| {
        [first.as_bytes(), &[byte].repeat(LONG), last.as_bytes()].concat()
    };
    vec![
        ("struct.size, v", 20, long("c", b'0', "1")),
        ("struct.pack, v", 20, long("?", b'x', "")),
        ("struct.unpack, v, ''", 20, long("?", b'x', "")),
        ("cmsgpack.unpack, v", 1, emptied_map(4096, 500)),
        // It fails behind the string, whose text nothing copies any more.
        ("cjson.encode, {v, type}", 5, long("", 0, "")),
        ("cjson.encode, {[v] = type}", 5, long("", 0, "")),
        // A little more than the middle between two doubles.
        (
            "cjson.decode, v",
            1,
            repeated("[", "9007199254740993.0000000000000000000000000000001,", 4000, "1]"),
        ),
        (
            "struct.pack, ('d'):rep(50), unpack(t)",
            150,
            b"9007199254740993.0000000000000000000000000000001".to_vec(),
        ),
    ]
}

fn repeated(first: &str, middle: &str, times: usize, last: &str) -> Vec<u8> {
    format!("{first}{}{last}", middle.repeat(times)).into_bytes()
}

/// A map of so many members in MessagePack, of which one is taken away and another one added so many times.
fn emptied_map(members: i32, rounds: i32) -> Vec<u8> {
    let number = |number: i32| [&[0xd2][..], &number.to_be_bytes()].concat();
    let mut bytes = [&[0xdf][..], &(members + 2 * rounds).to_be_bytes()].concat();
    for i in 1..=members {
        bytes.extend([number(-i), vec![1]].concat());
    }
    for i in 1..=rounds {
        bytes.extend([number(-i), vec![0xc0], number(-members - i), vec![1]].concat());
    }
    bytes
}

#[test]
fn a_nil_in_messagepack_takes_the_place_of_what_was_there() {
    let body = "local t = cmsgpack.unpack(ARGV[1]) return {t.a == nil, t.b, t.c == nil, t.d}";
    // {a = 1, a = nil, b = 1, b = 2, c = nil, d = 1, d = nil, d = 3}
    let map = b"\x88\xa1a\x01\xa1a\xc0\xa1b\x01\xa1b\x02\xa1c\xc0\xa1d\x01\xa1d\xc0\xa1d\x03";
    assert_eq!(eval_with(body, &[Bytes::from_static(map)], BUDGETS), "[1, 2, 1, 3]");
    let body = "local t = cmsgpack.unpack(ARGV[1]) return {t[1], t[2] == nil, t[3], t[4] == nil, #t % 2}";
    assert_eq!(eval_with(body, &[Bytes::from_static(b"\x94\x01\xc0\x03\xc0")], BUDGETS), "[1, 1, 3, 1, 1]");
}

#[test]
fn what_a_call_walks_through_is_paid_for() {
    let is_free = |(call, times, input): &(&str, usize, Vec<u8>)| {
        let body = format!(
            "local v, t = ARGV[1], {{}} for i = 1, 50 do t[i] = v end for i = 1, {times} do pcall({call}) end"
        );
        let reply = eval_with(&body, &[Bytes::from(input.clone())], FEW_STEPS);
        reply != "-ERR script exceeded its budget of 300000 steps"
    };
    let free =
        walks().into_iter().filter(is_free).map(|(call, _, input)| (call, input.len())).collect::<Vec<_>>();
    assert_eq!(free, []);
}

/// With the values alone they take 56,000 and 8,200 steps.
#[test]
fn the_keys_of_json_objects_are_paid_for() {
    let write = "local t = {} for i = 1, 100 do t['k' .. i] = 1 end for i = 1, 20 do cjson.encode(t) end";
    let read = "local v = '{' .. string.rep('\"a\":1,', 1000) .. '\"a\":1}' cjson.decode(v)";
    for (body, too_few, enough) in [(write, 60_000, 75_000), (read, 12_000, 24_000)] {
        let reply = eval(body, Budgets { steps: too_few, ..BUDGETS });
        assert_eq!(reply, format!("-ERR script exceeded its budget of {too_few} steps"), "{body}");
        assert_eq!(eval(body, Budgets { steps: enough, ..BUDGETS }), "nil", "{body}");
    }
}
