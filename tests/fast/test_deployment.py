"""The Dockerfile, the compose file, the manifests and the systemd unit fit wcsup and each other."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
from deployed import (
    KUBERNETES,
    TOP,
    compose,
    config_map,
    container,
    document,
    image,
    instructions,
    kustomization,
    pod,
    pod_environment,
    resources,
)

from wcsup import __version__
from wcsup.broker import pinned
from wcsup.cli.app import app
from wcsup.observe.web.site import Site
from wcsup.supervisor import RunOptions

UNIT = TOP / "deploy" / "wcsup.service"

DRAIN_SECONDS = 2 * RunOptions().drain_timeout
"""Mappers drain, and after them reducers."""


def command(*words: str) -> click.Context:
    """What the command line makes of a command, without running it; fails for one that does not exist."""
    above = click.Context(app, info_name="wcsup")
    found = app.get_command(above, words[0])
    assert found is not None
    return found.make_context(words[0], list(words[1:]), parent=above)


def settings() -> dict[str, click.Option]:
    """The options of `wcsup run` by the names of their variables in the environment."""
    found = app.get_command(click.Context(app), "run")
    assert found is not None
    return {
        str(option.envvar or f"WCSUP_RUN_{option.name}".upper()): option
        for option in found.params
        if isinstance(option, click.Option) and option.name
    }


# The image


def test_the_image_runs_wcsup_itself_and_not_as_root() -> None:
    made = image()
    assert (made.entrypoint, made.stop_signal) == (["wcsup"], "SIGTERM")
    command(*made.command)
    user, group = map(int, made.user.split(":"))
    assert user and group
    [created] = [rest for name, rest in instructions() if "useradd" in rest]
    assert f"--uid {user} " in created
    assert [made.environment["WCSUP_STATE_DIR"]] == made.volumes
    assert made.ports == [made.environment["WCSUP_RUN_HTTP"].rpartition(":")[2]]


def test_the_image_is_healthy_by_an_answer_that_comes_in_time() -> None:
    made = image()
    [url] = re.findall(r"http://127\.0\.0\.1:(\d+)(/\w+)", " ".join(made.health_command))
    assert url == (made.ports[0], "/livez")
    assert Site("books").answer(url[1]).status == 200
    [patience] = map(float, re.findall(r"timeout=(\d+)", " ".join(made.health_command)))
    assert patience < float(made.health["timeout"].rstrip("s"))


def test_the_image_is_built_of_what_is_locked() -> None:
    cargo = tomllib.loads((TOP / "Cargo.toml").read_text())
    rust, python = (rest.split()[0] for name, rest in instructions() if name == "FROM")
    assert rust.startswith(f"rust:{cargo['package']['rust-version']}-slim-")
    assert python.startswith("python:3.11-slim-")
    assert rust.rpartition("-")[2] == python.rpartition("-")[2], "wheels of one C library"

    # What is installed is in the lock of `make test`, version by version and hash by hash.
    whole, ours = ((TOP / name).read_text() for name in ("requirements.txt", "deploy/requirements.txt"))
    entries = re.findall(r"^[a-z].*(?:\n    --hash=.*)+", ours, re.MULTILINE)
    assert len(entries) > 5
    assert all(entry in whole for entry in entries)
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    needed = {re.split(r"[<>=]", line)[0] for line in project["dependencies"]}
    assert needed <= {entry.split("==")[0] for entry in entries}

    # The Dockerfile cuts the line of maturin out of the lock by sed.
    cut = subprocess.run(
        ["sed", "-n", r"/^maturin==/,/[^\\]$/p", TOP / "requirements.txt"], capture_output=True, text=True, check=True
    ).stdout
    assert r"/^maturin==/,/[^\\]$/p" in (TOP / "Dockerfile").read_text()
    assert re.fullmatch(r"maturin==\S+ \\\n( +--hash=sha256:\w+ \\\n)* +--hash=sha256:\w+\n", cut)


def test_the_build_is_given_every_file_that_cargo_names() -> None:
    kept = [line.removeprefix("!") for line in (TOP / ".dockerignore").read_text().splitlines() if line[:1] == "!"]
    cargo = tomllib.loads((TOP / "Cargo.toml").read_text())
    named = [
        cargo["lib"]["path"],
        *(one["path"] for one in cargo["test"]),
        *(f"benches/{one['name']}.rs" for one in cargo["bench"]),
    ]
    project = tomllib.loads((TOP / "pyproject.toml").read_text())
    named += [project["project"]["readme"], *project["project"]["license-files"], "Cargo.lock"]
    for path in named:
        assert any(path == keep or path.startswith(f"{keep}/") for keep in kept), path
    for path in kept:
        assert (TOP / path).exists(), path


# Several containers on one machine


def test_three_brokers_keep_three_copies() -> None:
    services = compose()["services"]
    brokers = {name: service for name, service in services.items() if name.startswith("kafka")}
    assert list(brokers) == ["kafka1", "kafka2", "kafka3"]
    for number, (name, service) in enumerate(brokers.items(), 1):
        given = service["environment"]
        assert service["image"] == f"apache/kafka:{pinned.KAFKA_VERSION}"
        assert given["KAFKA_NODE_ID"] == str(number)
        assert given["KAFKA_ADVERTISED_LISTENERS"] == f"PLAINTEXT://{name}:9092"
        assert given["KAFKA_CONTROLLER_QUORUM_VOTERS"] == "1@kafka1:9093,2@kafka2:9093,3@kafka3:9093"
        assert service["volumes"] == [f"{name}:{given['KAFKA_LOG_DIRS']}"]
        assert re.fullmatch(r"[\w-]{22}", given["CLUSTER_ID"])
        for copies in ("OFFSETS_TOPIC", "DEFAULT", "TRANSACTION_STATE_LOG"):
            assert given[f"KAFKA_{copies}_REPLICATION_FACTOR"] == "3"
        assert given["KAFKA_MIN_INSYNC_REPLICAS"] == given["KAFKA_TRANSACTION_STATE_LOG_MIN_ISR"] == "2"


def test_hosts_have_volumes_of_their_own_and_time_to_drain() -> None:
    services = compose()["services"]
    host = services["wcsup"]
    assert host["scale"] == 2
    assert host["image"] == f"wcsup:{__version__}"
    assert image().volumes == ["/var/lib/wcsup"]
    assert "volumes" not in host, "each container has one of its own, as the image says"
    assert set(host["depends_on"]) == {name for name in services if name.startswith("kafka")}
    assert float(host["stop_grace_period"].rstrip("s")) > DRAIN_SECONDS
    assert set(host["environment"]) <= set(settings())
    command(*host["command"].split())


def test_what_is_mounted_is_there() -> None:
    mounts = [mount for service in compose()["services"].values() for mount in service.get("volumes", [])]
    files = [mount.split(":") for mount in mounts if mount.startswith("./")]
    assert len(files) == 4
    assert all((TOP / source).exists() and mode == "ro" for source, _, mode in files)
    assert {mount.split(":")[0] for mount in mounts if mount[0].isalpha()} == set(compose()["volumes"])


# Kubernetes


def test_a_pods_name_is_its_hosts_name() -> None:
    found = pod_environment("wcsup-3")
    assert set(found) <= set(settings())
    assert found["WCSUP_HOST"] == "wcsup-3"
    settings()["WCSUP_HOST"].type.convert("wcsup-3", None, None)
    [variable] = [one for one in container()["env"] if one["name"] == "WCSUP_HOST"]
    assert variable["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    command(*container()["args"])


def test_pods_are_found_by_their_labels() -> None:
    labels = pod()["metadata"]["labels"]
    spec = {kind: found["spec"] for kind, found in resources().items()}
    assert spec["StatefulSet"]["selector"]["matchLabels"] == labels
    assert spec["Service"]["selector"] == labels
    assert spec["PodDisruptionBudget"]["selector"]["matchLabels"] == labels
    assert spec["NetworkPolicy"]["podSelector"]["matchLabels"] == labels
    for spread in pod()["spec"]["topologySpreadConstraints"]:
        assert spread["labelSelector"]["matchLabels"] == labels
    assert spec["StatefulSet"]["serviceName"] == resources()["Service"]["metadata"]["name"]


def test_everything_that_a_pod_refers_to_is_made() -> None:
    [secret], [generated] = kustomization()["secretGenerator"], kustomization()["configMapGenerator"]
    assert {one["configMapRef"]["name"] for one in container()["envFrom"]} == {generated["name"]}
    volumes = {one["name"]: one["secret"]["secretName"] for one in pod()["spec"]["volumes"]}
    claims = {one["metadata"]["name"] for one in resources()["StatefulSet"]["spec"]["volumeClaimTemplates"]}
    assert set(volumes.values()) == {secret["name"]}
    mounts = {one["name"]: one["mountPath"] for one in container()["volumeMounts"]}
    assert set(mounts) == {*volumes, *claims}
    assert [mounts[name] for name in claims] == image().volumes
    [kafka] = [mounts[name] for name in volumes]
    [file] = secret["files"]
    assert (KUBERNETES / file).exists()
    assert pod_environment("")["WCSUP_KAFKA_CONFIG"] == f"{kafka}/{file}"
    [renamed] = kustomization()["images"]
    assert (renamed["name"], renamed["newTag"]) == (container()["image"], __version__)


def test_probes_ask_what_is_served() -> None:
    ports = {one["name"]: str(one["containerPort"]) for one in container()["ports"]}
    assert list(ports.values()) == image().ports
    assert pod()["metadata"]["annotations"]["prometheus.io/port"] in ports.values()
    site = Site("books")
    for probe, path in (("startup", "/livez"), ("liveness", "/livez"), ("readiness", "/readyz")):
        asked = container()[f"{probe}Probe"]["httpGet"]
        assert asked == {"path": path, "port": "http"}
        assert site.answer(path).status in {200, 503}
    [served] = resources()["Service"]["spec"]["ports"]
    [open_port] = resources()["NetworkPolicy"]["spec"]["ingress"][0]["ports"]
    assert served["targetPort"] in ports
    assert open_port["port"] in ports


def test_a_pod_has_time_to_drain() -> None:
    hook = container()["lifecycle"]["preStop"]["exec"]["command"]
    assert hook[:1] == image().entrypoint
    assert command(*hook[1:]).params["wait"]
    assert pod()["spec"]["terminationGracePeriodSeconds"] > DRAIN_SECONDS


def test_a_pod_may_do_nothing_that_it_need_not() -> None:
    user, group = map(int, image().user.split(":"))
    of_pod = pod()["spec"]["securityContext"]
    assert of_pod["runAsNonRoot"]
    assert (of_pod["runAsUser"], of_pod["runAsGroup"], of_pod["fsGroup"]) == (user, group, group)
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not pod()["spec"]["automountServiceAccountToken"]
    # It would put variables that begin with WCSUP_ into the environment: the service is called wcsup.
    assert not pod()["spec"]["enableServiceLinks"]


def test_what_kustomize_makes_is_valid_too() -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    made = subprocess.run([kubectl, "kustomize", KUBERNETES], capture_output=True, check=True)
    judge = [sys.executable, "-m", "kubernetes_validate", "--strict", "/dev/stdin"]
    judged = subprocess.run(judge, input=made.stdout, capture_output=True, check=False)
    assert judged.returncode == 0, judged.stdout.decode()
    assert f"image: wcsup:{__version__}" in made.stdout.decode()
    assert all(f"{name}: " in made.stdout.decode() for name in config_map())


# systemd


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    systemd = shutil.which("systemd-analyze")
    if systemd is None:
        pytest.skip("systemd is not installed")
    text = UNIT.read_text()
    [started] = re.findall(r"^ExecStart=\S+/wcsup (.*)$", text, re.MULTILINE)
    command(*started.split())
    copy = tmp_path / UNIT.name
    copy.write_text(text.replace("/opt/wcsup/bin/wcsup", sys.executable))

    said = subprocess.run([systemd, "verify", copy], capture_output=True, text=True, check=False).stderr
    older = re.compile(r".*: Failed to parse service type, ignoring: notify-reload\n")  # systemd before 253
    assert older.sub("", said, count=1) == ""
    # From 0 for a service that may do nothing to 10 for one that may do anything, in tenths
    judged = [systemd, "security", "--offline=true", "--threshold=20", str(copy)]
    assert subprocess.run(judged, capture_output=True, check=False).returncode == 0


def test_settings_that_the_unit_shows_exist() -> None:
    shown = re.findall(r"\b(WCSUP_\w+)=", UNIT.read_text())
    assert len(shown) > 3
    assert set(shown) <= set(settings())


# The release


def test_a_release_runs_actions_of_known_hashes_and_publishes_without_a_token() -> None:
    text = (TOP / ".github" / "workflows" / "release.yml").read_text()
    used = re.findall(r"uses: (.*)", text)
    assert len(used) > 5
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", one) for one in used), used
    jobs = document(TOP / ".github" / "workflows" / "release.yml")["jobs"]
    assert [name for name, job in jobs.items() if "id-token" in job["permissions"]] == ["publish"]
    assert "secrets." not in text
    assert "make wheels" in [step.get("run") for step in jobs["build"]["steps"]]


def test_wheels_are_built_by_what_is_locked() -> None:
    builds = (TOP / "deploy" / "release.txt").read_text()
    [required] = tomllib.loads((TOP / "pyproject.toml").read_text())["build-system"]["requires"]
    assert required in builds
    assert f"{required} " in (TOP / "requirements.txt").read_text()
