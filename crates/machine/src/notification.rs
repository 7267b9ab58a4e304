//! Keyspace notifications: messages that say what became of a key, as Redis sends them.
//!
//! A command that has changed a key calls [`crate::context::Context::notify`]. What that sends is part of the operation's
//! publications, in the order of its effects and between those of PUBLISH: it is handed out like them, and taken back
//! with the run of a script that does not count.
//!
//! * Which events are told is the replicated setting `notify-keyspace-events`. By default there are none, and an event
//!   then costs the look at one bit.
//! * A key expires by the log's stamp, and that is told once: when its memory is reclaimed, or when a write meets it
//!   before. Flushing a database tells of no key.
//! * A key that is missed is told of by reads that have a place in the log. Most reads have none, and change nothing.
//! * Nothing of it makes a command fail: see [`crate::publication::NOTIFIED_BYTES_MAX`].

/// Something that happens to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    class: u64,
    /// As Redis calls it.
    pub(crate) name: &'static str,
}

const KEYSPACE: u64 = 1 << 0;
const KEYEVENT: u64 = 1 << 1;
const GENERIC: u64 = 1 << 2;
const STRING: u64 = 1 << 3;
const LIST: u64 = 1 << 4;
const SET: u64 = 1 << 5;
const HASH: u64 = 1 << 6;
const SORTED_SET: u64 = 1 << 7;
const EXPIRED: u64 = 1 << 8;
/// Nothing is evicted here.
const EVICTED: u64 = 1 << 9;
/// There are no streams here.
const STREAM: u64 = 1 << 10;
const MISSED: u64 = 1 << 11;
/// There are no modules here.
const MODULE: u64 = 1 << 13;
const NEW: u64 = 1 << 14;

/// What the letter A stands for.
const ALL: u64 = GENERIC | STRING | LIST | SET | HASH | SORTED_SET | EXPIRED | EVICTED | STREAM | MODULE;

/// The letters of the setting, in the order in which Redis shows them.
const LETTERS: [(char, u64); 14] = [
    ('g', GENERIC),
    ('$', STRING),
    ('l', LIST),
    ('s', SET),
    ('h', HASH),
    ('z', SORTED_SET),
    ('x', EXPIRED),
    ('e', EVICTED),
    ('t', STREAM),
    ('d', MODULE),
    ('n', NEW),
    ('K', KEYSPACE),
    ('E', KEYEVENT),
    ('m', MISSED),
];

/// Which events are told, and to which channels. The bits are those of Redis, and part of the format of snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Classes(pub(crate) u64);

impl Classes {
    /// The greatest value of the setting.
    pub(crate) const EVERYTHING: Self = Self(ALL | NEW | MISSED | KEYSPACE | KEYEVENT);

    /// Reads the value of the setting.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let bits = |letter: &u8| match char::from(*letter) {
            'A' => Some(ALL),
            letter => LETTERS.iter().find(|(known, _)| *known == letter).map(|(_, class)| *class),
        };
        text.iter().try_fold(0, |classes, letter| Some(classes | bits(letter)?)).map(Self)
    }

    /// The value of the setting in Redis's order. Redis 7.0 forgets an `n` beside an `A`, so that who sets what it
    /// shows sets something else.
    pub(crate) fn text(self) -> String {
        let (abbreviation, rest) = if self.0 & ALL == ALL { ("A", self.0 & !ALL) } else { ("", self.0) };
        let letters = LETTERS.iter().filter(|(_, class)| rest & class != 0).map(|(letter, _)| *letter);
        abbreviation.chars().chain(letters).collect()
    }

    pub(crate) fn are_none(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn include(self, event: Event) -> bool {
        self.0 & event.class != 0
    }

    /// Whether the channel of each key is told of its events.
    pub(crate) fn by_key(self) -> bool {
        self.0 & KEYSPACE != 0
    }

    /// Whether the channel of each event is told of its keys.
    pub(crate) fn by_event(self) -> bool {
        self.0 & KEYEVENT != 0
    }
}

macro_rules! events {
    ($($class:ident: $($constant:ident $name:literal),+;)+) => {
        impl Event {
            $($(pub(crate) const $constant: Self = Self { class: $class, name: $name };)+)+
        }
    };
}

events! {
    GENERIC: DEL "del", EXPIRE "expire", PERSIST "persist", RENAME_FROM "rename_from", RENAME_TO "rename_to",
        COPY_TO "copy_to";
    STRING: SET "set", SETRANGE "setrange", APPEND "append", INCRBY "incrby", INCRBYFLOAT "incrbyfloat";
    LIST: LPUSH "lpush", RPUSH "rpush", LPOP "lpop", RPOP "rpop", LSET "lset", LTRIM "ltrim", LREM "lrem",
        LINSERT "linsert";
    HASH: HSET "hset", HDEL "hdel", HINCRBY "hincrby", HINCRBYFLOAT "hincrbyfloat";
    SET: SADD "sadd", SREM "srem", SPOP "spop", SINTERSTORE "sinterstore", SUNIONSTORE "sunionstore",
        SDIFFSTORE "sdiffstore";
    SORTED_SET: ZADD "zadd", ZINCR "zincr", ZREM "zrem", ZPOPMIN "zpopmin", ZPOPMAX "zpopmax",
        ZREMRANGEBYRANK "zremrangebyrank", ZREMRANGEBYSCORE "zremrangebyscore", ZREMRANGEBYLEX "zremrangebylex",
        ZRANGESTORE "zrangestore", ZUNIONSTORE "zunionstore", ZINTERSTORE "zinterstore", ZDIFFSTORE "zdiffstore";
    EXPIRED: EXPIRED "expired";
    NEW: NEW "new";
    MISSED: KEYMISS "keymiss";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_is_shown_in_redis_order_and_read_back() {
        let shown = |text: &str| Classes::parse(text.as_bytes()).map(Classes::text);
        for (given, expected) in [
            ("", ""),
            ("KEA", "AKE"),
            ("Kg$lshzxetd", "AK"),
            ("mEKx", "xKEm"),
            ("nK", "nK"),
            ("KEAn", "AnKE"),
        ] {
            assert_eq!(shown(given).as_deref(), Some(expected), "{given}");
            assert_eq!(shown(expected), shown(given));
        }
        assert_eq!((shown("K E"), shown("Q"), shown("a")), (None, None, None));
        assert_eq!(Classes::EVERYTHING.text(), "AnKEm");
    }
}
