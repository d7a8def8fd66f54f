//! The container engine: the image of a node as users get it, and the project that `docker-compose.yml` describes.
//!
//! These tests start a dozen programs each and want the machine for themselves, so they run only with
//! `TEST_DOCKER=required`, as `make test-containers` has it, one after the other; everybody else reads that. What a test makes
//! has a name of its own, and is gone when it goes out of scope: containers, networks, volumes, images.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use super::{Client, SECRET, free_port};

/// The key of the operators of a [`Project`].
pub(crate) const KEY: &str = "the-operator-key-of-the-tests";
const PASSWORD: &str = "thepasswordofthetests";
const OPERATORS_PASSWORD: &str = "theotherpasswordofthetests";

/// An engine that runs.
#[derive(Clone, Copy)]
pub(crate) struct Docker {
    compose: &'static [&'static str],
}

impl Docker {
    /// The engine, and Compose in one of its two forms.
    pub(crate) fn find() -> Option<Self> {
        if std::env::var("TEST_DOCKER").as_deref() != Ok("required") {
            eprintln!("skipped: `make test-containers` runs this, with the machine for itself");
            return None;
        }
        assert!(
            succeeds(&["docker", "version", "--format", "{{.Server.Version}}"]),
            "no container engine answers `docker version`"
        );
        let forms: [&[&str]; 2] = [&["docker", "compose"], &["docker-compose"]];
        let compose = forms
            .into_iter()
            .find(|form| succeeds(&[form, &["version"][..]].concat()));
        let compose = compose.expect("neither `docker compose` nor `docker-compose` answers");
        Some(Self { compose })
    }

    /// Runs `docker` with these arguments, and must succeed; what it printed.
    #[track_caller]
    pub(crate) fn run(self, arguments: &[&str]) -> String {
        let mut command = Command::new("docker");
        command.args(arguments);
        printed(&mut command)
    }

    /// Runs `docker` with these arguments, however that ends.
    pub(crate) fn output(self, arguments: &[&str]) -> Output {
        let mut command = Command::new("docker");
        command.args(arguments).stdin(Stdio::null());
        command.output().expect("docker runs")
    }

    /// Runs Compose for the files in this directory, with nothing in the environment that they could use.
    pub(crate) fn compose_in(self, directory: &Path, arguments: &[&str]) -> Output {
        let (program, first) = self.compose.split_first().expect("not empty");
        let mut command = Command::new(program);
        command.args(first).args(arguments).current_dir(directory);
        command.env_clear();
        for name in ["PATH", "HOME", "DOCKER_HOST"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.stdin(Stdio::null()).output().expect("it runs")
    }

    /// The last stage of the `Dockerfile`, around the binary under test.
    ///
    /// The stage before builds that binary anew, optimised and static, which takes minutes. Here it takes the libraries of
    /// this machine with it instead, because the image has none.
    pub(crate) fn build(self) -> Image {
        let context = TempDir::with_prefix("leasehold-image-").expect("a temporary directory");
        let root = context.path().join("image");
        let binary = Path::new(env!("CARGO_BIN_EXE_leasehold"));
        copy(binary, &root.join("usr/local/bin/leasehold"));
        // As the stage before has them.
        let certificates = Path::new("/etc/ssl/certs/ca-certificates.crt");
        assert!(
            certificates.exists(),
            "the image has the certificates of public servers; this machine has none to put into it"
        );
        copy(
            certificates,
            &root.join("etc/ssl/certs/ca-certificates.crt"),
        );
        for library in libraries(binary) {
            copy(
                &library,
                &root.join(library.strip_prefix("/").expect("absolute")),
            );
        }
        let dockerfile = std::fs::read_to_string("Dockerfile").expect("it is there");
        let (_, last) = dockerfile
            .rsplit_once("\nFROM ")
            .expect("it has several stages");
        let copied = "COPY --from=build /image/ /";
        assert!(last.contains(copied), "the last stage begins otherwise");
        let stage = format!("FROM {}", last.replace(copied, "COPY image/ /"));
        std::fs::write(context.path().join("Dockerfile"), stage).expect("it can be written");
        let name = format!("leasehold-test:{}", unique());
        let directory = context.path().to_str().expect("UTF-8");
        self.run(&["build", "--quiet", "--tag", &name, directory]);
        Image { docker: self, name }
    }
}

/// An image of this test, removed at its end.
pub(crate) struct Image {
    docker: Docker,
    pub(crate) name: String,
}

impl Drop for Image {
    fn drop(&mut self) {
        self.docker.output(&["rmi", "--force", &self.name]);
    }
}

/// What `docker compose up` starts, under a name and on a port of its own.
pub(crate) struct Project {
    // Before the image, which cannot go while it is used.
    containers: Containers,
    _image: Image,
    port: u16,
}

struct Containers {
    docker: Docker,
    name: String,
    environment: Vec<(String, String)>,
}

impl Project {
    /// Prepares one; nothing is started.
    pub(crate) fn prepare(docker: Docker) -> Self {
        let image = docker.build();
        let port = free_port();
        let name = format!("leasehold-test-{}", unique());
        let environment = [
            ("COMPOSE_PROJECT_NAME", name.as_str()),
            // What an .env of this machine says is not for the tests.
            ("COMPOSE_PROFILES", ""),
            ("NODE_IMAGE", &image.name),
            ("BALANCER_BIND", "127.0.0.1"),
            ("BALANCER_PORT", &port.to_string()),
            ("TLS_PORT", &free_port().to_string()),
            ("PROMETHEUS_PORT", &free_port().to_string()),
            ("LEASEHOLD_ADMIN_KEY", KEY),
            ("LEASEHOLD_SECRET", SECRET),
            ("REDIS_PASSWORD", PASSWORD),
            ("REDIS_OPERATOR_PASSWORD", OPERATORS_PASSWORD),
            ("REDIS_SCHEME", "redis"),
            ("REDIS_HOSTS", "redis:6379"),
            ("GRAFANA_PASSWORD", PASSWORD),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self {
            containers: Containers {
                docker,
                name,
                environment: environment.into(),
            },
            _image: image,
            port,
        }
    }

    /// Gives Compose another value for what its file takes from the environment.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        let all = self.containers.environment.iter_mut();
        for (_, old) in all.filter(|(known, _)| known == name) {
            value.clone_into(old);
        }
    }

    /// Runs Compose with these arguments, and must succeed; what it printed.
    #[track_caller]
    pub(crate) fn compose(&self, arguments: &[&str]) -> String {
        printed(&mut self.containers.compose(arguments))
    }

    /// Runs Compose with these arguments, however that ends.
    pub(crate) fn compose_however(&self, arguments: &[&str]) -> Output {
        let mut command = self.containers.compose(arguments);
        command.output().expect("it runs")
    }

    /// Runs a script of the repository for this project.
    pub(crate) fn script(&self, path: &str) -> tokio::process::Command {
        let mut command = Command::new("sh");
        command.arg(path);
        self.containers.place(&mut command);
        let mut command = tokio::process::Command::from(command);
        command.kill_on_drop(true);
        command
    }

    /// The ids of a service's containers, of those that were stopped too.
    pub(crate) fn containers(&self, service: &str) -> Vec<String> {
        let project = format!("label=com.docker.compose.project={}", self.containers.name);
        let service = format!("label=com.docker.compose.service={service}");
        let printed = self.containers.docker.run(&[
            "ps", "--all", "--quiet", "--filter", &project, "--filter", &service,
        ]);
        printed.split_whitespace().map(str::to_owned).collect()
    }

    /// What was given to Compose in the environment.
    pub(crate) fn setting(&self, name: &str) -> &str {
        let mut all = self.containers.environment.iter();
        let found = all.find(|(known, _)| known == name);
        &found.expect("one of those above").1
    }

    pub(crate) fn server(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// An operator who comes through the balancer.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.server()).with_key(KEY)
    }

    /// What the balancer says about the nodes of a backend: the fields of its statistics, by name, for each that has an
    /// address.
    pub(crate) fn servers(&self, backend: &str) -> Vec<Vec<(String, String)>> {
        let ask = "exec 3<>/dev/tcp/127.0.0.1/8404 && \
                   printf 'GET /;csv HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3";
        let page = self.compose(&["exec", "-T", "balancer", "bash", "-c", ask]);
        let mut lines = page
            .lines()
            .map(str::trim)
            .skip_while(|line| !line.starts_with("# "));
        let head: Vec<_> = lines
            .next()
            .unwrap_or_else(|| panic!("no statistics in {page}"))
            .trim_start_matches("# ")
            .split(',')
            .map(str::to_owned)
            .collect();
        lines
            .map(|line| {
                let values = line.split(',').map(str::to_owned);
                head.iter().cloned().zip(values).collect::<Vec<_>>()
            })
            .filter(|server| {
                field(server, "pxname") == backend
                    && field(server, "svname").starts_with("node")
                    && !field(server, "status").starts_with("MAINT")
            })
            .collect()
    }
}

/// A field of what [`Project::servers`] says.
pub(crate) fn field<'a>(server: &'a [(String, String)], name: &str) -> &'a str {
    let found = server.iter().find(|(known, _)| known == name);
    found.map_or("", |(_, value)| value)
}

impl Containers {
    fn compose(&self, arguments: &[&str]) -> Command {
        let (program, first) = self.docker.compose.split_first().expect("not empty");
        let mut command = Command::new(program);
        command.args(first).args(arguments);
        self.place(&mut command);
        command
    }

    fn place(&self, command: &mut Command) {
        command
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Ok(logs) = self
                .compose(&["logs", "--no-color", "--tail", "40"])
                .output()
        {
            let logs = String::from_utf8_lossy(&logs.stdout).into_owned();
            eprintln!(
                "--- {} wrote ---\n{logs}--- end of {} ---",
                self.name, self.name
            );
        }
        // With the profiles, because what belongs to one that is off is not taken away.
        let all = "monitoring,demo,sentinel,tools";
        let down = ["down", "--volumes", "--remove-orphans", "--timeout", "0"];
        // Nothing is left to do when that fails.
        let _ = self.compose(&down).env("COMPOSE_PROFILES", all).output();
    }
}

/// Another name for each that asks, also in another run.
fn unique() -> String {
    format!("{}-{}", std::process::id(), free_port())
}

fn succeeds(line: &[&str]) -> bool {
    Command::new(line[0])
        .args(&line[1..])
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success())
}

#[track_caller]
fn printed(command: &mut Command) -> String {
    let line = command
        .get_args()
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ");
    let output = command.stdin(Stdio::null()).output().expect("it runs");
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{line}: {}\n{out}\n{err}",
        output.status
    );
    out.into_owned()
}

/// What a binary is linked with; nothing for a static one.
fn libraries(binary: &Path) -> Vec<PathBuf> {
    let output = Command::new("ldd")
        .arg(binary)
        .output()
        .expect("ldd, a part of the C library, runs");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(PathBuf::from)
        .collect()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.parent().expect("a file in a directory"))
        .expect("the directory is ours");
    std::fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
}
