//! `leasehold man`: manual pages, made from the command line and the settings themselves, so that neither can be forgotten.
//!
//! A page for each command (section 1), and one for the settings file (section 5).

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args as _, Command};
use clap_mangen::Man as Page;
use clap_mangen::roff::{Roff, bold, italic, roman};

use super::{Exit, Failure};
use crate::config::Settings;
use crate::stderr;

/// When the pages of this version were last looked through; changed with the version.
const DATE: &str = "2026-11-27";

#[derive(Debug, clap::Args)]
pub(super) struct Man {
    /// Directory to write the pages of all commands and of the settings file to
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(super) fn run(man: &Man) -> Result<Exit, Failure> {
    let pages = pages()?;
    let Some(directory) = &man.out else {
        let (_, page) = pages.first().expect("the program has a page");
        return super::print(page);
    };
    let failed = |path: &Path, error: &io::Error| {
        Failure::new(
            Exit::Error,
            format!("{} cannot be written: {error}", path.display()),
        )
    };
    std::fs::create_dir_all(directory).map_err(|error| failed(directory, &error))?;
    for (name, page) in &pages {
        let path = directory.join(name);
        std::fs::write(&path, page).map_err(|error| failed(&path, &error))?;
    }
    stderr::say_line(format_args!(
        "{} pages are in {}",
        pages.len(),
        directory.display()
    ));
    Ok(Exit::Ok)
}

/// File names and pages, the program's own first.
fn pages() -> io::Result<Vec<(String, String)>> {
    let mut program = super::command().disable_help_subcommand(true);
    program.build();
    let mut pages = Vec::new();
    add(&program, &mut pages)?;
    pages.push(("leasehold.toml.5".to_owned(), settings()?));
    Ok(pages)
}

fn add(command: &Command, pages: &mut Vec<(String, String)>) -> io::Result<()> {
    if command.is_hide_set() {
        return Ok(());
    }
    let name = command
        .get_display_name()
        .unwrap_or(command.get_name())
        .to_owned();
    pages.push((format!("{name}.1"), page(&name, command)?));
    for sub in command.get_subcommands() {
        add(sub, pages)?;
    }
    Ok(())
}

fn page(name: &str, command: &Command) -> io::Result<String> {
    let man = Page::new(command.clone());
    let mut text = Vec::new();
    title(&name.to_uppercase(), "1").to_writer(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    let is_program = name == "leasehold";
    let mut roff = Roff::new();
    if !is_program && let Some(help) = command.get_after_help() {
        roff.control("SH", ["NOTES"]);
        roff.text([roman(help.to_string())]);
    }
    roff.control("SH", ["EXIT STATUS"]);
    if name == "leasehold-run" {
        roff.text([roman("That of the command, or 128 and the number of the signal that ended it. Before the command runs:")]);
    }
    for (code, meaning) in EXIT_STATUS {
        roff.control("TP", []);
        roff.text([bold(code)]);
        roff.text([roman(meaning)]);
    }
    if is_program {
        for (title, entries) in [("ENVIRONMENT", ENVIRONMENT), ("FILES", FILES)] {
            roff.control("SH", [title]);
            for (entry, meaning) in entries {
                roff.control("TP", []);
                roff.text([italic(*entry)]);
                roff.text([roman(*meaning)]);
            }
        }
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text(if is_program {
        vec![
            bold("leasehold.toml"),
            roman("(5), "),
            bold("redis-server"),
            roman("(1)"),
        ]
    } else {
        vec![
            bold("leasehold"),
            roman("(1), "),
            bold("leasehold.toml"),
            roman("(5)"),
        ]
    });
    roff.to_writer(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    // Lists of values come with breaks around empty lines, which readers warn about and leave out.
    Ok(text.replace(".br\n\n.br\n", ".sp\n"))
}

/// The first line of a page.
fn title(name: &str, section: &str) -> Roff {
    let version = concat!("Leasehold ", env!("CARGO_PKG_VERSION"));
    let mut roff = Roff::new();
    roff.control("TH", [name, section, DATE, version, "Leasehold"]);
    roff
}

const EXIT_STATUS: [(&str, &str); 7] = [
    ("0", "It did what was asked."),
    ("1", "It failed."),
    (
        "2",
        "It was asked in a way that cannot work: a flag, or a setting.",
    ),
    ("3", "No seat was given."),
    ("4", "There is no such pool, lease or key."),
    ("5", "The key may not do this."),
    ("6", "The server, or its Redis, could not be reached."),
];

const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "LEASEHOLD_SERVER",
        "Address of the server that commands talk to; http://127.0.0.1:7070 without it.",
    ),
    (
        "LEASEHOLD_KEY",
        "The key that commands show to the server. It is never an argument: those are visible to others.",
    ),
    ("LEASEHOLD_KEY_FILE", "A file that holds the key."),
    (
        "LEASEHOLD_...",
        "Every setting in capitals, such as LEASEHOLD_DRAIN_WAIT_MS. It wins over the file, and the command line over it.",
    ),
    ("LEASEHOLD_CONFIG", "The settings file."),
    (
        "LEASEHOLD_LEASE_ID, LEASEHOLD_FENCE",
        "Given by leasehold run to its command.",
    ),
    (
        "SSL_CERT_FILE",
        "Certificates that are trusted instead of the machine's, for a server with https.",
    ),
    (
        "TRACEPARENT",
        "The trace that requests of commands belong to, as a traceparent header has it.",
    ),
    (
        "OTEL_EXPORTER_OTLP_HEADERS, OTEL_RESOURCE_ATTRIBUTES",
        "Headers for the collector at otlp_endpoint, and what is said there of this node.",
    ),
    ("NO_COLOR", "If set, leasehold watch uses no colours."),
    (
        "NOTIFY_SOCKET, WATCHDOG_USEC",
        "Set by systemd(1); see sd_notify(3).",
    ),
];

const FILES: &[(&str, &str)] = &[
    (
        "leasehold.toml",
        "The settings file in the working directory, unless --config or LEASEHOLD_CONFIG names another.",
    ),
    (
        "/etc/leasehold/leasehold.toml",
        "The settings file of the Debian package's units.",
    ),
    (
        "./leasehold-data",
        "Where the embedded Redis keeps its data, unless data_dir says otherwise.",
    ),
];

/// The page of the settings file.
fn settings() -> io::Result<String> {
    let command = Settings::augment_args(Command::new("leasehold.toml"));
    let mut roff = title("LEASEHOLD.TOML", "5");
    roff.control("SH", ["NAME"]);
    roff.text([roman("leasehold.toml - settings of leasehold serve")]);
    roff.control("SH", ["DESCRIPTION"]);
    roff.text([
        roman("A file in the TOML format, with a line for each setting: "),
        bold("listen = \"127.0.0.1:7070\""),
        roman(
            ". Each can also be a flag (--drain-wait-ms) and a name in the environment (LEASEHOLD_DRAIN_WAIT_MS). The command line \
             wins over the environment, and that over the file. A name that is not known refuses to start. ",
        ),
        bold("leasehold config"),
        roman(" prints every value and where it came from."),
    ]);
    roff.control("SH", ["SETTINGS"]);
    for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
        roff.control("TP", []);
        roff.text([bold(arg.get_id().as_str())]);
        let help = arg.get_long_help().or(arg.get_help());
        let help = help.map(ToString::to_string).unwrap_or_default();
        let default: Vec<_> = arg
            .get_default_values()
            .iter()
            .map(|value| value.to_string_lossy())
            .collect();
        for (at, paragraph) in help.split("\n\n").enumerate() {
            if at > 0 {
                roff.control("IP", []);
            }
            roff.text([roman(paragraph.replace('\n', " "))]);
        }
        if !default.is_empty() {
            roff.control("IP", []);
            roff.text([roman("Default: "), bold(default.join(" ")), roman(".")]);
        }
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text([
        bold("leasehold"),
        roman("(1), "),
        bold("leasehold-config"),
        roman("(1), "),
        bold("leasehold-serve"),
        roman("(1)"),
    ]);
    let mut text = Vec::new();
    roff.to_writer(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
