//! Scripts on a host that knows five commands: what they answer (`tests/golden/script`), that they are contained,
//! that they end, and that what ran before does not matter.

use std::collections::BTreeMap;
use std::error::Error;

use super::*;

/// A keyspace as small as a host can be.
#[derive(Default)]
struct Mock {
    data: BTreeMap<Bytes, Bytes>,
    saved: Option<BTreeMap<Bytes, Bytes>>,
    read_only: bool,
    rollbacks: usize,
    spent: u64,
}

impl Host for Mock {
    fn call(&mut self, args: Vec<Bytes>) -> Reply {
        let name = args[0].to_ascii_lowercase();
        self.spent = if name == b"wander" { 1_000 } else { 0 };
        let is_write = matches!(name.as_slice(), b"set" | b"del" | b"incr" | b"pexpire");
        if is_write && self.read_only {
            return Reply::error("ERR Write commands are not allowed from read-only scripts.");
        }
        match (name.as_slice(), &args[1..]) {
            (b"ping", []) => Reply::status("PONG"),
            (b"echo", [text]) => Reply::Bulk(text.clone()),
            (b"get", [key]) => self.data.get(key).cloned().map_or(Reply::Null, Reply::Bulk),
            (b"set", [key, value, ..]) => {
                self.data.insert(key.clone(), value.clone());
                Reply::ok()
            }
            (b"del", [key]) => Reply::flag(self.data.remove(key).is_some()),
            (b"pexpire", [key, _]) => Reply::flag(self.data.contains_key(key)),
            (b"incr", [key]) => {
                let number = self.data.get(key).map_or(Some(0), |text| crate::integer::parse(text));
                let Some(number) = number else { return Reply::not_an_integer() };
                self.data.insert(key.clone(), Bytes::from((number + 1).to_string()));
                Reply::Integer(number + 1)
            }
            (b"kinds", []) => Reply::Map(vec![
                (Reply::bulk("double"), Reply::Double(1.5)),
                (Reply::bulk("true"), Reply::Boolean(true)),
                (Reply::bulk("null"), Reply::Null),
                (Reply::bulk("set"), Reply::Set(vec![Reply::Integer(2), Reply::Integer(1)])),
                (Reply::bulk("big"), Reply::BigNumber(Bytes::from_static(b"123456789012345678901"))),
                (Reply::bulk("text"), Reply::Verbatim(Bytes::from_static(b"hello"))),
                (Reply::bulk("list"), Reply::Array(vec![Reply::ok(), Reply::Null, Reply::error("ERR in")])),
                (Reply::bulk("pairs"), Reply::Pairs(vec![(Reply::Integer(1), Reply::Double(0.1))])),
            ]),
            (b"large", [size]) => {
                let size = crate::integer::parse(size).and_then(|size| usize::try_from(size).ok());
                Reply::Bulk(Bytes::from(vec![b'x'; size.unwrap_or(0)]))
            }
            _ => Reply::error("ERR Unknown Redis command called from script"),
        }
    }

    fn price(&self, args: &[Bytes]) -> u64 {
        if &args[0][..] == b"dear" { 1_000 } else { 0 }
    }

    fn spent(&self) -> u64 {
        self.spent
    }

    fn forbid_writes(&mut self) {
        self.read_only = true;
    }

    fn checkpoint(&mut self) {
        self.saved = Some(self.data.clone());
    }

    fn commit(&mut self) {
        self.saved = None;
    }

    fn rollback(&mut self) {
        self.data = self.saved.take().expect("a checkpoint comes first");
        self.rollbacks += 1;
    }
}

pub(super) const BUDGETS: Budgets = Budgets { steps: 10_000_000, memory_bytes: 64 << 20 };
/// The worst of scripts take some tenths of a second for as many steps.
pub(super) const FEW_STEPS: Budgets = Budgets { steps: 300_000, memory_bytes: 64 << 20 };
/// So many steps that memory ends first.
const LITTLE_MEMORY: Budgets = Budgets { steps: 1 << 40, memory_bytes: 16 << 20 };

fn run_on(host: &mut Mock, body: &str, keys: &[Bytes], args: &[Bytes], budgets: Budgets) -> Reply {
    let body = body.as_bytes();
    run(&Invocation { sha: script_sha(body), body, keys, args }, budgets, host)
}

pub(super) fn eval(body: &str, budgets: Budgets) -> String {
    eval_with(body, &[], budgets)
}

/// What a script answers that is called with these arguments and no keys.
pub(super) fn eval_with(body: &str, args: &[Bytes], budgets: Budgets) -> String {
    notation(&run_on(&mut Mock::default(), body, &[], args, budgets))
}

/// A reply in one line.
fn notation(reply: &Reply) -> String {
    let text = |text: &[u8]| text.escape_ascii().to_string();
    let list = |elements: &[Reply]| elements.iter().map(notation).collect::<Vec<_>>().join(", ");
    match reply {
        Reply::Null | Reply::NullArray => "nil".into(),
        Reply::Status(status) => format!("+{}", text(status)),
        // The digest is of no interest, and the same for every error of a script.
        Reply::Error(error) => format!("-{}", without_digest(&text(error))),
        Reply::Integer(number) => number.to_string(),
        Reply::Bulk(bytes) => format!("\"{}\"", text(bytes)),
        Reply::Array(elements) | Reply::Push(elements) => format!("[{}]", list(elements)),
        Reply::Map(pairs) => {
            let pairs = pairs.iter().map(|(key, value)| format!("{}: {}", notation(key), notation(value)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
        }
        Reply::Pairs(pairs) => {
            let pairs =
                pairs.iter().map(|(first, second)| format!("({}, {})", notation(first), notation(second)));
            format!("[{}]", pairs.collect::<Vec<_>>().join(", "))
        }
        Reply::Set(elements) => format!("set({})", list(elements)),
        Reply::Double(number) => format!("double({number})"),
        Reply::Boolean(value) => value.to_string(),
        Reply::BigNumber(digits) => format!("big({})", text(digits)),
        Reply::Verbatim(string) => format!("verbatim({})", text(string)),
    }
}

fn without_digest(error: &str) -> String {
    match error.split_once(" script: ") {
        Some((before, after))
            if after.len() > 40 && after.as_bytes()[..40].iter().all(u8::is_ascii_hexdigit) =>
        {
            format!("{before} script: <sha>{}", &after[40..])
        }
        _ => error.to_owned(),
    }
}

/// `eval "script" keys=a/b args=c/d`, and `eval_ro` alike.
struct Evaluate {
    body: String,
    keys: Vec<Bytes>,
    args: Vec<Bytes>,
    read_only: bool,
}

impl TryFrom<&goldenscript::Command> for Evaluate {
    type Error = Box<dyn Error>;

    fn try_from(command: &goldenscript::Command) -> Result<Self, Self::Error> {
        let read_only = match command.name.as_str() {
            "eval" => false,
            "eval_ro" => true,
            name => return Err(format!("unknown command {name}").into()),
        };
        let mut given = command.consume_args();
        let body = given.next_pos().ok_or("a script is missing")?.to_owned();
        let keys = given.take_key("keys").map(split).unwrap_or_default();
        let args = given.take_key("args").map(split).unwrap_or_default();
        given.reject_next()?;
        Ok(Self { body, keys, args, read_only })
    }
}

#[derive(Default)]
struct Golden {
    host: Mock,
}

impl goldenscript::Runner for Golden {
    type Command = Evaluate;

    fn run(&mut self, command: &Evaluate, _: &goldenscript::Context) -> Result<String, Box<dyn Error>> {
        self.host.read_only = command.read_only;
        let reply = run_on(&mut self.host, &command.body, &command.keys, &command.args, BUDGETS);
        Ok(format!("{}\n", notation(&reply)))
    }
}

fn split(list: &str) -> Vec<Bytes> {
    list.split('/').map(|part| Bytes::copy_from_slice(part.as_bytes())).collect()
}

fn golden(name: &str) {
    let path = format!("{}/tests/golden/script/{name}", env!("CARGO_MANIFEST_DIR"));
    goldenscript::run(&mut Golden::default(), path).expect("the file is readable");
}

#[test]
fn replies_are_converted_as_redis_converts_them() {
    golden("replies");
}

#[test]
fn errors_have_the_texts_that_clients_match_on() {
    golden("errors");
}

#[test]
fn the_stock_lock_scripts_do_what_they_do_on_redis() {
    golden("locks");
}

#[test]
fn the_language_is_lua_5_1_as_far_as_scripts_need_it() {
    golden("language");
}

#[test]
fn the_libraries_of_redis_write_and_read_its_formats() {
    golden("libraries");
}

/// Hazard 35: CVE-2022-0543 and its kin.
#[test]
fn no_script_gets_out_of_its_sandbox() {
    golden("escapes");
}

/// Each needs more than its budget in a way of its own; none may take long.
const ENDLESS: &[(&str, &str)] = &[
    ("a loop", "while true do end"),
    ("a loop that catches errors", "while true do pcall(function() while true do end end) end"),
    ("a handler of errors that loops", "xpcall(error, function() while true do end end)"),
    ("repeat", "repeat local x = {} until false"),
    (
        "a loop in a coroutine",
        "coroutine.wrap(function() while true do coroutine.yield() end end)() while true do end",
    ),
    (
        "a loop in resumed coroutines",
        "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
    ),
    (
        "mutual recursion",
        "local f, g f = function() pcall(g) end g = function() pcall(f) end while true do f() end",
    ),
    ("matching that backtracks", "return string.find(string.rep('a', 50000), string.rep('a*', 60) .. 'b')"),
    ("lazy matching", "return string.match(string.rep('a', 100000), '.-.-.-.-b')"),
    ("substitution that backtracks", "return string.gsub(string.rep('a', 5000), '.-.-.-b', '')"),
    ("a plain search", "local n = string.rep('a', 1000000) return string.find(n .. n, n .. 'b', 1, true)"),
    ("balanced brackets", "return string.match(string.rep('(', 100000), '%b()')"),
    (
        "sorting long strings",
        "local a = string.rep('a', 4000000) local t = {} for i = 1, 1000 do t[i] = a end table.sort(t)",
    ),
    ("what it returns", "local t = {1, 2, 3, 4} for i = 1, 9 do t = {t, t, t, t} end return t"),
    ("iterated matching", "for w in string.gmatch(string.rep('a', 100000), '.-.-b') do end"),
    ("sorting", "local t = {} for i = 1, 100000 do t[i] = i % 1000 end while true do table.sort(t) end"),
    (
        "sorting by a function",
        "local t = {} for i = 1, 1000000 do t[i] = i end table.sort(t, function(a, b) return a > b end)",
    ),
    (
        "comparing long strings",
        "local a = string.rep('a', 4000000) local b, c = a .. 'b', a .. 'c' while true do local x = b < c end",
    ),
    (
        "rehashing",
        "local t = {} for i = 1, 65536 do t['k' .. i] = 1 end local i = 65536 while true do t['k' .. i] = nil i = i + 1 t['k' .. i] = 1 end",
    ),
    ("insertion in front", "local t = {} while true do table.insert(t, 1, 1) end"),
    ("writing JSON", "local t = {1, 2, 3} for i = 1, 20 do t = {t, t} end return cjson.encode(t)"),
    ("writing a long string", "local s = string.rep('\\0', 1000000) while true do cjson.encode(s) end"),
    (
        "escaping a long string in vain",
        "local s = string.rep('\\0', 1000000) while true do pcall(cjson.encode, {s, type}) end",
    ),
    ("writing holes", "cjson.encode_sparse_array(false, 0) return cjson.encode({[2147483647] = 1})"),
    (
        "writing objects in order",
        "local t = {} for i = 1, 5000 do t['k' .. i * 7919 % 5000] = i end while true do cjson.encode(t) end",
    ),
    (
        "reading JSON",
        "local s = '[' .. string.rep('1,', 100000) .. '1]' while true do local ok = pcall(cjson.decode, s) end",
    ),
    (
        "reading numbers that take all their digits",
        "local s = '[' .. string.rep('2.22507385850720113605740979670913197593481954635164564e-308,', 1000) .. '1]' while true do cjson.decode(s) end",
    ),
    ("reading blanks", "local s = string.rep(' ', 1000000) while true do pcall(cjson.decode, s) end"),
    ("writing MessagePack", "local t = {} for i = 1, 8 do t[i] = t end return cmsgpack.pack(t)"),
    (
        "reading MessagePack",
        "local s = '\\220\\255\\255' .. string.rep('\\1', 65535) while true do cmsgpack.unpack(s) end",
    ),
    (
        "a format of one long number",
        "local f = 'c' .. string.rep('0', 1000000) .. '1' while true do struct.size(f) end",
    ),
    (
        "a long format that is wrong at once",
        "local f = '?' .. string.rep('x', 1000000) while true do pcall(struct.pack, f) end",
    ),
    ("packing", "local f = string.rep('i', 10000) while true do pcall(struct.pack, f, 1) struct.size(f) end"),
    (
        "unpacking",
        "local f, s = string.rep('b', 3000), string.rep('a', 3000) while true do struct.unpack(f, s) end",
    ),
    ("digests", "local s = string.rep('a', 4000000) while true do redis.sha1hex(s) end"),
    ("commands", "while true do redis.call('ping') end"),
    ("commands that cost much", "for i = 1, 1000 do redis.pcall('dear') end"),
    ("commands that turn out to cost much", "for i = 1, 1000 do redis.pcall('wander') end"),
    ("commands that fail", "while true do redis.pcall('nosuch') end"),
    ("iteration", "local t = {} for i = 1, 10000 do t[i] = i end while true do next(t) end"),
    (
        "varargs",
        "local t = {} for i = 1, 7000 do t[i] = i end local function f(...) return select('#', ...) end while true do f(unpack(t)) end",
    ),
    ("garbage", "while true do local s = string.rep('a', 1000000) .. 'b' end"),
];

#[test]
fn a_long_pattern_is_refused_and_a_plain_search_is_not() {
    for call in ["find(s, p)", "match(s, p)", "gsub(s, p, '')", "gmatch(s, p)"] {
        let body = format!("local s, p = 'a', string.rep('a', 257) return string.{call}");
        let reply = eval(&body, BUDGETS);
        assert!(reply.contains("' is longer than 256 bytes"), "{body}: {reply}");
    }
    let body = "local p = string.rep('a', 257) return string.find('b' .. p, p, 1, true)";
    assert_eq!(eval(body, BUDGETS), "2");
}

/// A fresh VM costs many times what such a script does.
#[test]
fn lock_scripts_stay_in_the_warm_vm_under_the_default_budget() {
    let steps = crate::settings::Limits::default().script_steps_max;
    let budgets = Budgets { steps, ..BUDGETS };
    for body in [
        "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end",
        "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], 10000) else return 0 end",
        "for i, key in ipairs(KEYS) do if redis.call('get', key) then return 0 end end return redis.call('set', KEYS[1], ARGV[1])",
    ] {
        let mut host = Mock::default();
        let [key, holder] = ["lock", "holder"].map(Bytes::from);
        host.data.insert(key.clone(), holder.clone());
        run_on(&mut host, body, &[key], &[holder], budgets);
        assert_eq!(host.rollbacks, 0, "{body}");
    }
}

/// Each needs more memory than there is.
const BOUNDLESS: &[(&str, &str)] = &[
    ("one string", "return string.rep('a', 1e9)"),
    ("doubled strings", "local s = 'a' while true do s = s .. s end"),
    ("a table", "local t = {} for i = 1, 1e9 do t[i] = i end"),
    ("strings in a table", "local t = {} for i = 1, 1e9 do t[i] = string.rep('a', 10000) .. i end"),
    ("nested tables", "local t = {} while true do t = {t, {}, {}, {}, {}, {}, {}, {}} end"),
    (
        "table.concat",
        "local s, t = string.rep('a', 1000000), {} for i = 1, 1000 do t[i] = s end return table.concat(t)",
    ),
    ("string.gsub", "local s = string.rep('a', 10000) return string.gsub(s, 'a', s)"),
    (
        "string.format",
        "local s = string.rep('a', 10000000) return string.format(string.rep('%s', 100), unpack((function() local t = {} for i = 1, 100 do t[i] = s end return t end)()))",
    ),
    (
        "arguments of a command",
        "local s, t = string.rep('a', 1000000), {'echo'} for i = 1, 1000 do t[#t + 1] = s end redis.call(unpack(t))",
    ),
    ("the reply of a command", "return redis.call('large', 100000000)"),
    (
        "JSON",
        "local s, t = string.rep('a', 1000000), {} for i = 1, 1000 do t[i] = s end return cjson.encode(t)",
    ),
    (
        "MessagePack",
        "local s, t = string.rep('a', 1000000), {} for i = 1, 1000 do t[i] = s end return cmsgpack.pack(t)",
    ),
    (
        "a structure",
        "return struct.pack(string.rep('s', 1000), unpack((function() local s, t = string.rep('a', 1000000), {} for i = 1, 1000 do t[i] = s end return t end)()))",
    ),
    ("a key of JSON", "return cjson.encode({[string.rep('\\0', 3000000)] = type})"),
    ("tables of JSON", "return cjson.decode('[' .. string.rep('{},', 500000) .. '{}]')"),
    (
        "tables of MessagePack",
        "return {cmsgpack.unpack('\\221\\0\\15\\0\\0' .. string.rep('\\144', 983040))}",
    ),
    ("what it returns", "local s, t = string.rep('a', 1000000), {} for i = 1, 1000 do t[i] = s end return t"),
    ("tables that share tables", "local t = {1, 2} for i = 1, 60 do t = {t, t} end return t"),
    (
        "caught errors",
        "local t = {} while true do pcall(function() for i = 1, 1e9 do t[#t + 1] = string.rep('a', 10000) .. i end end) end",
    ),
    ("caught errors of one function", "while true do pcall(string.rep, 'a', 1e9) end"),
    (
        "caught errors in coroutines",
        "while true do coroutine.resume(coroutine.create(string.rep), 'a', 1e9) end",
    ),
    (
        "coroutines",
        "local t = {} while true do local co = coroutine.create(function() coroutine.yield() end) coroutine.resume(co) t[#t + 1] = co end",
    ),
];

#[test]
fn every_script_that_would_not_end_is_ended() {
    for (name, body) in ENDLESS {
        let reply = eval(body, FEW_STEPS);
        assert_eq!(reply, "-ERR script exceeded its budget of 300000 steps", "{name}");
    }
}

/// A step is worth some 60 ns at most, and a plain loop takes a third of that for one; the rest is for a build without
/// optimisation. What was not paid for has taken hundreds of times as long as a loop, and more.
const LOOPS_MAX: u32 = 40;

/// How many times as long as a plain loop a script takes for its steps; the least of some attempts, since other processes
/// only ever lengthen it.
fn loops(body: &str, args: &[Bytes], budgets: Budgets) -> u32 {
    let time = |body: &str, args: &[Bytes]| {
        let begun = std::time::Instant::now();
        let reply = eval_with(body, args, budgets);
        assert!(reply.starts_with("-ERR script exceeded its budget"), "{body}: {reply}");
        begun.elapsed().as_nanos()
    };
    let mut least = u32::MAX;
    for _ in 0..5 {
        let plain = time("while true do end", &[]).max(1);
        least = least.min(u32::try_from(time(body, args) / plain).unwrap_or(u32::MAX));
        if least <= LOOPS_MAX {
            break;
        }
    }
    least
}

#[test]
fn no_script_takes_much_longer_for_its_steps_than_a_loop() {
    for (name, body) in ENDLESS {
        let loops = loops(body, &[], FEW_STEPS);
        assert!(loops <= LOOPS_MAX, "{name} takes {loops} times as long as a loop");
    }
}

#[test]
fn every_script_that_would_take_all_memory_is_ended() {
    for (name, body) in BOUNDLESS {
        let reply = eval(body, LITTLE_MEMORY);
        assert_eq!(reply, "-ERR script exceeded its budget of 16777216 bytes", "{name}");
    }
}

#[test]
fn recursion_without_end_is_an_error_of_the_script() {
    for body in [
        "local function f() return f() + 1 end return f()",
        "local t = setmetatable({}, {}) getmetatable(t).__index = function(t, k) return t[k] end return t.x",
        "local function f() return string.gsub('a', 'a', f) end return f()",
        "local function f() return coroutine.wrap(f)() end return f()",
        "local function f() table.sort({1, 2}, f) end return f()",
    ] {
        let reply = eval(body, BUDGETS);
        assert!(reply.starts_with("-ERR ") && reply.contains("stack overflow"), "{body}: {reply}");
    }
}

#[test]
fn tables_nested_too_deeply_end_in_an_error_inside() {
    let reply = run_on(&mut Mock::default(), "local t = {} t[1] = t return t", &[], &[], BUDGETS);
    assert!(reply.depth() < Reply::DEPTH_MAX);
    assert!(notation(&reply).contains("-ERR reached lua stack limit"));
}

#[test]
fn what_a_script_wrote_before_its_budget_ended_stays_and_is_done_once() {
    let mut host = Mock::default();
    let body = "redis.call('incr', 'n') while true do end";
    let reply = run_on(&mut host, body, &[], &[], FEW_STEPS);
    assert_eq!(notation(&reply), "-ERR script exceeded its budget of 300000 steps");
    assert_eq!(host.rollbacks, 1, "the warm run was undone");
    assert_eq!(host.data.get(&b"n"[..]), Some(&Bytes::from_static(b"1")));
}

#[test]
fn a_panic_of_the_host_goes_through_a_script_that_catches_everything() {
    struct Panicking;
    impl Host for Panicking {
        fn call(&mut self, _: Vec<Bytes>) -> Reply {
            panic!("an invariant is broken");
        }
        fn price(&self, _: &[Bytes]) -> u64 {
            0
        }
        fn spent(&self) -> u64 {
            0
        }
        fn forbid_writes(&mut self) {}
        fn checkpoint(&mut self) {}
        fn commit(&mut self) {}
        fn rollback(&mut self) {}
    }
    let body = b"pcall(redis.pcall, 'x') pcall(function() redis.call('x') end) return 'survived'";
    let invocation = Invocation { sha: script_sha(body), body, keys: &[], args: &[] };
    let result = std::panic::catch_unwind(|| run(&invocation, BUDGETS, &mut Panicking));
    assert!(result.is_err(), "the panic was swallowed: {result:?}");
    assert_eq!(eval("return 1", BUDGETS), "1", "and the next script runs");
}

/// Scripts whose cost lies around the budgets of a warm VM, by a number.
const SIZED: &[&str] = &[
    "local n = 0 for i = 1, N do n = n + i end return n",
    "local t = {} for i = 1, N do t[i] = i end return #cjson.encode(cjson.decode(cjson.encode(t)))",
    "local t = {} for i = 1, N do t['k' .. i] = i .. '' end return #cmsgpack.pack(cmsgpack.unpack(cmsgpack.pack(t)))",
    "local t = {} for i = 1, N do t[i] = i .. '' end return #t",
    "local s = string.rep('x', N * 8) redis.call('set', 'k', s) return #s",
    "redis.call('set', 'n', 0) for i = 1, N do redis.call('incr', 'n') end return redis.call('get', 'n')",
    "local w = setmetatable({}, {__mode = 'v'}) for i = 1, N do w[i] = {i} end local n = 0 for k in pairs(w) do n = n + k end return n",
    "local t = {} for i = 1, N do t['key' .. i % 1000] = string.rep('v', i % 100) .. i end local o = 0 for k, v in pairs(t) do o = o + #v end return o",
    "local ok, e = pcall(function() local t = {} for i = 1, N do t[i] = string.rep('y', i) .. 'z' end return #t end) return {tostring(ok), tostring(e)}",
];

/// Every script of the golden files.
fn corpus() -> Vec<String> {
    let mut scripts = Vec::new();
    for name in ["replies", "errors", "locks", "language", "escapes"] {
        let path = format!("{}/tests/golden/script/{name}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).expect("the golden file is readable");
        let quoted = text.lines().filter_map(|line| line.strip_prefix("eval \"")?.rsplit_once('"'));
        scripts.extend(
            quoted.map(|(script, _)| script.replace("\\n", "\n").replace("\\\"", "\"").replace("\\\\", "\\")),
        );
    }
    scripts
}

/// Scripts that ask which functions are one and the same: by comparing them, and as keys.
const IDENTITIES: &[&str] = &[
    "local t = {} local function mk() return function() return t end end return tostring(mk() == mk())",
    "local function mk() return function() return 1 end end return tostring(mk() == mk())",
    "local function mk() return function() return KEYS, ARGV end end return tostring(mk() == mk())",
    "local t, seen, n = {}, {}, 0 for i = 1, 5 do seen[function() return t end] = i end return #t",
    "local t, seen, n = {}, {}, 0 for i = 1, 5 do local f = function() return t end if not seen[f] then seen[f] = true n = n + 1 end end return n",
    "local t, last, n = {}, nil, 0 for i = 1, 5 do local f = function() return function() return t end end if f() == last then n = n + 1 end last = f() end return n",
    "local f = function() return KEYS end local w = setmetatable({}, {__mode = 'k'}) w[f] = 1 return w[function() return KEYS end] or 0",
    "local n = 0 local function mk() return function() n = n + 1 return n end end local a, b = mk(), mk() a() return {b(), tostring(a == b)}",
];

/// Reply and data after a run in a fresh VM, whatever a warm one would say.
fn in_fresh_vm(body: &str) -> (Reply, Mock) {
    let mut host = Mock::default();
    let invocation =
        Invocation { sha: script_sha(body.as_bytes()), body: body.as_bytes(), keys: &[], args: &[] };
    let program = Programs::default().get(invocation.sha, invocation.body);
    let reply = match program {
        Ok(program) => {
            host.read_only = program.is_read_only;
            run_fresh(&program, &invocation, FEW_STEPS, &mut host)
        }
        Err(reply) => reply,
    };
    (reply, host)
}

/// Luau shares closures that capture nothing changeable, and the function that holds them remembers the last one.
#[test]
fn functions_are_as_equal_in_the_hundredth_run_as_in_the_first() {
    for body in IDENTITIES {
        let fresh = notation(&in_fresh_vm(body).0);
        for _ in 0..100 {
            assert_eq!(eval(body, BUDGETS), fresh, "{body}");
        }
    }
}

/// What can stand between two words: whatever two readers of Lua could understand differently.
pub(super) const NOISE: &[&str] = &[
    "--",
    "\r",
    "\n",
    "\r\n",
    " ",
    "\t",
    "\x0b",
    "\x0c",
    "[[",
    "]]",
    "[=[",
    "]=]",
    "--[[",
    "--[=[",
    "--[",
    "-",
    "[",
    "]",
    "'",
    "\"",
    "\\",
    "\\z",
    "`",
    ";",
    "local x = 'a' ",
    "local y = [[b]] ",
    "local z = \"\\\"\" ",
    "x = 1 ",
    "\0",
    "#",
    "\u{a0}",
    "\u{2028}",
    "do ",
    "end ",
    "--!optimize 2",
];

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(4096))]

    /// A bare table is never walked, wherever comments, strings and line breaks stand.
    #[test]
    fn no_text_hides_a_loop_from_its_guard(
        noise in proptest::collection::vec((0_usize..7, 0_usize..NOISE.len()), 0..8),
    ) {
        let words = ["local t, x = {1} ", " for", " k", " in", " t", " do return k and 'walked'", " end", ""];
        let mut body = words[0].to_owned();
        for (place, word) in words.iter().enumerate().skip(1) {
            noise.iter().filter(|(at, _)| at + 1 == place).for_each(|(_, which)| body.push_str(NOISE[*which]));
            body.push_str(word);
        }
        let reply = eval(&body, FEW_STEPS);
        proptest::prop_assert_ne!(reply, "\"walked\"", "{}", body.escape_debug());
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(32))]

    /// Whatever ran before in the warm VM, a script gives what it gives in a fresh one.
    #[test]
    fn no_history_of_a_vm_shows_in_a_reply(
        choices in proptest::collection::vec((0_usize..(SIZED.len() + IDENTITIES.len()) * 2, 0_u32..40_000, 0_u32..10), 1..24),
    ) {
        let corpus = corpus();
        for (which, number, shift) in choices {
            let body = match SIZED.get(which) {
                Some(template) => template.replace('N', &(number >> shift).to_string()),
                None if which < SIZED.len() + IDENTITIES.len() => IDENTITIES[which - SIZED.len()].into(),
                None => corpus[number as usize % corpus.len()].clone(),
            };
            let mut host = Mock::default();
            let warm = run_on(&mut host, &body, &[], &[], FEW_STEPS);
            let (fresh, fresh_host) = in_fresh_vm(&body);
            proptest::prop_assert_eq!(notation(&warm), notation(&fresh), "{}", body);
            proptest::prop_assert_eq!(host.data, fresh_host.data, "{}", body);
        }
    }
}
