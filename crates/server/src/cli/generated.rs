//! `quorate completions` and `quorate man`: what is made of the command line's own description.

use std::io::{self, Write as _};

use clap_complete::Shell;
use clap_mangen::Man as Page;

use super::Exit;

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  quorate completions bash > /etc/bash_completion.d/quorate
  quorate completions zsh > \"${fpath[1]}/_quorate\"
  quorate completions fish > ~/.config/fish/completions/quorate.fish";

const MAN_EXAMPLES: &str = "\
Examples:
  quorate man | man -l -                          all commands
  quorate man lock > /usr/share/man/man1/quorate-lock.1
  quorate man snapshot restore | man -l -";

/// The flags of `completions`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = COMPLETIONS_EXAMPLES)]
pub(crate) struct Completions {
    /// Which shell
    shell: Shell,
}

/// The flags of `man`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = MAN_EXAMPLES)]
pub(crate) struct Man {
    /// The command that the page is about; all of them without one
    command: Vec<String>,
}

pub(crate) fn completions(args: &Completions, mut root: clap::Command) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut root, "quorate", &mut script);
    written("completions", &script)
}

pub(crate) fn man(args: &Man, mut root: clap::Command) -> Exit {
    // Gives each command its full name.
    root.build();
    let mut found = &root;
    for name in &args.command {
        match found.find_subcommand(name) {
            Some(command) => found = command,
            None => {
                eprintln!("quorate man: there is no command {}", args.command.join(" "));
                return Exit::Usage;
            }
        }
    }
    let mut page = Vec::new();
    match Page::new(found.clone()).render(&mut page) {
        Ok(()) => written("man", &page),
        Err(error) => {
            eprintln!("quorate man: {error}");
            Exit::Failure
        }
    }
}

fn written(command: &str, text: &[u8]) -> Exit {
    match io::stdout().write_all(text) {
        Ok(()) => Exit::Success,
        Err(error) => {
            eprintln!("quorate {command}: {error}");
            Exit::Failure
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::root;

    #[test]
    fn every_command_has_a_page_and_each_shell_a_script() {
        let mut root = root();
        root.build();
        for command in root.get_subcommands() {
            let mut page = Vec::new();
            Page::new(command.clone()).render(&mut page).unwrap();
            let page = String::from_utf8(page).unwrap();
            assert!(page.contains(&format!("quorate\\-{}", command.get_name())), "{page}");
        }
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut root.clone(), "quorate", &mut script);
            assert!(String::from_utf8(script).unwrap().contains("kill-after"), "{shell}");
        }
    }
}
