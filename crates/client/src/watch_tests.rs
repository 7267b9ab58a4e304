use super::*;

/// A change as people read it.
fn shown(change: Option<Change>) -> String {
    let Some(Change { event, token, value, position }) = change else { return "nothing".to_owned() };
    let value = value.map(|value| String::from_utf8(value).expect("text"));
    let part = |part: Option<String>| part.unwrap_or_else(|| "-".to_owned());
    let (token, position) = (token.map(|token| token.to_string()), position.map(|at| at.to_string()));
    format!("{event} {} {} {}", part(token), part(value), part(position))
}

fn held(token: u64, value: Option<&str>) -> Option<Present> {
    Some(Present { token: token.into(), value: value.map(|value| value.as_bytes().to_vec()) })
}

#[test]
fn what_is_told_is_handed_out_once_in_its_order() {
    let mut known = Known::default();
    assert_eq!(shown(known.find(None)), "free - - -");
    for (message, expected) in [
        ("acquired 5 100 here and there", "acquired 5 here and there 100"),
        ("value 5 101 elsewhere", "value 5 elsewhere 101"),
        ("value 5 102", "value 5 - 102"),
        // One entry may have both.
        ("released 5 103", "released 5 - 103"),
        ("acquired 6 103", "acquired 6 - 103"),
        ("expired 6 110", "expired 6 - 110"),
        ("expired 6 110", "nothing"),
        ("acquired 6 103", "nothing"),
        ("released 5 103", "nothing"),
    ] {
        assert_eq!(shown(known.hear(message.as_bytes())), expected, "{message}");
    }
}

#[test]
fn what_has_changed_while_nobody_listened_is_found_by_its_token() {
    let mut known = Known::default();
    assert_eq!(shown(known.find(held(5, Some("here")))), "acquired 5 here -");
    assert_eq!(shown(known.find(held(5, Some("here")))), "nothing");
    assert_eq!(shown(known.find(held(5, None))), "value 5 - -");
    assert_eq!(shown(known.find(held(9, None))), "acquired 9 - -");
    assert_eq!(shown(known.find(None)), "free 9 - -");
    assert_eq!(shown(known.find(None)), "nothing");
}

/// Whoever comes back goes on from there.
#[test]
fn each_message_says_where_to_go_on() {
    let mut known = Known::default();
    for (message, position) in
        [("watching 0 90", 90), ("acquired 5 100", 100), ("acquired 5 100", 100), ("value 5 101 x", 101)]
    {
        known.hear(message.as_bytes());
        assert_eq!(known.position, Some(position), "{message}");
    }
    assert_eq!(shown(known.hear(b"watching 0 120")), "nothing");
    known.find(None);
    assert_eq!(known.position, Some(120), "an answer says nothing of it");
}

#[test]
fn who_had_it_before_and_has_it_now_has_had_it_all_the_time() {
    let mut known = Known::default();
    assert!(!known.is_held_as(held(5, None).as_ref()));
    known.find(held(5, None));
    assert!(known.is_held_as(held(5, Some("another")).as_ref()));
    assert!(!known.is_held_as(held(6, None).as_ref()) && !known.is_held_as(None));
    known.find(None);
    assert!(!known.is_held_as(None), "others may have come and gone");
}

/// The answer may overtake what it tells of.
#[test]
fn what_was_found_is_not_told_again_by_a_message_that_comes_late() {
    let mut known = Known::default();
    assert_eq!(shown(known.find(held(7, Some("here")))), "acquired 7 here -");
    for late in ["released 5 90", "acquired 7 90 here", "value 7 91 here"] {
        assert_eq!(shown(known.hear(late.as_bytes())), "nothing", "{late}");
    }
    assert_eq!(shown(known.find(None)), "free 7 - -");
    assert_eq!(shown(known.hear(b"released 7 95")), "nothing");
    assert_eq!(shown(known.hear(b"released 8 97")), "released 8 - 97");
}

#[test]
fn what_is_no_message_of_the_kind_is_no_change() {
    let mut known = Known::default();
    for message in ["", "acquired", "acquired 5", "acquired x 1", "acquired 5 x", "promoted 5 1"] {
        assert_eq!(shown(known.hear(message.as_bytes())), "nothing", "{message}");
    }
    assert_eq!(shown(known.hear(b"acquired 5 1")), "acquired 5 - 1");
}

#[test]
fn only_who_holds_it_now_counts_of_what_a_server_says() {
    let bulk = |text: &str| Value::BulkString(text.as_bytes().to_vec());
    let answer = |state: &str| {
        Value::Map(vec![
            (bulk("token"), Value::Int(5)),
            (bulk("state"), bulk(state)),
            (bulk("value"), bulk("here")),
        ])
    };
    assert_eq!(present(&answer("held")), Some(held(5, Some("here"))));
    assert_eq!(present(&answer("delayed")), Some(None));
    assert_eq!(present(&answer("free")), Some(None));
    assert_eq!(present(&Value::Nil), Some(None));
    assert_eq!(present(&Value::Okay), None);
}
