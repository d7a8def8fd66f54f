//! The manifests for Kubernetes: a cluster would take them, what is wrong with them is noticed, and what they say of nodes is
//! what nodes do. Whether it works is tried with containers, in `containers/kubernetes.rs`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use leasehold::http::server::Limits;
use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn file(path: &str) -> String {
    let path = Path::new(ROOT).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What stands behind `name:` where that is for the first time; nothing of YAML is known here.
fn value<'a>(text: &'a str, name: &str) -> &'a str {
    let mut lines = text
        .lines()
        .map(|line| line.trim().trim_start_matches("- "));
    lines
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .unwrap_or_else(|| panic!("no {name} in {text}"))
        .trim()
}

fn seconds(text: &str, name: &str) -> Duration {
    let value = value(text, name).trim_end_matches('s');
    Duration::from_secs(value.parse().unwrap_or_else(|_| panic!("{name}: {value}")))
}

/// How long a probe takes to notice, at most.
fn notices(probe: &str) -> Duration {
    let failures: u32 = value(probe, "failureThreshold").parse().expect("a number");
    seconds(probe, "periodSeconds") * failures + seconds(probe, "timeoutSeconds")
}

/// A probe of the deployment.
fn probe<'a>(deployment: &'a str, name: &str) -> &'a str {
    let (_, probe) = deployment.split_once(name).expect("a probe");
    let (_, probe) = probe.split_once("httpGet:").expect("it asks over HTTP");
    probe
}

/// What `leasehold config` makes of the settings and secrets of a pod, as the deployment hands them over.
fn settings_of_a_pod(deployment: &str) -> BTreeMap<String, Value> {
    let secrets = tempfile::tempdir().expect("a directory");
    for (name, text) in [
        ("redis-url", "redis://leasehold:a-password@redis.example"),
        ("secret", "a-secret-of-enough-characters-for-a-signature"),
        ("admin-key", "the-key-of-the-operators"),
    ] {
        std::fs::write(secrets.path().join(name), text).expect("written");
    }
    let secrets = secrets.path().to_str().expect("UTF-8");
    let (_, environment) = deployment.split_once("env:\n").expect("an environment");
    let (environment, _) = environment.split_once("ports:").expect("ports follow");
    let mut command = Command::new(env!("CARGO_BIN_EXE_leasehold"));
    command.args(["config", "--json"]).env_clear();
    for pair in environment.split("- name: ").skip(1) {
        let (name, value) = pair.split_once("value: ").expect("a value");
        let value = value
            .trim()
            .replace("/run/secrets/leasehold", secrets)
            .replace("/etc/leasehold", &format!("{ROOT}/deploy/kubernetes/base"));
        command.env(name.trim(), value);
    }
    let output = command.output().expect("it runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let settings: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let settings = settings.as_array().expect("a list").iter();
    settings
        .map(|setting| {
            let name = setting["setting"].as_str().expect("a name");
            (name.to_owned(), setting.clone())
        })
        .collect()
}

#[test]
fn a_pod_is_asked_and_ended_as_a_node_wants_it() {
    let deployment = file("deploy/kubernetes/base/deployment.yaml");
    let settings = settings_of_a_pod(&deployment);
    let drain_wait = settings["drain_wait_ms"]["value"].as_u64();
    let drain_wait = Duration::from_millis(drain_wait.expect("a number"));
    let drain_total = Limits::default().drain_total;

    // Told to stop, a node is taken out of the service before it closes its door, and has done all before it is killed.
    let ready = probe(&deployment, "readinessProbe:");
    assert_eq!(value(ready, "path"), "/readyz");
    assert!(notices(ready) < drain_wait, "{:?}", notices(ready));
    assert!(drain_wait < drain_total);
    let grace = seconds(&deployment, "terminationGracePeriodSeconds");
    assert!(grace >= drain_total + Duration::from_secs(5), "{grace:?}");
    let compose = file("docker-compose.yml");
    let (_, node) = compose.split_once("\n  node:\n").expect("nodes");
    let grace = seconds(node, "stop_grace_period");
    assert!(grace >= drain_total + Duration::from_secs(5), "{grace:?}");

    // Nobody is restarted because Redis is away.
    for name in ["livenessProbe:", "startupProbe:"] {
        assert_eq!(value(probe(&deployment, name), "path"), "/livez");
    }
    let port = value(&deployment, "containerPort");
    let listen = settings["listen"]["value"].as_str().expect("an address");
    assert_eq!(listen, format!("0.0.0.0:{port}"));
    assert!(file("Dockerfile").contains(&format!("EXPOSE {port}\n")));

    // Secrets come as files, and from nowhere else.
    for name in ["redis_url", "secret", "admin_key"] {
        let origin = settings[name]["origin"].as_str().expect("an origin");
        assert!(
            origin.ends_with(&name.replace('_', "-")),
            "{name}: {origin}"
        );
    }
}

#[test]
fn what_is_deployed_is_of_one_version() {
    let version = env!("CARGO_PKG_VERSION");
    let base = file("deploy/kubernetes/base/kustomization.yaml");
    assert_eq!(value(&base, "newTag"), version);
    assert_eq!(value(&base, "app.kubernetes.io/version"), version);
    assert!(file("Dockerfile").contains(&format!("ARG VERSION={version}\n")));
    let compose = file("docker-compose.yml");
    assert!(compose.contains(&format!("image: ${{NODE_IMAGE:-leasehold:{version}}}\n")));

    let chart = file("deploy/helm/leasehold/Chart.yaml");
    assert_eq!(value(&chart, "version"), version);
    assert_eq!(value(&chart, "appVersion"), version);

    let redis = file("deploy/kubernetes/components/sentinel/kustomization.yaml");
    let tag = value(&redis, "newTag");
    assert!(compose.contains(&format!("image: redis:{tag}\n")), "{tag}");
}

/// A file of the chart as it comes out with these values; none where there is no helm.
fn of_chart(template: &str, values: &str) -> Option<String> {
    let found = Command::new("sh")
        .args(["scripts/helm.sh", "--no-build"])
        .current_dir(ROOT)
        .output()
        .expect("sh runs");
    if !found.status.success() {
        eprintln!("skipped: {}", String::from_utf8_lossy(&found.stderr));
        return None;
    }
    let helm = String::from_utf8(found.stdout).expect("a path");
    let chart = "deploy/helm/leasehold";
    let values = format!("{chart}/ci/{values}-values.yaml");
    let built = Command::new(helm.trim())
        .args(["template", "seats", chart, "--kube-version", "1.37"])
        .args(["--values", &values, "--show-only", template])
        .current_dir(ROOT)
        .output()
        .expect("helm runs");
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{said}");
    Some(String::from_utf8(built.stdout).expect("UTF-8"))
}

#[test]
fn the_settings_of_the_chart_are_settings_of_a_node() {
    let Some(settings) = of_chart("templates/settings.yaml", "external") else {
        return;
    };
    let (_, settings) = settings.split_once("leasehold.toml: |\n").expect("a file");
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("leasehold.toml");
    std::fs::write(&path, settings).expect("ours");
    let output = Command::new(env!("CARGO_BIN_EXE_leasehold"))
        .args(["config", "--json", "--config"])
        .arg(&path)
        .env_clear()
        .env("LEASEHOLD_ADMIN_KEY", "the-key-of-the-operators")
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let rows: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let rows = rows.as_array().expect("a list");
    let row = |name: &str| {
        let row = rows.iter().find(|row| row["setting"] == name);
        row.unwrap_or_else(|| panic!("no {name}"))["value"].clone()
    };
    assert_eq!(row("drain_wait_ms"), 10_000);
    assert_eq!(row("pools.crm")["alert_at_percent"][1], 95);

    // What the pods are given besides is what those of the other manifests are given.
    let chart = of_chart("templates/deployment.yaml", "plain").expect("helm is there");
    let base = file("deploy/kubernetes/base/deployment.yaml");
    for text in [
        "terminationGracePeriodSeconds: 30",
        "maxUnavailable: 0",
        "LEASEHOLD_REDIS_URL_FILE",
        "LEASEHOLD_SECRET_FILE",
        "LEASEHOLD_ADMIN_KEY_FILE",
        "readOnlyRootFilesystem: true",
        "failureThreshold: 60",
    ] {
        assert!(base.contains(text) && chart.contains(text), "{text}");
    }
}

/// The lines of a file that make users, without their passwords.
fn users(text: &str) -> BTreeMap<&str, String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("user "));
    lines
        .filter_map(|line| {
            let (name, rights) = line.split_once(' ')?;
            let words = rights.split(' ').filter(|word| !word.starts_with('>'));
            Some((name, words.collect::<Vec<_>>().join(" ")))
        })
        .collect()
}

#[test]
fn every_setting_can_be_given_to_the_nodes_of_compose() {
    let compose = file("docker-compose.yml");
    let (_, node) = compose.split_once("\n  node:\n").expect("nodes");
    let (node, _) = node.split_once("\n  balancer:\n").expect("a balancer");
    let example = file("leasehold.example.toml");
    // What the image or the project decides: where a node listens, and where its data are.
    let ours = ["listen", "metrics_listen", "data_dir", "redis_server"];
    let (example, _) = example.split_once("#[pools").expect("pools come last");
    let settings = example.lines().filter_map(|line| {
        let (name, _) = line.strip_prefix('#')?.split_once(" = ")?;
        let is_name = name
            .chars()
            .all(|letter| letter.is_ascii_lowercase() || letter == '_');
        // Files would have to be in the container, too.
        (is_name && !name.ends_with("_file") && !ours.contains(&name)).then_some(name)
    });
    let settings: Vec<&str> = settings.collect();
    assert!(settings.len() > 25, "{settings:?}");
    for name in settings {
        let line = format!("\n      LEASEHOLD_{}:", name.to_uppercase());
        assert!(
            node.contains(&line),
            "docker-compose.yml does not pass {name} on"
        );
    }
}

#[test]
fn redis_has_the_same_users_everywhere() {
    let shipped = file("deploy/redis/leasehold.acl");
    let shipped = users(&shipped);
    let kubernetes = file("deploy/kubernetes/components/sentinel/redis.sh");
    let kubernetes = users(&kubernetes);
    assert_eq!(shipped.len(), 3);
    for (name, rights) in &shipped {
        assert_eq!(kubernetes.get(name), Some(rights), "{name}");
    }
    // Compose takes the shipped file, and adds those that a server needs besides.
    let compose = file("deploy/docker/redis.sh");
    for (name, rights) in users(&compose) {
        assert_eq!(kubernetes.get(name), Some(&rights), "{name}");
    }
}

/// What the script that checks manifests says of an overlay.
fn check(overlay: &Path) -> Output {
    let mut command = Command::new("sh");
    command.arg("scripts/kubernetes.sh").arg(overlay);
    command.current_dir(ROOT).output().expect("sh runs")
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("ours");
    for entry in std::fs::read_dir(from).expect("readable") {
        let entry = entry.expect("readable");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("known").is_dir() {
            copy_all(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("copied");
        }
    }
}

#[test]
fn manifests_that_a_cluster_would_refuse_are_refused_before() {
    let directory = tempfile::tempdir().expect("a directory");
    let place = directory.path();
    copy_all(&Path::new(ROOT).join("deploy/kubernetes"), place);
    let overlay = place.join("overlays/monitoring");
    let good = check(&overlay);
    let said = String::from_utf8_lossy(&good.stderr);
    if said.contains("skipped") {
        eprintln!("skipped: {said}");
        return;
    }
    assert!(good.status.success(), "{said}");

    for (path, right, wrong) in [
        // A word that there is not, as after a typing error.
        (
            "base/deployment.yaml",
            "minReadySeconds: 5",
            "minReadySecond: 5",
        ),
        // A text where a number has to be.
        (
            "base/deployment.yaml",
            "terminationGracePeriodSeconds: 30",
            "terminationGracePeriodSeconds: soon",
        ),
        // Something that has to be there is not.
        (
            "base/horizontalpodautoscaler.yaml",
            "  maxReplicas: 10\n",
            "",
        ),
        // A version of the interface that does not have this kind.
        (
            "base/poddisruptionbudget.yaml",
            "apiVersion: policy/v1",
            "apiVersion: apps/v1",
        ),
        // The same for what is the Prometheus operator's.
        (
            "components/monitoring/servicemonitor.yaml",
            "    - port: http",
            "    - port: 7070",
        ),
        // A file that is not there.
        (
            "base/kustomization.yaml",
            "- service.yaml",
            "- services.yaml",
        ),
    ] {
        let changed = place.join(path);
        let before = std::fs::read_to_string(&changed).expect("copied");
        assert!(before.contains(right), "{path} has no {right}");
        std::fs::write(&changed, before.replacen(right, wrong, 1)).expect("ours");
        let output = check(&overlay);
        assert!(!output.status.success(), "{path} with {wrong} was taken");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("kubernetes: "), "{said}");
        std::fs::write(&changed, before).expect("ours");
    }
}
