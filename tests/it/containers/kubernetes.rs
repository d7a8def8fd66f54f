//! The start scripts of the Redis that `deploy/kubernetes` brings, run as its pods run them: three, each a server with a sentinel
//! next to it, with their names, their rights, and what they keep.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Client, DOCKER_KEY, Docker, SECRET, free_port, wait_until};

const LONG: Duration = Duration::from_secs(120);
const PASSWORDS: [&str; 4] = [
    "NODES_PASSWORD=nodes-nodes-nodes",
    "OPERATORS_PASSWORD=operators-operators",
    "REPLICAS_PASSWORD=replicas-replicas",
    "SENTINEL_PASSWORD=sentinels-sentinels",
];

/// Three pods and the network that they are on; gone when it goes out of scope.
struct Pods {
    docker: Docker,
    name: String,
    image: String,
}

impl Pods {
    fn start(docker: Docker) -> Self {
        let compose = std::fs::read_to_string("docker-compose.yml").expect("it is there");
        let mut lines = compose.lines().map(str::trim);
        let image = lines.find_map(|line| line.strip_prefix("image: redis:"));
        let pods = Self {
            docker,
            name: format!("leasehold-test-{}-{}", std::process::id(), free_port()),
            image: format!("redis:{}", image.expect("it names one")),
        };
        docker.run(&["network", "create", &pods.name]);
        for pod in 0..3 {
            let (server, sentinel) = pods.containers(pod);
            let (data, host) = (pods.data(pod), format!("redis-{pod}"));
            let mount = format!("{data}:/data");
            // As fsGroup does.
            let owner = [
                "--user",
                "0",
                "--entrypoint",
                "chown",
                &pods.image,
                "999:999",
                "/data",
            ];
            docker.run(&[&["run", "--rm", "--volume", &mount], &owner[..]].concat());
            let alias = format!("{host}.redis");
            let place = ["--hostname", &host, "--network-alias", &alias];
            let place = [&["--network", &pods.name], &place[..]].concat();
            pods.run(&server, &mount, &place, "redis.sh");
            let beside = format!("container:{server}");
            pods.run(&sentinel, &mount, &["--network", &beside], "sentinel.sh");
        }
        pods
    }

    fn run(&self, name: &str, mount: &str, place: &[&str], script: &str) {
        let scripts = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/deploy/kubernetes/components/sentinel:/scripts:ro"
        );
        let hardened = [
            "--user",
            "999:999",
            "--read-only",
            "--cap-drop",
            "ALL",
            "--security-opt",
            "no-new-privileges",
        ];
        let start = ["run", "--detach", "--name", name, "--volume", mount];
        let passwords = PASSWORDS.map(|password| ["--env", password]).concat();
        let script = format!("/scripts/{script}");
        let what = [
            "--volume",
            scripts,
            "--entrypoint",
            "sh",
            &self.image,
            &script,
        ];
        self.docker
            .run(&[&start[..], &hardened, &passwords, place, &what].concat());
    }

    /// The containers of a pod: the server and its sentinel.
    fn containers(&self, pod: usize) -> (String, String) {
        let server = format!("{}-{pod}", self.name);
        let sentinel = format!("{server}-sentinel");
        (server, sentinel)
    }

    fn data(&self, pod: usize) -> String {
        format!("{}-data-{pod}", self.name)
    }

    /// What the server of a pod says it is, to an operator; nothing if it does not answer.
    fn role(&self, pod: usize) -> String {
        let (server, _) = self.containers(pod);
        let ask = [
            "exec",
            &server,
            "redis-cli",
            "--user",
            "leasehold-operator",
            "--pass",
            "operators-operators",
            "--no-auth-warning",
            "role",
        ];
        let said = String::from_utf8_lossy(&self.docker.output(&ask).stdout).into_owned();
        said.lines().next().unwrap_or_default().to_owned()
    }

    /// As a machine that goes: both at once.
    fn kill(&self, pod: usize) {
        let (server, sentinel) = self.containers(pod);
        self.docker.run(&["kill", &sentinel, &server]);
    }

    fn begin(&self, pod: usize) {
        let (server, sentinel) = self.containers(pod);
        self.docker.run(&["start", &server]);
        self.docker.run(&["start", &sentinel]);
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        for pod in 0..3 {
            let (server, sentinel) = self.containers(pod);
            if std::thread::panicking() {
                for name in [&server, &sentinel] {
                    let logs = self.docker.output(&["logs", "--tail", "30", name]);
                    let logs = String::from_utf8_lossy(&logs.stdout).into_owned();
                    eprintln!("--- {name} wrote ---\n{logs}--- end of {name} ---");
                }
            }
            self.docker.output(&["rm", "--force", &sentinel, &server]);
            self.docker.output(&["volume", "rm", &self.data(pod)]);
        }
        self.docker.output(&["network", "rm", &self.name]);
    }
}

/// A node next to the pods.
struct Node {
    docker: Docker,
    name: String,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.docker.output(&["rm", "--force", &self.name]);
    }
}

#[tokio::test]
async fn the_redis_of_kubernetes_fails_over_and_knows_its_master_again() {
    let Some(docker) = Docker::find() else { return };
    let image = docker.build();
    let pods = Pods::start(docker);
    let port = free_port();
    let node = Node {
        docker,
        name: format!("{}-node", pods.name),
    };
    let hosts = [0, 1, 2].map(|pod| format!("redis-{pod}.redis")).join(",");
    let url = format!(
        "LEASEHOLD_REDIS_URL=redis+sentinel://leasehold:nodes-nodes-nodes@{hosts}/leasehold?sentinel_password=sentinels-sentinels"
    );
    let key = format!("LEASEHOLD_ADMIN_KEY={DOCKER_KEY}");
    let secret = format!("LEASEHOLD_SECRET={SECRET}");
    let publish = format!("127.0.0.1:{port}:7070");
    // Restarted as a pod is, until the sentinels know a master.
    docker.run(&[
        "run",
        "--detach",
        "--name",
        &node.name,
        "--network",
        &pods.name,
        "--restart",
        "always",
        "--publish",
        &publish,
        "--env",
        &url,
        "--env",
        &key,
        "--env",
        &secret,
        &image.name,
    ]);
    let client = Client::new(&format!("http://127.0.0.1:{port}")).with_key(DOCKER_KEY);
    wait_until("the node is ready", LONG, async || {
        ready(port).await && (1..3).all(|pod| pods.role(pod) == "slave")
    })
    .await;
    assert_eq!(pods.role(0), "master");
    client.put_pool("crm", json!({"capacity": 1}), 201).await;
    let lease = client.acquire("crm", json!({"holder": "ann"}), 201).await;
    let goes_on = async || {
        wait_until("the lease goes on", LONG, async || {
            client.renew(&lease.token(), [200, 503]).await.status == 200
        })
        .await;
    };

    // The machine of the master goes, and comes back: it does not take itself for the master.
    pods.kill(0);
    goes_on().await;
    pods.begin(0);
    wait_until("it follows the new master", LONG, async || {
        pods.role(0) == "slave"
    })
    .await;
    client.acquire("crm", json!({"holder": "bob"}), 409).await;

    // All go at once. Whoever was the master may be it again or, where it takes long to start, another one: nothing is lost by it.
    let masters = || (0..3).filter(|pod| pods.role(*pod) == "master").count();
    let replicas = || (0..3).filter(|pod| pods.role(*pod) == "slave").count();
    (0..3).for_each(|pod| pods.kill(pod));
    (0..3).for_each(|pod| pods.begin(pod));
    goes_on().await;
    wait_until("one is the master, two follow it", LONG, async || {
        masters() == 1 && replicas() == 2
    })
    .await;
    goes_on().await;
    assert_eq!(
        client.renew(&lease.token(), 200).await["lease"]["id"],
        lease.id()
    );
    client.acquire("crm", json!({"holder": "bob"}), 409).await;
}

/// Whether a node that may not listen yet is ready.
async fn ready(port: u16) -> bool {
    let asked = reqwest::get(format!("http://127.0.0.1:{port}/readyz")).await;
    asked.is_ok_and(|answer| answer.status() == 200)
}
