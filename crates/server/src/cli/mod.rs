//! The command line: one file per subcommand.

mod address;
mod bench;
mod generated;
mod keys;
mod leader;
mod lock;
mod locks;
mod member;
mod problem;
mod progress;
mod reads;
mod recover;
mod serve;
mod sim;
mod snapshot;
mod status;
mod up;
mod watch;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

/// How the process ended, for scripts and service managers. Documented in `--help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All went well.
    Success = 0,
    /// Something failed while running; starting again may help.
    Failure = 1,
    /// A flag or setting is wrong. Clap's own refusals use the same number.
    Usage = 2,
    /// The data folder was refused: foreign, in use, corrupt, or of a newer format. Starting again does not help.
    Data = 3,
    /// The node was removed from its cluster. Starting again does not help.
    Removed = 4,
    /// What a command for scripts asks about is not so: there is no such key, or a condition does not hold.
    Unmet = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

const EXIT_HELP: &str = "\
Exit status: 0 success, 1 failure while running, 2 wrong flag or setting,
3 data folder refused (foreign, in use, corrupt, or of a newer format),
4 removed from the cluster.";

const EXAMPLES: &str = "\
Examples:
  quorate up                                    three nodes on this machine, to try things
  redis-cli -p 7379 SET my_lock me NX EX 10     take a lock, as with any Redis
  quorate status                                who leads, and is everybody there
  quorate leader transfer                       let another node lead
  quorate snapshot save quorate.backup          back the data up
  quorate lock nightly -- ./report.sh           run a command under a lock
  quorate locks                                 who holds what
  quorate watch nightly                         and each change of it
  quorate set config verbose                    small data; and get, del
  quorate serve                                 one durable node on 127.0.0.1:7379
  quorate serve --join 10.0.0.1:7379            a new member of a cluster that is there
  quorate member list                           who belongs to the cluster
  quorate serve --print-config                  all settings, and where each comes from
  quorate bench --op lock --seconds 10          how fast are locks here
  quorate sim --seconds 60                      are they safe, in worlds where everything fails

Exit status: 0 success, 1 failure while running, 2 wrong flag or setting,
3 data folder refused (foreign, in use, corrupt, or of a newer format), 5 no such key,
or a condition does not hold. Those of `quorate lock` are in its own help.";

/// A coordination service that speaks the Redis protocol.
///
/// Locks, elections and small data that survive kill -9: a reply means that a majority of the nodes has the
/// write on disk. Any Redis client works; start with `quorate up`.
#[derive(Debug, Parser)]
#[command(name = "quorate", version, after_help = EXAMPLES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts a cluster on this machine and stays in the foreground
    Up(up::Args),
    /// Runs one node
    Serve(Box<serve::Args>),
    /// Shows nodes, leader, log positions and health
    Status(status::Args),
    /// Lets another node lead
    Leader(leader::Args),
    /// Shows and changes who belongs to the cluster
    Member(member::Args),
    /// Shows and changes how reads are confirmed
    Reads(reads::Args),
    /// Runs a command while a lock is held
    Lock(lock::Args),
    /// Runs a command while this is the elected one of several candidates
    Elect(lock::elect::Args),
    /// Shows which locks are held, and by whom
    Locks(locks::Args),
    /// Tells who holds a lock, who leads, or what a key holds, as it changes
    Watch(watch::Args),
    /// Prints the value of a key
    Get(keys::Get),
    /// Sets a key
    Set(keys::Set),
    /// Removes keys
    Del(keys::Del),
    /// Prints what a shell needs to complete this command line
    Completions(generated::Completions),
    /// Prints a manual page
    Man(generated::Man),
    /// Saves the data to a file, and makes a new cluster out of it
    Snapshot(snapshot::Args),
    /// Makes a new cluster of the last node that is left
    Recover(recover::Args),
    /// Measures throughput and latency
    Bench(bench::Args),
    /// Tries what this program promises, in simulated worlds
    Sim(Box<sim::Args>),
}

/// Runs the command line of this process.
#[must_use]
pub fn run() -> ExitCode {
    let exit = match &Cli::parse().command {
        // Its status is that of the command it runs.
        Command::Lock(args) => return lock::run(args),
        Command::Elect(args) => return lock::elect::run(args),
        Command::Locks(args) => locks::run(args),
        Command::Watch(args) => watch::run(args),
        Command::Completions(args) => generated::completions(args, Cli::command()),
        Command::Man(args) => generated::man(args, Cli::command()),
        Command::Get(args) => keys::get(args),
        Command::Set(args) => keys::set(args),
        Command::Del(args) => keys::del(args),
        Command::Up(args) => up::run(args),
        Command::Serve(args) => serve::run(args),
        Command::Status(args) => status::run(args),
        Command::Leader(args) => leader::run(args),
        Command::Member(args) => member::run(args),
        Command::Reads(args) => reads::run(args),
        Command::Snapshot(args) => snapshot::run(args),
        Command::Recover(args) => recover::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Sim(args) => sim::run(args),
    };
    exit.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The description that everything else is made of.
    pub(super) fn root() -> clap::Command {
        Cli::command()
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_teaches_by_examples() {
        let mut command = Cli::command();
        for path in [
            &["up"][..],
            &["serve"],
            &["status"],
            &["leader", "transfer"],
            &["member"],
            &["reads"],
            &["lock"],
            &["locks"],
            &["watch"],
            &["completions"],
            &["man"],
            &["get"],
            &["set"],
            &["del"],
            &["snapshot", "save"],
            &["snapshot", "inspect"],
            &["snapshot", "restore"],
            &["recover"],
            &["bench"],
            &["sim"],
        ] {
            let found = path.iter().try_fold(&mut command, |command, name| command.find_subcommand_mut(name));
            let help = found.unwrap().render_long_help().to_string();
            assert!(help.contains("Examples:"), "{path:?}");
        }
        assert!(command.render_long_help().to_string().contains("Exit status"));
    }
}
