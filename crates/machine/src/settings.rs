//! The limits that apply depends on. They are replicated: part of the machine's state and of its snapshots,
//! changed by `CONFIG SET` through the log, so that every replica reaches the same verdict.

use crate::error::Error;
use crate::notification::Classes;
use crate::wire::{Decoder, Encoder};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The replicated limits.
///
/// The defaults are those of a new cluster. A machine that is given others must be given the same ones on every
/// member, since they count from the first entry on: to change them in a running cluster is `CONFIG SET`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `maxmemory`: bytes of keys, values and what holds them; 0 is no limit. Beyond it a command that may add
    /// data answers an error and changes nothing.
    pub data_bytes_max: u64,
    /// `proto-max-bulk-len`: bytes of a value, also of one that grows by APPEND or SETRANGE.
    pub value_bytes_max: u64,
    /// `quorate-script-steps`: how many calls, returns and turns of loops a script may take. A million is
    /// up to 0.1 s of the shard's time.
    pub script_steps_max: u64,
    /// `quorate-script-memory`: bytes that a script may allocate.
    pub script_memory_bytes_max: u64,
    /// `quorate-script-cache-scripts`: scripts that EVALSHA finds; beyond it the longest unused goes.
    pub script_cache_scripts_max: u64,
    /// `quorate-script-cache-bytes`: bytes of all cached scripts; beyond it the longest unused goes.
    pub script_cache_bytes_max: u64,
    /// `quorate-sessions`: nodes with an open session; beyond it the longest idle is closed.
    pub sessions_max: u64,
    /// `quorate-session-replies`: replies retained for a session; beyond it the oldest is forgotten.
    pub session_replies_max: u64,
    /// `quorate-session-reply-bytes`: bytes of the replies retained for a session; beyond it the oldest goes.
    pub session_reply_bytes_max: u64,
    /// `quorate-reclaim-keys`: expired keys that are freed with each entry. Freeing one takes about a microsecond.
    pub reclaim_keys_max: u64,
    /// `quorate-collection-bytes`: bytes of a list, hash, set or sorted set. A snapshot draws one in a frame of
    /// its own or with what there is before it, some 64 KiB, so that it needs as much memory again for a moment.
    pub collection_bytes_max: u64,
    /// `quorate-waiting-bytes`: bytes of all commands that wait, with their keys. Beyond it a command that would have
    /// to wait answers an error.
    pub waiting_bytes_max: u64,
    /// `quorate-requests`: answers remembered for those who ask under the same name again; beyond it the oldest goes.
    pub requests_max: u64,
    /// `quorate-request-ms`: for how long they are, in milliseconds.
    pub request_ms: u64,
    /// `quorate-client-sessions`: sessions that clients have opened; beyond it SESSION OPEN answers an error.
    pub client_sessions_max: u64,
    /// `notify-keyspace-events`: of which events keyspace notifications are sent, as bits; 0 is none.
    pub notified_events: u64,
}

impl Default for Limits {
    fn default() -> Self {
        let mut limits = Self {
            data_bytes_max: 0,
            value_bytes_max: 0,
            script_steps_max: 0,
            script_memory_bytes_max: 0,
            script_cache_scripts_max: 0,
            script_cache_bytes_max: 0,
            sessions_max: 0,
            session_replies_max: 0,
            session_reply_bytes_max: 0,
            reclaim_keys_max: 0,
            collection_bytes_max: 0,
            waiting_bytes_max: 0,
            requests_max: 0,
            request_ms: 0,
            client_sessions_max: 0,
            notified_events: 0,
        };
        for setting in SETTINGS {
            *(setting.of_mut)(&mut limits) = setting.default;
        }
        limits
    }
}

/// How the value of a setting is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// In decimal digits.
    Number,
    /// So, too, but a unit may be given, as in `64mb`.
    Memory,
    /// As letters for classes of events.
    Events,
}

/// One replicated setting, as CONFIG names it.
#[derive(Debug)]
pub struct Setting {
    /// As in `CONFIG GET name`.
    pub name: &'static str,
    /// What a new cluster has.
    pub default: u64,
    /// The least allowed value.
    pub min: u64,
    /// The greatest allowed value.
    pub max: u64,
    /// How its value is written.
    pub form: Form,
    /// What it limits, and what happens at the limit.
    pub summary: &'static str,
    of: fn(&Limits) -> &u64,
    of_mut: fn(&mut Limits) -> &mut u64,
}

macro_rules! setting {
    ($field:ident, $name:literal, $default:expr, $range:expr, form: $form:ident, $summary:literal) => {
        Setting {
            name: $name,
            default: $default,
            min: *$range.start(),
            max: *$range.end(),
            form: Form::$form,
            summary: $summary,
            of: |limits| &limits.$field,
            of_mut: |limits| &mut limits.$field,
        }
    };
}

/// Every replicated setting, in the order of CONFIG GET. Also the order in snapshots: new ones go last.
pub const SETTINGS: &[Setting] = &[
    setting!(data_bytes_max, "maxmemory", GIB, 0..=u64::MAX, form: Memory,
        "Bytes of data; 0 is no limit. Beyond it writes that may add data answer an OOM error."),
    setting!(value_bytes_max, "proto-max-bulk-len", 16 * MIB, KIB..=512 * MIB, form: Memory,
        "Bytes of one value. A write that would exceed it answers an error."),
    setting!(script_steps_max, "quorate-script-steps", 6_000_000, 1_000..=10_000_000_000, form: Number,
        "Steps of one script: calls, returns, turns of loops. A script that needs more answers an error. A million takes some 60 ms in a plain loop, and up to 0.1 s in the worst of scripts, during which its node does nothing else."),
    setting!(script_memory_bytes_max, "quorate-script-memory", 32 * MIB, MIB..=GIB, form: Memory,
        "Bytes that one script may allocate. A script that needs more answers an error."),
    setting!(script_cache_scripts_max, "quorate-script-cache-scripts", 1024, 1..=1 << 20, form: Number,
        "Scripts that EVALSHA finds. Beyond it the longest unused is forgotten."),
    setting!(script_cache_bytes_max, "quorate-script-cache-bytes", 16 * MIB, KIB..=GIB, form: Memory,
        "Bytes of all scripts that EVALSHA finds. Beyond it the longest unused is forgotten."),
    setting!(sessions_max, "quorate-sessions", 1024, 16..=1 << 20, form: Number,
        "Nodes with an open session. Beyond it the longest idle session is closed."),
    setting!(session_replies_max, "quorate-session-replies", 1 << 16, 1..=1 << 24, form: Number,
        "Replies kept for each node until it has them. Beyond it the oldest is forgotten."),
    setting!(session_reply_bytes_max, "quorate-session-reply-bytes", 32 * MIB, KIB..=GIB, form: Memory,
        "Bytes of the replies kept for each node. Beyond it the oldest is forgotten."),
    setting!(reclaim_keys_max, "quorate-reclaim-keys", 1024, 1..=1 << 20, form: Number,
        "Expired keys whose memory is freed with each log entry; one that many share counts as several."),
    setting!(collection_bytes_max, "quorate-collection-bytes", 256 * MIB, KIB..=GIB, form: Memory,
        "Bytes of one list, hash, set or sorted set. A write that would exceed it answers an error."),
    setting!(waiting_bytes_max, "quorate-waiting-bytes", 64 * MIB, KIB..=256 * MIB, form: Memory,
        "Bytes of all commands that wait, such as BLPOP, with their keys. Beyond it one that would have to wait answers an error."),
    setting!(notified_events, "notify-keyspace-events", 0, 0..=Classes::EVERYTHING.0, form: Events,
        "Of which events keyspace notifications are sent, in Redis's letters; without any, none is."),
    setting!(requests_max, "quorate-requests", 1 << 16, 1..=1 << 20, form: Number,
        "Answers remembered for commands that are sent again under the same `REQUEST`. Beyond it the oldest is forgotten, however young."),
    setting!(request_ms, "quorate-request-ms", 600_000, 1_000..=86_400_000, form: Number,
        "Milliseconds for which such an answer is remembered."),
    setting!(client_sessions_max, "quorate-client-sessions", 1 << 16, 1..=1 << 20, form: Number,
        "Sessions that clients have open. Beyond it `SESSION OPEN` answers an error."),
];

impl Setting {
    /// Its present value.
    #[must_use]
    pub fn get(&self, limits: &Limits) -> u64 {
        *(self.of)(limits)
    }

    /// A value as CONFIG GET shows it.
    #[must_use]
    pub fn text(&self, value: u64) -> String {
        match self.form {
            Form::Number | Form::Memory => value.to_string(),
            Form::Events => Classes(value).text(),
        }
    }

    /// Sets it to an allowed value.
    pub(crate) fn set(&self, limits: &mut Limits, value: u64) {
        assert!((self.min..=self.max).contains(&value), "{} = {value} was not checked", self.name);
        *(self.of_mut)(limits) = value;
    }
}

/// The replicated setting of a name, in any case. `CONFIG SET` of one goes through the log, of any other does not.
#[must_use]
pub fn setting(name: &[u8]) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name.as_bytes().eq_ignore_ascii_case(name))
}

impl Limits {
    pub(crate) fn encode(&self, to: &mut Encoder) {
        to.count(SETTINGS.len());
        SETTINGS.iter().for_each(|setting| to.varint(setting.get(self)));
    }

    pub(crate) fn decode(from: &mut Decoder) -> Result<Self, Error> {
        let values = from.list(Decoder::varint)?;
        let mut limits = Self::default();
        // A snapshot of an older version has fewer: the newer ones have their defaults.
        if values.len() > SETTINGS.len() {
            return Err(from.malformed());
        }
        for (setting, value) in SETTINGS.iter().zip(values) {
            if !(setting.min..=setting.max).contains(&value) {
                return Err(from.malformed());
            }
            setting.set(&mut limits, value);
        }
        Ok(limits)
    }
}
