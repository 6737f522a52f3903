//! `completions` and `man`: both made from the grammar.

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;

use crate::args::Cli;
use crate::exit::{Failure, Outcome};
use crate::format::write_out;

/// Prints a shell's completions.
pub(crate) fn completions(shell: Shell) -> Outcome {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "withy", &mut text);
    write_out(text)
}

/// Prints the manual page of withy or of one verb.
pub(crate) fn man(verb: Option<&str>) -> Outcome {
    let mut command = Cli::command();
    command.build();
    let page = match verb {
        None => command,
        Some(verb) => page_of(&command, verb)?,
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(page)
        .render(&mut text)
        .map_err(Failure::failed)?;
    write_out(text)
}

fn page_of(command: &Command, verb: &str) -> Outcome<Command> {
    // Once built, it is called withy-VERB.
    let found = command
        .find_subcommand(verb)
        .filter(|verb| !verb.is_hide_set());
    let found = found.ok_or_else(|| Failure::Usage(format!("there is no verb {verb:?}")))?;
    Ok(found.clone())
}
