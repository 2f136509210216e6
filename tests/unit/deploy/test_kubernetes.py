"""The manifests are what Kubernetes takes, fit the image and each other, and hold no secret."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from streamer.errors import ConfigError
from streamer.settings import load
from tests.unit.deploy.rig import DEPLOY, PROJECT, SETTINGS, document, image_user

FOLDER = DEPLOY / "kubernetes"
RESOURCES = ["deployment.yaml", "service.yaml", "secret.example.yaml"]
DEPLOYMENT = document(FOLDER / "deployment.yaml")
POD: dict[str, Any] = DEPLOYMENT["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
SERVICE = document(FOLDER / "service.yaml")
SECRET = document(FOLDER / "secret.example.yaml")


@pytest.mark.parametrize("name", RESOURCES)
def test_kubernetes_takes_it(name: str) -> None:
    """It is what the API's own schema allows, and has no field that the schema does not know."""
    command = [sys.executable, "-m", "kubernetes_validate", "-k", "1.33", "--strict", str(FOLDER / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.name)
def test_it_goes_into_any_namespace(path: Path) -> None:
    """No manifest names one."""
    assert "namespace" not in document(path).get("metadata", {})


def test_kustomization_names_what_is_there() -> None:
    """Its files exist, the example of a secret is not among them, and the image is of this version."""
    kustomization = document(FOLDER / "kustomization.yaml")
    assert [name for name in kustomization["resources"] if not (FOLDER / name).exists()] == []
    assert "secret.example.yaml" not in kustomization["resources"]
    assert kustomization["images"] == [{"name": CONTAINER["image"], "newTag": PROJECT["version"]}]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl here")
def test_kubectl_builds_it() -> None:
    """kubectl makes a deployment and a service of it."""
    done = subprocess.run(["kubectl", "kustomize", str(FOLDER)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\nkind: ") == 2


def test_there_is_a_standby() -> None:
    """An owner, and one that takes over."""
    assert DEPLOYMENT["spec"]["replicas"] == 2


def test_selectors_find_the_pods() -> None:
    """Deployment, Service and ServiceMonitor select by labels that are there, and ports by names that are."""
    labels = DEPLOYMENT["spec"]["template"]["metadata"]["labels"]
    monitor = document(FOLDER / "servicemonitor.yaml")["spec"]
    assert DEPLOYMENT["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert SERVICE["spec"]["selector"].items() <= labels.items()
    assert monitor["selector"]["matchLabels"].items() <= SERVICE["metadata"]["labels"].items()
    (port,), (served,), (asked,) = CONTAINER["ports"], SERVICE["spec"]["ports"], monitor["endpoints"]
    assert (served["targetPort"], asked["port"]) == (port["name"], served["name"])
    assert port["containerPort"] == served["port"] == load().api_port


@pytest.mark.parametrize(
    ("probe", "path"), [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")]
)
def test_probe_asks_what_it_is_for(probe: str, path: str) -> None:
    """What a restart would mend restarts a pod; what makes its answers useless takes it out of service."""
    assert CONTAINER[probe]["httpGet"] == {"path": path, "port": CONTAINER["ports"][0]["name"]}


def test_pod_is_confined() -> None:
    """It runs as the user of the image, cannot become another, and writes nowhere."""
    security = POD["securityContext"]
    assert security["runAsNonRoot"] is True
    assert (security["runAsUser"], security["runAsGroup"]) == image_user()
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert POD["automountServiceAccountToken"] is False


def test_no_service_becomes_a_setting() -> None:
    """Kubernetes would put the address of a Service called streamer among the STREAMER_* variables."""
    assert POD["enableServiceLinks"] is False


def test_variables_are_settings() -> None:
    """What is handed to the program is something it reads, from the Secret too, which is the one asked for."""
    plain = {entry["name"] for entry in CONTAINER["env"]}
    assert plain | set(SECRET["stringData"]) <= SETTINGS
    assert CONTAINER["envFrom"] == [{"secretRef": {"name": SECRET["metadata"]["name"]}}]


def test_service_is_asked_by_a_name_that_is_answered() -> None:
    """Callers in the namespace reach it by the name of the Service."""
    hosts = {entry["name"]: entry["value"] for entry in CONTAINER["env"]}["STREAMER_API_HOSTS"]
    assert SERVICE["metadata"]["name"] in hosts.split(",")


def test_the_example_of_a_secret_is_refused() -> None:
    """Applied as it stands it starts nothing."""
    with pytest.raises(ConfigError, match="expected 16 to 256"):
        load(api_token=SECRET["stringData"]["STREAMER_API_TOKEN"])
