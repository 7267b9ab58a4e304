//! From a script's text to bytecode: shebang line, compile errors, guards.

use mlua::Error;
use mlua::chunk::Compiler;

use super::guards;
use super::programs::Program;
use crate::reply::Reply;

/// A text that is longer than this is refused: what stands between two steps is as long as the text at most, and
/// compiling happens within apply.
pub(super) const SCRIPT_BYTES_MAX: usize = 64 << 10;
/// How a script is called in messages, and told from the sandbox's own code. Redis's clients know this name.
pub(super) const CHUNK_NAME: &str = "user_script";

/// Compiles a script, or answers why not.
pub(super) fn compile(body: &[u8]) -> Result<Program, Reply> {
    if body.len() > SCRIPT_BYTES_MAX {
        return Err(Reply::error_text(format!("ERR script is longer than {SCRIPT_BYTES_MAX} bytes")));
    }
    let (is_read_only, source) = shebang(body)?;
    bytecode(source)?;
    let guarded = guards::guard(source)
        .map_err(|(line, reason)| compile_error(&format!("{CHUNK_NAME}:{line}: {reason}")))?;
    // Redis has these two as globals, but here nothing global may change from one script to the next.
    let with_arguments = [b"local KEYS, ARGV = ... ", guarded.as_slice()].concat();
    Ok(Program { bytecode: bytecode(&with_arguments)?, is_read_only })
}

/// What compiles all that runs in a VM. A level further, Luau puts the bodies of functions in the place of calls, which
/// then are no steps any more.
pub(super) fn compiler() -> Compiler {
    Compiler::new().set_optimization_level(1)
}

fn bytecode(source: &[u8]) -> Result<Vec<u8>, Reply> {
    compiler().compile(source).map_err(|error| match error {
        Error::SyntaxError { message, .. } => {
            compile_error(&format!("{CHUNK_NAME}:{}", message.trim_start_matches(':')))
        }
        other => compile_error(&other.to_string()),
    })
}

fn compile_error(message: &str) -> Reply {
    Reply::error_text(format!("ERR Error compiling script (new function): {message}"))
}

/// Reads `#!lua flags=..`, and leaves of that line only its end, so that line numbers stay.
fn shebang(body: &[u8]) -> Result<(bool, &[u8]), Reply> {
    if !body.starts_with(b"#!") {
        return Ok((false, body));
    }
    let Some(end) = body.iter().position(|byte| *byte == b'\n') else {
        return Err(Reply::error("ERR Invalid script shebang"));
    };
    let line = String::from_utf8_lossy(&body[..end]);
    let mut words = line.split_ascii_whitespace();
    let engine = words.next().unwrap_or_default();
    if engine != "#!lua" {
        return Err(Reply::error_text(format!("ERR Unexpected engine in script shebang: {engine}")));
    }
    let mut is_read_only = false;
    for word in words {
        let Some(flags) = word.strip_prefix("flags=") else {
            return Err(Reply::error_text(format!("ERR Unknown lua shebang option: {word}")));
        };
        for flag in flags.split(',').filter(|flag| !flag.is_empty()) {
            match flag {
                "no-writes" => is_read_only = true,
                // Promises and permissions about states that a node here is never in.
                "allow-oom" | "allow-stale" | "no-cluster" | "allow-cross-slot-keys" => {}
                _ => {
                    let text = format!("ERR Unexpected flag in script shebang: {flag}");
                    return Err(Reply::error_text(text));
                }
            }
        }
    }
    Ok((is_read_only, &body[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(body: &str) -> String {
        match compile(body.as_bytes()) {
            Err(Reply::Error(text)) => String::from_utf8_lossy(&text).into_owned(),
            other => panic!("{body} was compiled: {other:?}"),
        }
    }

    #[test]
    fn shebang_lines_are_read_as_redis_reads_them() {
        assert!(!compile(b"#!lua\nreturn 1").expect("valid").is_read_only);
        assert!(compile(b"#!lua flags=no-writes,allow-stale\nreturn 1").expect("valid").is_read_only);
        assert_eq!(error("#!lua"), "ERR Invalid script shebang");
        assert_eq!(error("#!py\nreturn 1"), "ERR Unexpected engine in script shebang: #!py");
        assert_eq!(error("#!lua name=x\nreturn 1"), "ERR Unknown lua shebang option: name=x");
        assert_eq!(error("#!lua flags=bad\nreturn 1"), "ERR Unexpected flag in script shebang: bad");
    }

    #[test]
    fn a_compile_error_names_the_line() {
        let text = error("\nlocal a = = 1");
        assert!(text.starts_with("ERR Error compiling script (new function): user_script:2: "), "{text}");
        let text = error("\nreturn if x then y else z");
        assert_eq!(
            text,
            "ERR Error compiling script (new function): user_script:2: 'if' cannot be used as an expression"
        );
    }

    #[test]
    fn deeply_nested_source_is_a_compile_error() {
        for nested in ["(".repeat(20_000), "{".repeat(20_000), "a.".repeat(20_000), "do ".repeat(20_000)] {
            assert!(error(&format!("return {nested}")).starts_with("ERR Error compiling"));
        }
        assert!(error(&"-".repeat(SCRIPT_BYTES_MAX + 1)).starts_with("ERR script is longer"));
    }
}
