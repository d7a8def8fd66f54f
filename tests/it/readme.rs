//! README.md is true: its commands are run in order, on a machine with nothing but the program, and answer what stands there.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::harness::free_port;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn readme() -> String {
    std::fs::read_to_string(Path::new(ROOT).join("README.md")).expect("it is there")
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

/// Whether a text is what stands there; `…` stands for whatever there is.
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
    let readme = readme();
    let port = free_port().to_string();
    let mut steps: Vec<(String, String)> = Vec::new();
    for line in blocks(&readme, "console").into_iter().flatten() {
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
fn the_readme_is_short_and_its_links_lead_somewhere() {
    let readme = readme();
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
    let targets = readme
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    let mut count = 0;
    for target in targets.filter(|target| !target.contains("://")) {
        let file = target.split('#').next().expect("a path");
        assert!(Path::new(ROOT).join(file).exists(), "{target}");
        count += 1;
    }
    assert!(count > 20);
    // What `make` is asked for is there.
    let makefile = std::fs::read_to_string(Path::new(ROOT).join("Makefile")).expect("it is there");
    for line in blocks(&readme, "sh").into_iter().flatten() {
        if let Some(rest) = line.strip_prefix("make ") {
            let target = rest.split(' ').next().expect("a word");
            assert!(makefile.contains(&format!("\n{target}:")), "{line}");
        }
    }
}
