//! `quorate snapshot`: backups, out of a cluster and into a new one.

mod backup;
mod download;
mod inspect;
mod restore;
mod save;

use super::Exit;

/// The flags of `snapshot`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    order: Order,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Order {
    /// Saves the data of a running cluster to a file
    Save(save::Args),
    /// Verifies a backup and says what is in it
    Inspect(inspect::Args),
    /// Makes the data folders of a new cluster out of a backup
    Restore(restore::Args),
}

pub(crate) fn run(args: &Args) -> Exit {
    match &args.order {
        Order::Save(args) => save::run(args),
        Order::Inspect(args) => inspect::run(args),
        Order::Restore(args) => restore::run(args),
    }
}

const EXIT_HELP: &str = "\
Exit status: 0 success, 1 failure, 2 wrong flag, 3 the backup or the folder was refused.";
