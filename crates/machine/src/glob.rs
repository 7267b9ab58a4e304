//! The patterns of KEYS, SCAN and CONFIG GET: `*`, `?`, `[a-z]`, `[^a]`, and `\` before a character that is meant.

/// Whether the whole of `text` matches. Takes time in proportion to the product of both lengths at most: a `*` is
/// retried only until the next one has matched, since a match of the later one can absorb what the earlier would.
#[must_use]
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut rest_pattern, mut rest_text) = (pattern, text);
    // The pattern after the last star, and the text that it was last tried on.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', after @ ..] = rest_pattern {
            retry = Some((after, rest_text));
            rest_pattern = after;
            continue;
        }
        let matched = match rest_text {
            [] if rest_pattern.is_empty() => return true,
            [] => return false,
            [character, after @ ..] => match_one(rest_pattern, *character).map(|pattern| (pattern, after)),
        };
        match (matched, retry) {
            (Some((pattern, text)), _) => (rest_pattern, rest_text) = (pattern, text),
            (None, Some((pattern, [_, text @ ..]))) => {
                retry = Some((pattern, text));
                (rest_pattern, rest_text) = (pattern, text);
            }
            (None, Some((_, []))) | (None, None) => return false,
        }
    }
}

/// Matches one character against the pattern's next element; answers what follows it.
fn match_one(pattern: &[u8], character: u8) -> Option<&[u8]> {
    match pattern {
        [] => None,
        [b'?', after @ ..] => Some(after),
        [b'[', class @ ..] => match_class(class, character),
        [b'\\', escaped, after @ ..] => (*escaped == character).then_some(after),
        [literal, after @ ..] => (*literal == character).then_some(after),
    }
}

/// Matches a character against a class; `class` begins after its bracket. One that is not closed ends with the
/// pattern.
fn match_class(class: &[u8], character: u8) -> Option<&[u8]> {
    let (negated, mut rest) = match class {
        [b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut found = false;
    loop {
        rest = match rest {
            [] => break,
            [b']', after @ ..] => {
                rest = after;
                break;
            }
            [b'\\', escaped, after @ ..] => {
                found |= *escaped == character;
                after
            }
            [from, b'-', to, after @ ..] => {
                let (low, high) = (from.min(to), from.max(to));
                found |= (low..=high).contains(&&character);
                after
            }
            [single, after @ ..] => {
                found |= *single == character;
                after
            }
        };
    }
    (found != negated).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_mean_what_they_mean_in_redis() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h*llo", "heeeello", true),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-b]llo", "hbllo", true),
            ("h[b-a]llo", "hallo", true),
            ("h\\*llo", "h*llo", true),
            ("h\\*llo", "hxllo", false),
            ("[\\]]", "]", true),
            ("[a", "a", true),
            ("*a*b*c*", "xxaxxbxxcxx", true),
            ("*a*b*c", "xxaxxbxxcxx", false),
            ("a\\", "a\\", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let pattern = "a*".repeat(50) + "b";
        assert!(!matches(pattern.as_bytes(), &[b'a'; 10_000]));
    }

    proptest! {
        #[test]
        fn a_text_between_stars_matches_where_it_occurs(a in "[ab]{0,6}", b in "[ab]{0,3}") {
            prop_assert_eq!(matches(format!("*{b}*").as_bytes(), a.as_bytes()), a.contains(&b));
        }
    }
}
