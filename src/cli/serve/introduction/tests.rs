use super::*;

#[test]
fn the_lines_to_try_are_whole_commands() {
    let text = try_it("127.0.0.1:7070".parse().expect("an address"), None);
    let commands = text.lines().filter(|line| line.contains("curl"));
    assert_eq!(commands.clone().count(), 4);
    for command in commands {
        let mut shell = std::process::Command::new("sh");
        assert!(
            shell
                .args(["-n", "-c", command])
                .status()
                .expect("a shell")
                .success(),
            "{command}"
        );
    }
}
