//! The arguments of this process, with common options wherever they stand.

use std::ffi::OsString;

use clap::{ArgMatches, FromArgMatches as _};

use super::{Cli, Exit, Failure, LAST_WORDS, command};
use crate::stderr;

/// What was asked for on the command line of this process; ends it when that cannot be understood.
pub fn parse() -> Cli {
    let command = command();
    let arguments = common_options_last(&command, std::env::args_os().collect());
    let parsed = command.try_get_matches_from(arguments).and_then(|matches| {
        let json = wants_json(&matches);
        Ok(Cli {
            json,
            ..Cli::from_arg_matches(&matches)?
        })
    });
    parsed.unwrap_or_else(|error| {
        let mut ours = std::env::args_os().take_while(|argument| argument != "--");
        if error.use_stderr() && ours.any(|argument| argument == "--json") {
            let text = error.to_string();
            let said = text.split("\n\n").next().unwrap_or_default();
            let said = said.strip_prefix("error: ").unwrap_or(said).trim();
            Failure::new(Exit::Usage, said).tell(true);
            stderr::flush(LAST_WORDS);
            std::process::exit(Exit::Usage as i32);
        }
        error.exit()
    })
}

/// What every command that talks to a server takes, and whether a value follows.
const COMMON: [(&str, bool); 3] = [("--server", true), ("--key-file", true), ("--json", false)];

/// The same arguments, with the common options that stand before or between the words of a command behind them: clap knows them as
/// options of the command itself.
fn common_options_last(mut command: &clap::Command, arguments: Vec<OsString>) -> Vec<OsString> {
    let mut rest = arguments.into_iter().peekable();
    let (mut words, mut options) = (Vec::from_iter(rest.next()), Vec::new());
    while let Some(argument) = rest.peek().and_then(|argument| argument.to_str()) {
        let name = argument.split_once('=').map_or(argument, |(name, _)| name);
        if let Some(next) = command.find_subcommand(argument) {
            command = next;
            words.extend(rest.next());
        } else if let Some((_, takes_value)) = COMMON.iter().find(|(known, _)| *known == name) {
            let has_value = *takes_value && name == argument;
            options.extend(rest.by_ref().take(1 + usize::from(has_value)));
        } else {
            break;
        }
    }
    words.into_iter().chain(options).chain(rest).collect()
}

/// Whether `--json` was given, to whichever command.
fn wants_json(matches: &ArgMatches) -> bool {
    let here = matches.try_get_one::<bool>("json");
    here.is_ok_and(|given| given == Some(&true))
        || matches
            .subcommand()
            .is_some_and(|(_, matches)| wants_json(matches))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_options_stand_before_or_behind_the_words_of_a_command() {
        let command = command();
        let put = |line: &str| {
            let arguments = line.split(' ').map(OsString::from).collect();
            let put = common_options_last(&command, arguments);
            let put: Vec<_> = put
                .iter()
                .map(|argument| argument.to_str().unwrap())
                .collect();
            put.join(" ")
        };
        assert_eq!(
            put("leasehold --json --server http://a pool --key-file f list --json"),
            "leasehold pool list --json --server http://a --key-file f --json"
        );
        assert_eq!(
            put("leasehold --server=http://a run --pool p -- pool list"),
            "leasehold run --server=http://a --pool p -- pool list"
        );
        assert_eq!(put("leasehold --listen pool"), "leasehold --listen pool");
        assert_eq!(put("leasehold --server"), "leasehold --server");
    }
}
