//! The bytes of a snapshot, such as machines in these tests have.

use quorate_consensus::NodeId;

/// Snapshots of different nodes differ in their bytes, though not in what they mean, and show it when parts of
/// them are mixed.
pub(crate) fn encode(id: NodeId, machine: &[String]) -> Vec<u8> {
    let mut lines = vec![id.to_string()];
    lines.extend(machine.iter().map(|command| format!("{command} {id}")));
    lines.join("\n").into_bytes()
}

pub(crate) fn decode(data: &[u8]) -> Vec<String> {
    if data.is_empty() {
        return Vec::new();
    }
    let text = String::from_utf8(data.to_vec()).expect("written by encode");
    let mut lines = text.lines();
    let id = lines.next().expect("the first line names the node");
    let command =
        |line: &str| line.strip_suffix(id).expect("parts of two snapshots were mixed").trim().to_owned();
    lines.map(command).collect()
}
