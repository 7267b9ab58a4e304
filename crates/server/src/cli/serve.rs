//! `quorate serve`: one node, from its settings to its end.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, FromArgMatches};

use super::{EXIT_HELP, Exit};
use crate::{
    config::{AUTO, Config, Given, Origin, SETTINGS, Setting},
    logging, service,
};

const EXAMPLES: &str = "\
Examples:
  quorate serve
      one durable node on 127.0.0.1:7379, a cluster of its own
  quorate serve --config quorate.toml --print-config
      all settings and where each comes from, as a file that --config takes
  quorate serve --node-id 1 --listen 10.0.0.1:7379 --bootstrap \\
      --peers 1=10.0.0.1:17379,2=10.0.0.2:17379,3=10.0.0.3:17379
      the first of three nodes that form a new cluster; the others alike

Each setting is a flag, a variable (--node-id: QUORATE_NODE_ID) and a key of the file (node-id = 1);
flags win over variables, variables over the file, the file over defaults.
";

/// The flags of `serve`: one for each setting of the table, and a few that are no settings.
#[derive(Debug)]
pub(crate) struct Args {
    flags: Vec<(&'static Setting, String)>,
    config: Option<PathBuf>,
    print_config: bool,
    end_with_stdin: bool,
}

impl clap::Args for Args {
    fn augment_args(command: clap::Command) -> clap::Command {
        let config = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .env("QUORATE_CONFIG")
            .help("A TOML file with settings")
            .value_parser(clap::value_parser!(PathBuf));
        let print = Arg::new("print-config")
            .long("print-config")
            .action(ArgAction::SetTrue)
            .help("Print all settings with their origins, and end");
        let lifeline = Arg::new("end-with-stdin")
            .long("end-with-stdin")
            .action(ArgAction::SetTrue)
            .hide(true)
            .help("Shut down when standard input ends: how nodes of `quorate up` end with it");
        command
            .after_help(format!("{EXAMPLES}\n{EXIT_HELP}"))
            .args([config, print, lifeline])
            .args(SETTINGS.iter().map(flag))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

/// The flag of a setting. Its text is checked later, with that of all other origins.
fn flag(setting: &'static Setting) -> Arg {
    let default =
        if setting.default == AUTO { String::new() } else { format!(" [default: {}]", setting.default) };
    let flag = Arg::new(setting.name)
        .long(setting.name)
        .value_name("VALUE")
        .allow_negative_numbers(true)
        .help_heading("Settings")
        .help(format!("{}{default}", setting.help.trim()))
        .long_help(format!("{}{default}\nAllowed is {}.", setting.help.trim(), (setting.allowed)()));
    if setting.switch {
        flag.num_args(0..=1).default_missing_value("true").require_equals(true)
    } else {
        flag
    }
}

impl FromArgMatches for Args {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |setting: &'static Setting| {
            matches.get_one::<String>(setting.name).map(|text| (setting, text.clone()))
        };
        Ok(Self {
            flags: SETTINGS.iter().filter_map(given).collect(),
            config: matches.get_one("config").cloned(),
            print_config: matches.get_flag("print-config"),
            end_with_stdin: matches.get_flag("end-with-stdin"),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args {
    /// What flags, environment and file say.
    fn given(&self) -> Result<Given, crate::config::Refusal> {
        let mut given = Given::default();
        if let Some(path) = &self.config {
            given.add_file(path)?;
        }
        given.add_environment(|variable| std::env::var(variable).ok());
        for (setting, text) in &self.flags {
            given.add(setting, text.clone(), Origin::Flag);
        }
        Ok(given)
    }
}

pub(crate) fn run(args: &Args) -> Exit {
    let resolved = args.given().map_err(|refusal| vec![refusal]).and_then(Config::resolve);
    let (config, given) = match resolved {
        Ok(resolved) => resolved,
        Err(refusals) => {
            for refusal in refusals {
                eprintln!("quorate: {refusal}");
            }
            return Exit::Usage;
        }
    };
    if args.print_config {
        print!("{}", config.print(&given));
        return Exit::Success;
    }
    let logging = logging::start(config.log_format, config.log_level);
    let lifeline = if args.end_with_stdin { service::Lifeline::Stdin } else { service::Lifeline::None };
    match service::run(config, lifeline, logging.dropped_lines()) {
        Ok(()) => Exit::Success,
        Err(error) => {
            tracing::error!("{error}");
            match error {
                service::Error::Data { .. } => Exit::Data,
                service::Error::Setting { .. } => Exit::Usage,
                service::Error::Removed => Exit::Removed,
                service::Error::Failed(_) => Exit::Failure,
            }
        }
    }
}
