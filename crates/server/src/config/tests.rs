//! Who wins, what is refused, and in which words.

use std::{io::Write as _, time::Duration};

use super::*;

fn flag(given: &mut Given, name: &str, text: &str) {
    given.add(Setting::named(name).unwrap(), text.to_owned(), Origin::Flag);
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn resolve(flags: &[(&str, &str)]) -> Result<Config, String> {
    let mut given = Given::default();
    for (name, text) in flags {
        flag(&mut given, name, text);
    }
    let lines =
        |refusals: Vec<Refusal>| refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    Config::resolve(given).map(|(config, _)| config).map_err(lines)
}

#[test]
fn flags_win_over_variables_over_the_file_over_defaults_in_whatever_order_they_come() {
    let file = file("node-id = 2\nlisten = \"127.0.0.1:2000\"\nelection-timeout = \"2s\"\n");
    let mut given = Given::default();
    flag(&mut given, "node-id", "4");
    given.add_environment(|name| match name {
        "QUORATE_NODE_ID" => Some("3".to_owned()),
        "QUORATE_LISTEN" => Some("127.0.0.1:3000".to_owned()),
        "QUORATE_LOG_LEVEL" => Some(String::new()),
        _ => None,
    });
    given.add_file(file.path()).unwrap();
    let (config, given) = Config::resolve(given).unwrap();

    assert_eq!(config.node_id, 4);
    assert_eq!(config.listen.port, 3000);
    assert_eq!(config.election_timeout, Duration::from_secs(2));
    assert_eq!(config.log_level, tracing::Level::INFO);
    assert_eq!(given.text("node-id").1, Origin::Flag);
    assert_eq!(given.text("listen").1.to_string(), "variable QUORATE_LISTEN");
    assert_eq!(given.text("election-timeout").1, Origin::File(file.path().to_owned()));
    assert_eq!(given.text("log-level").1, Origin::Default);
}

#[test]
fn without_any_setting_a_node_is_single_and_on_the_loopback() {
    let config = resolve(&[]).unwrap();
    assert_eq!(config.listen, Address::new("127.0.0.1", 7379));
    assert_eq!(config.peer_listen, Address::new("127.0.0.1", 17_379));
    assert_eq!(config.http_listen, Address::new("127.0.0.1", 18_379));
    assert_eq!(config.data_dir.to_str(), Some("quorate-data/single"));
    assert!(config.peers.0.is_empty());
    assert_eq!(config.node_id, 0, "whatever the folder says");
}

#[test]
fn others_are_told_an_address_that_they_can_dial() {
    let told = |given: &[(&'static str, &str)]| resolve(given).unwrap().peer_advertise.to_string();
    assert_eq!(told(&[]), "127.0.0.1:17379");
    assert_eq!(told(&[("listen", "10.0.0.1:7000")]), "10.0.0.1:17000");
    assert_eq!(told(&[("listen", "0.0.0.0:7000"), ("advertise", "db.example:1")]), "db.example:17000");
    assert_eq!(told(&[("listen", "0.0.0.0:7000"), ("peers", "1=a:1,2=b:1"), ("node-id", "2")]), "b:1");
    assert_eq!(told(&[("peer-advertise", "c:9"), ("peers", "1=a:1")]), "c:9");
}

#[test]
fn a_node_that_joins_forms_no_cluster_and_can_be_reached() {
    let text = resolve(&[("join", "a:1"), ("peers", "1=a:1")]).unwrap_err();
    assert!(text.contains("one of join and peers"), "{text}");
    let text = resolve(&[("join", "a:1"), ("listen", "0.0.0.0:7000")]).unwrap_err();
    assert!(text.starts_with("setting advertise: \"127.0.0.1:7000\""), "{text}");
    let given = [("join", "a:1,b:2"), ("join-as", "replace:3")];
    assert_eq!(resolve(&given).unwrap().join_as, JoinAs::Replacement(3));
    assert!(
        resolve(&[("join-as", "leader")]).unwrap_err().contains("voter, learner, witness, or replace:ID")
    );
}

#[test]
fn what_follows_from_other_settings_follows_them() {
    let peers = "1=10.0.0.1:17379,2=10.0.0.2:17379";
    let config = resolve(&[("listen", "0.0.0.0:7000"), ("peers", peers), ("node-id", "2")]).unwrap();
    assert_eq!(config.advertise, Address::new("10.0.0.2", 7000));
    assert_eq!(config.peer_listen, Address::new("0.0.0.0", 17_000));
    assert_eq!(config.data_dir.to_str(), Some("quorate-data/node-2"));
}

#[test]
fn the_sentinel_door_is_off_and_else_found_at_the_advertised_host() {
    assert_eq!(resolve(&[]).unwrap().sentinel_address(), None);
    let all = [("sentinel-listen", "0.0.0.0:26379"), ("advertise", "node-1.example:7379")];
    let address = resolve(&all).unwrap().sentinel_address();
    assert_eq!(address, Some(Address::new("node-1.example", 26_379)));
    let one = [("sentinel-listen", "10.0.0.5:26379"), ("advertise", "node-1.example:7379")];
    assert_eq!(resolve(&one).unwrap().sentinel_address(), Some(Address::new("10.0.0.5", 26_379)));
}

#[test]
fn clients_are_sent_away_only_after_several_elections() {
    assert_eq!(resolve(&[]).unwrap().leaderless_timeout, Duration::from_secs(5));
    let slow = resolve(&[("election-timeout", "1s")]).unwrap();
    assert_eq!(slow.leaderless_timeout, Duration::from_secs(10));
    let text = resolve(&[("leaderless-timeout", "600ms")]).unwrap_err();
    assert!(text.contains("more than twice election-timeout, which is 300ms"), "{text}");
}

#[test]
fn a_refusal_names_setting_value_origin_and_what_is_allowed() {
    assert_eq!(
        resolve(&[("election-timeout", "5")]).unwrap_err(),
        "setting election-timeout: \"5\" (from flag) is not allowed; allowed is a duration from 50ms to 1m, in ms, \
         s, m or h"
    );
    assert_eq!(
        resolve(&[("log-format", "xml")]).unwrap_err(),
        "setting log-format: \"xml\" (from flag) is not allowed; allowed is text or json"
    );
}

#[test]
fn all_refusals_come_at_once() {
    let text = resolve(&[("node-id", "-1"), ("max-clients", "many")]).unwrap_err();
    assert_eq!(text.lines().count(), 2, "{text}");
}

#[test]
fn values_that_do_not_go_together_are_refused_by_name() {
    let text = resolve(&[("heartbeat-interval", "200ms")]).unwrap_err();
    assert!(text.starts_with("setting heartbeat-interval: \"200ms\" (from flag)"), "{text}");
    assert!(text.contains("election-timeout"), "{text}");
    let config = resolve(&[("election-timeout", "150ms")]).unwrap();
    assert_eq!(config.heartbeat_interval, Duration::from_millis(50));
    let text = resolve(&[("node-id", "3"), ("peers", "1=a:1,2=b:1")]).unwrap_err();
    assert!(text.contains("node-id is 3"), "{text}");
}

/// With a batch of the usual size and segments of a sixteenth of it, a pipeline of a megabyte became an entry that no
/// log could hold, and each node that was to write it ended.
#[test]
fn segments_that_a_batch_or_a_command_does_not_fit_into_are_refused() {
    let text = resolve(&[("max-request-bytes", "32kb"), ("segment-bytes", "64kb")]).unwrap_err();
    assert!(text.starts_with("setting segment-bytes: \"64kb\" (from flag)"), "{text}");
    assert!(text.contains("at least 1088kb") && text.contains("max-message-bytes (1mb)"), "{text}");
    let text = resolve(&[("max-request-bytes", "31mb"), ("max-uncommitted-bytes", "1gb")]).unwrap_err();
    assert!(text.starts_with("setting segment-bytes: \"32mb\" (from default)"), "{text}");
    let small = ["max-request-bytes", "max-message-bytes", "segment-bytes"].map(|name| (name, "64kb"));
    assert!(resolve(&small).is_err());
    let [request, message, (segment, _)] = small;
    assert!(resolve(&[request, message, (segment, "640kb")]).is_ok());
}

#[test]
fn queues_that_the_largest_command_does_not_fit_into_are_refused() {
    let large = [("max-request-bytes", "50mb"), ("segment-bytes", "64mb")];
    let text = resolve(&large).unwrap_err();
    let names = ["max-uncommitted-bytes", "max-peer-queue-bytes"];
    assert!(names.iter().all(|name| text.contains(&format!("setting {name}:"))), "{text}");
    let [request, segment] = large;
    assert!(resolve(&[request, segment, (names[0], "128mb"), (names[1], "128mb")]).is_ok());
}

#[test]
fn a_port_too_high_for_the_ports_beside_it_is_refused() {
    let text = resolve(&[("listen", "127.0.0.1:60000")]).unwrap_err();
    assert!(text.contains("peer-listen") && text.contains("65535"), "{text}");
}

#[test]
fn the_file_may_only_name_settings_and_give_plain_values() {
    let refused = |text: &str| Given::default().add_file(file(text).path()).unwrap_err().to_string();
    assert!(refused("node_id = 1").contains("did you mean \"node-id\"?"));
    assert!(refused("colour = 1").contains("there is no setting \"colour\""));
    assert!(refused("node-id = 1.5").contains("allowed is a whole number from 0 to 65535"));
    assert!(refused("node-id = ").contains("file "));
    assert!(Given::default().add_file("does/not/exist.toml".as_ref()).is_err());
}

#[test]
fn peers_may_be_a_table_in_the_file() {
    let file = file("[peers]\n1 = \"127.0.0.1:1\"\n2 = \"127.0.0.1:2\"\n");
    let mut given = Given::default();
    given.add_file(file.path()).unwrap();
    assert_eq!(Config::resolve(given).unwrap().0.peers.0.len(), 2);
}

#[test]
fn what_is_printed_reads_back_as_the_same_settings_and_tells_origins() {
    let mut given = Given::default();
    flag(&mut given, "peers", "1=127.0.0.1:1,2=127.0.0.1:2");
    flag(&mut given, "max-request-bytes", "1234567");
    let (config, given) = Config::resolve(given).unwrap();
    let printed = config.print(&given);
    assert!(
        printed.lines().any(|line| line.starts_with("node-id = 1 ") && line.ends_with("# default")),
        "{printed}"
    );
    assert!(
        printed.lines().any(|line| line.starts_with("peers = ") && line.ends_with("# flag")),
        "{printed}"
    );

    let mut again = Given::default();
    again.add_file(file(&printed).path()).unwrap();
    assert_eq!(Config::resolve(again).unwrap().0, config);
}
