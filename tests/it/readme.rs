//! README.md and the tutorial are true: their commands are run in order, on a machine with nothing but the program, and answer what
//! stands there. Links of all documents lead somewhere.

use std::collections::HashMap;
use std::os::unix::process::CommandExt as _;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::harness::free_port;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn page(name: &str) -> String {
    std::fs::read_to_string(Path::new(ROOT).join(name)).expect("it is there")
}

/// What stands between lines of three backticks, with the word behind the first ones.
fn blocks<'a>(text: &'a str, kind: &str) -> Vec<Vec<&'a str>> {
    let (mut found, mut open) = (Vec::new(), None);
    for line in text.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(word)) => open = Some((word == kind, Vec::new())),
            (Some(_), Some(_)) => {
                let (is_wanted, lines) = open.take().expect("it is open");
                if is_wanted {
                    found.push(lines);
                }
            }
            (Some((_, lines)), None) => lines.push(line),
            (None, None) => {}
        }
    }
    found
}

/// Whether a string is what stands there; `…` stands for whatever there is.
fn is_as_shown(text: &str, shown: &str) -> bool {
    let mut rest = text;
    let parts: Vec<&str> = shown.split('…').collect();
    for (at, part) in parts.iter().enumerate() {
        let found = if at == 0 {
            rest.starts_with(part).then_some(0)
        } else if at + 1 == parts.len() {
            rest.ends_with(part).then(|| rest.len() - part.len())
        } else {
            rest.find(part)
        };
        let Some(found) = found else { return false };
        rest = &rest[found + part.len()..];
    }
    parts.len() > 1 || rest.is_empty()
}

#[test]
fn the_commands_of_the_readme_answer_what_stands_there() {
    answers_what_stands_there(&page("README.md"));
}

#[test]
fn the_commands_of_the_tutorial_answer_what_stands_there() {
    answers_what_stands_there(&page("docs/tutorial.md"));
}

fn answers_what_stands_there(page: &str) {
    let port = free_port().to_string();
    let mut steps: Vec<(String, String)> = Vec::new();
    for line in blocks(page, "console").into_iter().flatten() {
        let line = line.replace("7070", &port);
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push((command.to_owned(), String::new())),
            (None, Some((_, shown))) => {
                shown.push_str(&line);
                shown.push('\n');
            }
            (None, None) => panic!("no command before {line}"),
        }
    }
    assert!(steps.len() > 5, "{steps:?}");

    // One shell for all, as a person has it. Between answers stands what none of them says.
    let mut script = String::new();
    for (command, _) in &steps {
        script.push_str(&format!("printf '\\036'\n{command}\n"));
    }
    script.push_str("printf '\\036'\nkill %1 && wait %1\n");
    let directory = tempfile::tempdir().expect("a directory");
    let program = Path::new(env!("CARGO_BIN_EXE_leasehold"));
    let mut path = program
        .parent()
        .expect("a directory")
        .as_os_str()
        .to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let shell = Command::new("bash")
        .args(["-c", &script])
        .current_dir(directory.path())
        .env_clear()
        .env("PATH", path)
        .env("LEASEHOLD_LISTEN", format!("127.0.0.1:{port}"))
        .env("LEASEHOLD_DRAIN_WAIT_MS", "0")
        .env("LEASEHOLD_SERVER", format!("http://127.0.0.1:{port}"))
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(directory.path().join("out")).expect("ours"))
        .stderr(std::fs::File::create(directory.path().join("err")).expect("ours"))
        .spawn();
    let mut shell = shell.expect("bash runs");
    let group = Pid::from_child(&shell);
    let status = shell.wait().expect("it ends");
    // What went on behind it, if a command failed.
    let _ = kill_process_group(group, Signal::KILL);

    let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).expect("UTF-8");
    let (out, err) = (read("out"), read("err"));
    assert!(status.success(), "{out}\n{err}");
    let answers: Vec<&str> = out.split('\u{1e}').skip(1).collect();
    assert_eq!(answers.len(), steps.len() + 1, "{out}\n{err}");
    for ((command, shown), answer) in steps.iter().zip(answers) {
        assert!(
            is_as_shown(answer.trim_end(), shown.trim_end()),
            "$ {command}\n{answer}\nis not\n{shown}\n{err}"
        );
    }
}

#[test]
fn the_readme_is_short_and_has_the_words_that_people_search_for() {
    let readme = page("README.md");
    assert!(readme.lines().count() <= 150);
    for word in [
        "Floating licences",
        "concurrent users",
        "licence server",
        "semaphore",
        "Redis",
    ] {
        assert!(
            readme.contains(word),
            "nobody finds it who looks for {word}"
        );
    }
    // What `make` is asked for is there.
    let makefile = page("Makefile");
    for line in blocks(&readme, "sh").into_iter().flatten() {
        if let Some(rest) = line.strip_prefix("make ") {
            let target = rest.split(' ').next().expect("a word");
            assert!(makefile.contains(&format!("\n{target}:")), "{line}");
        }
    }
}

/// Documents that people read, from the root of the repository.
fn documents() -> Vec<PathBuf> {
    let (mut found, mut rest) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(directory) = rest.pop() {
        for entry in std::fs::read_dir(Path::new(ROOT).join(&directory)).expect("it is there") {
            let entry = entry.expect("readable");
            let name = entry.file_name().into_string().expect("UTF-8");
            let path = directory.join(&name);
            if entry.file_type().expect("known").is_dir() {
                // What is not ours: builds, packages, and what scripts fetch.
                if !name.starts_with('.') && name != "target" && name != "node_modules" {
                    rest.push(path);
                }
            } else if name.ends_with(".md") {
                found.push(path);
            }
        }
    }
    found
}

/// What stands between parentheses behind the text of a link or a picture, outside of code.
fn links(text: &str) -> Vec<&str> {
    let mut code = false;
    let prose = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    });
    let parts = prose.flat_map(|line| line.split("](").skip(1));
    parts
        .filter_map(|rest| rest.split(')').next())
        .filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
        .collect()
}

/// The anchors of a page's headings, as the places that show Markdown make them.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let words = line.trim_start_matches('#').trim().to_lowercase();
            let kept = words
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

#[test]
fn every_link_leads_somewhere_and_the_map_leads_to_every_page() {
    let pages = documents();
    let texts: HashMap<PathBuf, String> = pages
        .into_iter()
        .map(|path| (path.clone(), page(path.to_str().expect("UTF-8"))))
        .collect();
    let (mut wrong, mut mapped, mut count) = (Vec::new(), Vec::new(), 0);
    for (from, text) in &texts {
        for target in links(text) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let mut to = from.parent().expect("a directory").to_owned();
            if file.is_empty() {
                to.clone_from(from);
            }
            for part in Path::new(file).components() {
                match part {
                    Component::ParentDir => drop(to.pop()),
                    part => to.push(part),
                }
            }
            let anchored = anchor.is_empty()
                || texts
                    .get(&to)
                    .is_none_or(|text| anchors(text).iter().any(|a| a == anchor));
            if !Path::new(ROOT).join(&to).exists() || !anchored {
                wrong.push(format!("{}: {target}", from.display()));
            }
            if from == Path::new("docs/README.md") {
                mapped.push(to);
            }
            count += 1;
        }
    }
    let in_docs = |path: &&PathBuf| path.parent() == Some(Path::new("docs"));
    let unmapped: Vec<_> = texts
        .keys()
        .filter(in_docs)
        .filter(|path| !path.ends_with("README.md") && !mapped.contains(path))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(
        unmapped.is_empty(),
        "docs/README.md has no link to {unmapped:?}"
    );
    assert!(count > 200, "only {count} links were found");
}
