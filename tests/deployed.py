"""What the files for deployment say: the Dockerfile, the compose file and the manifests for Kubernetes."""

import json
import re
import shlex
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

TOP = Path(__file__).parents[1]
KUBERNETES = TOP / "deploy" / "kubernetes"


def documents(path: Path) -> list[Any]:
    """The documents of a YAML file."""
    return list(YAML(typ="safe", pure=True).load_all(path.read_text()))


def document(path: Path) -> Any:
    """The one document of a YAML file."""
    [found] = documents(path)
    return found


@dataclass
class Image:
    """What the last stage of the Dockerfile makes of the image."""

    base: str = ""
    user: str = ""
    stop_signal: str = ""
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    volumes: list[str] = field(default_factory=list)
    ports: list[str] = field(default_factory=list)
    health: dict[str, str] = field(default_factory=dict)
    """Options of HEALTHCHECK."""
    health_command: list[str] = field(default_factory=list)


@cache
def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions in order, each with its arguments in one line."""
    text = "\n".join(line for line in (TOP / "Dockerfile").read_text().splitlines() if not line.startswith("#"))
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines if line)]


@cache
def image() -> Image:
    """The image, from the last stage's instructions."""
    found = Image()
    for name, rest in instructions():
        match name:
            case "FROM":
                found = Image(base=rest)
            case "USER":
                found.user = rest
            case "STOPSIGNAL":
                found.stop_signal = rest
            case "ENTRYPOINT":
                found.entrypoint = json.loads(rest)  # the form without a shell
            case "CMD":
                found.command = json.loads(rest)
            case "ENV":
                found.environment |= dict(word.split("=", 1) for word in shlex.split(rest))
            case "VOLUME":
                found.volumes.append(rest)
            case "EXPOSE":
                found.ports.append(rest)
            case "HEALTHCHECK":
                options, _, command = rest.partition("CMD ")
                found.health = dict(re.findall(r"--([a-z-]+)=(\S+)", options))
                found.health_command = json.loads(command)
    return found


@cache
def compose() -> Any:
    """The compose file."""
    return document(TOP / "docker-compose.yml")


@cache
def kustomization() -> Any:
    """What `kubectl apply --kustomize` reads first."""
    return document(KUBERNETES / "kustomization.yaml")


@cache
def resources() -> dict[str, Any]:
    """The resources by kind; there is one of each."""
    return {found["kind"]: found for name in kustomization()["resources"] for found in documents(KUBERNETES / name)}


def pod() -> Any:
    """The pods that the StatefulSet makes."""
    return resources()["StatefulSet"]["spec"]["template"]


def container() -> Any:
    """Their one container."""
    [found] = pod()["spec"]["containers"]
    return found


def config_map() -> dict[str, str]:
    """The environment that kustomize makes for the pods."""
    [generator] = kustomization()["configMapGenerator"]
    return dict(literal.split("=", 1) for literal in generator["literals"])


def pod_environment(name: str) -> dict[str, str]:
    """The environment of the pod with a name."""
    own = {variable["name"]: name if "valueFrom" in variable else variable["value"] for variable in container()["env"]}
    return image().environment | config_map() | own
