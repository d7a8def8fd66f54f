//! Manual pages and completions: made from the command line, and readable by those who read them.

use std::path::Path;
use std::process::Command;

fn leasehold(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_leasehold"))
        .args(arguments)
        .output()
        .expect("it runs");
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// `true` if this machine has a program; prints a line if not.
fn has(program: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .output();
    let found = found.is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("skipped: there is no {program}");
    }
    found
}

#[test]
fn every_command_has_a_page_without_mistakes() {
    let directory = tempfile::tempdir().expect("a directory");
    leasehold(&["man", "--out", directory.path().to_str().expect("UTF-8")]);
    let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).expect(name);

    let program = read("leasehold.1");
    for word in [
        "EXIT STATUS",
        "ENVIRONMENT",
        "LEASEHOLD_KEY_FILE",
        "FILES",
        "may not do this",
    ] {
        assert!(program.contains(word), "{word}");
    }
    for name in [
        "leasehold-serve.1",
        "leasehold-lease-terminate.1",
        "leasehold-run.1",
    ] {
        assert!(read(name).contains("EXIT STATUS"), "{name}");
    }
    let settings = read("leasehold.toml.5");
    assert!(settings.contains("drain_wait_ms") && settings.contains("5000"));
    assert!(
        !settings.contains("trail"),
        "what is hidden has no place in the manual"
    );
    assert_eq!(leasehold(&["man"]), program);

    if has("mandoc") {
        for entry in std::fs::read_dir(directory.path()).expect("listed") {
            lint(&entry.expect("an entry").path());
        }
    }
}

#[test]
fn every_setting_is_on_the_page_of_settings() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/settings.md")).expect("it is there");
    let settings = leasehold(&["config"]);
    let names: Vec<&str> = settings
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(names.len() > 50, "{names:?}");
    let missing: Vec<&&str> = names
        .iter()
        .filter(|name| !page.contains(&format!("`{name}`")))
        .collect();
    assert!(missing.is_empty(), "docs/settings.md has no {missing:?}");
}

fn lint(page: &Path) {
    let output = Command::new("mandoc")
        .args(["-T", "lint", "-W", "warning"])
        .arg(page)
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
}

#[test]
fn shells_take_the_completions() {
    for (shell, check) in [
        ("bash", "bash -n"),
        ("zsh", "zsh -n"),
        ("fish", "fish --no-execute"),
    ] {
        let script = leasehold(&["completions", shell]);
        assert!(script.contains("terminate"), "{shell}");
        if !has(shell) {
            continue;
        }
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("completions");
        std::fs::write(&file, script).expect("written");
        let mut words = check.split(' ');
        let output = Command::new(words.next().expect("a shell"))
            .args(words)
            .arg(&file)
            .output()
            .expect("it runs");
        assert!(
            output.status.success(),
            "{shell}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// The documents that show commands: README.md, docs/ and deploy/.
fn documents() -> Vec<std::path::PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = vec![root.join("README.md")];
    let mut rest = vec![root.join("docs"), root.join("deploy")];
    while let Some(directory) = rest.pop() {
        for entry in std::fs::read_dir(directory).expect("it is there") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                rest.push(path);
            } else if path.extension().is_some_and(|ending| ending == "md") {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn every_command_that_a_document_shows_is_whole() {
    let mut commands = 0;
    for document in documents() {
        let text = std::fs::read_to_string(&document).expect("readable");
        let mut shown = false;
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if line.starts_with("```") {
                shown = !shown && line == "```console";
            }
            let Some(first) = line.strip_prefix("$ ").filter(|_| shown) else {
                continue;
            };
            let mut command = first.to_owned();
            while command.ends_with('\\') {
                command += "\n";
                command += lines.next().expect("a command goes on");
            }
            // Quotes that do not close, above all.
            let read = Command::new("sh")
                .args(["-n", "-c", &command])
                .output()
                .expect("a shell");
            let said = String::from_utf8_lossy(&read.stderr);
            assert!(
                read.status.success(),
                "{}: {command}\n{said}",
                document.display()
            );
            commands += 1;
        }
    }
    assert!(commands > 40, "only {commands} were found");
}
