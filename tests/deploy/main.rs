//! What is in `deploy/kubernetes`, `deploy/helm` and `deploy/examples`, read as the Kubernetes API reads it, by its own
//! types; Kustomize and Helm are the real ones. The daemon starts with what they come to. The compose file is read by the
//! reader that Docker Compose has.
//!
//! Needs what `tests/run` builds from `tests/deploy/go`.

#![cfg(feature = "emulator")]
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "../sidecar/certificate.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod certificate;
#[path = "../support/mod.rs"]
mod support;

mod image;
mod pod;
mod starts;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use token_broker::config::Config;

/// The chart says which Kubernetes it takes; a helm that was built as a module claims to be an old one's.
const KUBERNETES: [&str; 2] = ["--kube-version", "1.29.0"];
/// The environment of every container in a cluster.
const CLUSTER: [(&str, &str); 2] = [
    ("KUBERNETES_SERVICE_HOST", "10.96.0.1"),
    ("KUBERNETES_SERVICE_PORT", "443"),
];

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

/// The Kustomizations that are installed: the base and its overlays.
fn forms() -> Vec<String> {
    let overlays = fs::read_dir(deploy().join("kubernetes/overlays")).unwrap();
    let overlay = |entry: fs::DirEntry| format!("overlays/{}", entry.file_name().to_str().unwrap());
    let mut forms: Vec<String> = overlays.map(|entry| overlay(entry.unwrap())).collect();
    assert!(forms.len() >= 4, "{forms:?}");
    forms.push("base".to_owned());
    forms
}

/// The values of a broker that a platform drives over TLS.
const ADMIN: &[&str] = &[
    "mode=central",
    "admin.enabled=true",
    "admin.clients[0].name=spiffe://cluster.local/ns/platform/sa/orchestrator",
    "admin.clients[0].role=platform",
    "admin.fromNamespaces[0]=platform",
];

/// A program of `tests/deploy/go`.
fn tool(name: &str) -> Command {
    let usually = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/go/deploy");
    let folder = std::env::var_os("TOKEN_BROKER_TEST_DEPLOY_TOOLS").map_or(usually, PathBuf::from);
    let program = folder.join(name);
    assert!(
        program.exists(),
        "{} is not there: run tests/run",
        program.display()
    );
    let mut command = Command::new(program);
    // Neither plugins nor caches of the user's own.
    command.env_clear().env("HOME", folder);
    command
}

/// Runs it; returns whether it succeeded, and all that it said.
fn run(command: &mut Command) -> (bool, String) {
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[track_caller]
fn succeeds(command: &mut Command) -> String {
    let (succeeded, said) = run(command);
    assert!(succeeded, "{command:?}\n{said}");
    said
}

/// A rendered file, in a folder that goes with it.
struct Rendered {
    folder: tempfile::TempDir,
}

impl Rendered {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("rendered.yaml"), text).unwrap();
        Self { folder }
    }

    /// A Kustomization of `deploy/kubernetes`.
    #[track_caller]
    fn kustomize(name: &str) -> Self {
        let mut build = tool("kustomize");
        Self::new(&succeeds(
            build.arg("build").arg(deploy().join("kubernetes").join(name)),
        ))
    }

    /// The chart with these values.
    #[track_caller]
    fn helm(values: &[&str]) -> Self {
        Self::new(&succeeds(&mut template(values)))
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("rendered.yaml")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    /// Reads it strictly; returns what is in it, a line each.
    #[track_caller]
    fn objects(&self) -> String {
        succeeds(tool("manifests").arg(self.file()))
    }

    /// Whether it comes to the same objects, and if not, why.
    fn is_same_as(&self, other: &Self) -> (bool, String) {
        run(tool("manifests").arg("same").args([self.file(), other.file()]))
    }

    /// What a `ConfigMap` in it holds.
    #[track_caller]
    fn data(&self, key: &str) -> String {
        succeeds(tool("manifests").args(["data", key]).arg(self.file()))
    }

    /// The daemon's configuration, as the daemon reads it.
    #[track_caller]
    fn config(&self) -> Config {
        let file = self.folder.path().join("config.toml");
        fs::write(&file, self.data("config.toml")).unwrap();
        let env = CLUSTER.map(|(name, value)| (name.into(), value.into()));
        match Config::load(Some(&file), env.into_iter()) {
            Ok(config) => config,
            Err(error) => panic!("{error}"),
        }
    }
}

fn template(values: &[&str]) -> Command {
    let mut helm = tool("helm");
    helm.args(["template", "token-broker"])
        .arg(deploy().join("helm/token-broker"))
        .args(["--namespace", "token-broker"])
        .args(KUBERNETES)
        .args(values.iter().flat_map(|value| ["--set", value]));
    helm
}

#[test]
fn the_base_and_every_overlay_are_what_the_api_takes() {
    for name in forms() {
        let rendered = Rendered::kustomize(&name);
        let objects = rendered.objects();
        assert!(
            objects.contains("v1 ConfigMap token-broker/token-broker-config"),
            "{name}: {objects}"
        );
        rendered.config();
    }
    let objects = Rendered::kustomize("base").objects();
    for object in [
        "apps/v1 DaemonSet",
        "storage.k8s.io/v1 CSIDriver token-broker.dev",
    ] {
        assert!(objects.contains(object), "{objects}");
    }
}

#[test]
fn the_configurations_are_what_each_form_is_for() {
    let node = Rendered::kustomize("base").config();
    let csi = node.csi.expect("the base is a CSI driver");
    assert!(csi.registration.is_some(), "which registers itself");
    assert!(Rendered::kustomize("overlays/without-csi").config().csi.is_none());
    let central = Rendered::kustomize("overlays/central").config();
    assert!(central.remote.is_some() && central.csi.is_none());
    let driven = Rendered::kustomize("overlays/remote-admin").config();
    assert!(driven.remote == central.remote && central.admin.is_none());
    let admin = driven.admin.expect("a platform drives it");
    assert_eq!(admin.clients.len(), 1);
}

#[test]
fn the_chart_and_kustomize_come_to_the_same() {
    for (kustomization, values) in [
        ("base", &[][..]),
        ("overlays/without-csi", &["csi.enabled=false"]),
        ("overlays/central", &["mode=central"]),
        ("overlays/startup-taint", &["startupTaint.enabled=true"]),
        ("overlays/monitoring", &["serviceMonitor.enabled=true"]),
        ("overlays/remote-admin", ADMIN),
    ] {
        let (one, other) = (Rendered::kustomize(kustomization), Rendered::helm(values));
        let (same, why) = one.is_same_as(&other);
        assert!(same, "{kustomization}: {why}");
    }
    let (same, _) = Rendered::kustomize("base").is_same_as(&Rendered::helm(&["csi.enabled=false"]));
    assert!(!same, "what differs is told from what does not");
}

#[test]
fn the_chart_is_clean_and_refuses_what_it_does_not_know() {
    let mut lint = tool("helm");
    lint.args(["lint", "--strict"])
        .arg(deploy().join("helm/token-broker"))
        .args(KUBERNETES);
    succeeds(&mut lint);
    let everything = [
        "remote.enabled=true",
        "serviceMonitor.enabled=true",
        "startupTaint.enabled=true",
        "extraEnv[0].name=HTTPS_PROXY",
        "extraEnv[0].value=http://proxy.example:3128",
        "extraVolumes[0].name=kms-plugin",
        "extraVolumes[0].hostPath.path=/run/kms-plugin",
        "extraVolumeMounts[0].name=kms-plugin",
        "extraVolumeMounts[0].mountPath=/run/kms-plugin",
        "agents.invoice-bot.owner=alice",
        "agents.invoice-bot.integrations[0].key=google.gmail.send",
        "agents.invoice-bot.integrations[0].description=Send order confirmations",
    ];
    let rendered = Rendered::helm(&everything);
    rendered.objects();
    rendered.config();
    assert!(rendered.text().contains("value: http://proxy.example:3128"));
    assert!(rendered.text().contains("mountPath: /run/kms-plugin"));
    assert!(rendered.text().contains("path: /run/kms-plugin\n"));
    assert!(rendered.data("invoice-bot.yaml").contains("google.gmail.send"));
    // Nobody is let in but those who are named.
    let closed = Rendered::helm(&["mode=central", "admin.enabled=true"]);
    let objects = closed.objects();
    assert!(
        objects.contains("NetworkPolicy token-broker/token-broker-admin"),
        "{objects}"
    );
    assert!(!closed.text().contains("port: 8444}"));
    assert!(
        closed
            .config()
            .warnings()
            .iter()
            .any(|warning| warning.contains("[[admin.clients]]"))
    );
    let owner = [
        "admin.clients[0].name=alice.corp.example",
        "admin.clients[0].owner=alice",
    ];
    let owner = Rendered::helm(&[&["mode=central", "admin.enabled=true"][..], &owner].concat());
    assert_eq!(owner.config().admin.unwrap().clients.len(), 1);
    for (wrong, named) in [
        ("admin.enabled=true", "needs mode=central"),
        ("admin.clients[0].name=a", "clients"),
        ("admin.clients[0].role=root", "role"),
        ("csi.enabeld=true", "enabeld"),
        ("mode=everywhere", "mode"),
        ("remote.audience=", "audience"),
        ("extraEnv[0].nam=HTTPS_PROXY", "extraEnv"),
        ("extraVolumeMounts[0].name=kms-plugin", "extraVolumeMounts"),
    ] {
        let (succeeded, said) = run(&mut template(&[wrong]));
        assert!(!succeeded && said.contains(named), "{wrong}: {said}");
    }
}

#[test]
fn the_examples_are_what_the_api_and_the_broker_take() {
    let examples = fs::read_dir(deploy().join("examples")).unwrap();
    let mut files: Vec<PathBuf> = examples.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let agent = deploy().join("examples/agent.yaml");
    files.retain(|file| *file != agent);
    assert!(files.len() >= 4, "{files:?}");
    let objects = succeeds(tool("manifests").args(&files));
    for kind in ["v1 Pod", "batch/v1 Job", "v1 ConfigMap"] {
        assert!(objects.contains(kind), "{objects}");
    }
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("invoice-bot.yaml");
    let map = deploy().join("examples/agents.yaml");
    let data = succeeds(tool("manifests").args(["data", "invoice-bot.yaml"]).arg(map));
    fs::write(&manifest, data).unwrap();
    for file in [agent, manifest] {
        let mut validate = Command::new(env!("CARGO_BIN_EXE_token-broker"));
        succeeds(validate.args(["agents", "validate"]).arg(&file).env_clear());
    }
}

#[test]
fn what_the_api_would_not_take_is_found() {
    for (wrong, named) in [
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {contaners: []}\n",
            "contaners",
        ),
        ("apiVersion: v1\nkind: Pot\nmetadata: {name: a}\n", "Pot"),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n    - name: c\n      volumeMounts:\n        \
             - {name: tokens, mountPath: /run}\n",
            "which is no volume",
        ),
    ] {
        let (succeeded, said) = run(tool("manifests").arg(Rendered::new(wrong).file()));
        assert!(!succeeded && said.contains(named), "{said}");
    }
}

#[test]
fn the_compose_file_is_what_compose_takes() {
    let file = deploy().join("compose.yaml");
    let services = succeeds(tool("manifests").arg("compose").arg(&file));
    assert_eq!(
        services,
        "service agent busybox\nservice broker token-broker:0.1.0\n"
    );
    let text = fs::read_to_string(file).unwrap();
    for (right, wrong, named) in [
        ("read_only: true", "readonly: true", "'readonly' not allowed"),
        ("broker: {condition", "brokr: {condition", "brokr"),
        ("deploy/Containerfile", "deploy/Dockerfile", "deploy/Dockerfile: "),
        (
            "target: /run/token-broker\n",
            "target: /run/token-broker/env\n",
            "single file /run/token-broker/env",
        ),
    ] {
        assert!(text.contains(right), "{right}");
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("deploy");
        fs::create_dir(&inside).unwrap();
        fs::copy(deploy().join("Containerfile"), inside.join("Containerfile")).unwrap();
        let file = inside.join("compose.yaml");
        let mut read = tool("manifests");
        read.arg("compose").arg(&file);
        fs::write(&file, &text).unwrap();
        succeeds(&mut read);
        fs::write(&file, text.replace(right, wrong)).unwrap();
        let (succeeded, said) = run(&mut read);
        assert!(!succeeded && said.contains(named), "{wrong}: {said}");
    }
}
