"""Kubernetes: a Deployment for each kind of node, and what stands around them."""

from collections.abc import Mapping
from typing import Any

from outlast.deploy.plan import API_PORT, HEALTH_PORT, MIB, USER, Part, Plan, as_yaml

Doc = dict[str, Any]


def render(plan: Plan) -> Mapping[str, str]:
    """Return one file for `kubectl apply`."""
    plan.must_be_shared()
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": _metadata(plan, plan.name),
        "automountServiceAccountToken": False,
    }
    documents: list[Doc] = [account]
    for part in plan.parts:
        documents += [_deployment(plan, part), _budget(plan, part)]
        if part.serves:
            documents.append(_service(plan, part))
    return {f"{plan.name}.yaml": as_yaml("kubernetes", *documents)}


def _metadata(plan: Plan, name: str, part: Part | None = None) -> Doc:
    return {"name": name, "labels": _labels(plan, part)}


def _labels(plan: Plan, part: Part | None) -> Doc:
    labels = {"app.kubernetes.io/name": plan.name}
    return labels if part is None else {**labels, "app.kubernetes.io/component": part.name}


def _deployment(plan: Plan, part: Part) -> Doc:
    pod: Doc = {
        "serviceAccountName": plan.name,
        "automountServiceAccountToken": False,
        # Variables that are named after services could be taken for settings of ours.
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": plan.stop_s,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        # First the schema, by whichever pod comes first; to the others it is there already.
        "initContainers": [{**_container(plan, part, "migrate"), "args": ["migrate"]}],
        "containers": [_serving(plan, part)],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    if part.instance_type is not None:
        pod["nodeSelector"] = {"node.kubernetes.io/instance-type": part.instance_type}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            **_metadata(plan, f"{plan.name}-{part.name}", part),
            "annotations": {"outlast/what": part.what},
        },
        "spec": {
            "replicas": part.size.replicas,
            "selector": {"matchLabels": _labels(plan, part)},
            "template": {"metadata": {"labels": _labels(plan, part)}, "spec": pod},
        },
    }


def _container(plan: Plan, part: Part, name: str) -> Doc:
    memory = f"{part.size.memory // MIB}Mi"
    secret = plan.deployment.secret or plan.name
    return {
        "name": name,
        "image": plan.image,
        "args": list(part.command),
        "env": [
            {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": name}}}
            for name in plan.secrets
        ],
        "resources": {
            "requests": {"cpu": f"{part.size.cpu_millis}m", "memory": memory},
            "limits": {"memory": memory},  # none for the processor: it would only slow down
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - in a container
    }


def _serving(plan: Plan, part: Part) -> Doc:
    container = _container(plan, part, part.name.partition("-")[0])
    container["env"] += [
        {"name": "OUTLAST_HEALTH_HOST", "value": "0.0.0.0"},  # noqa: S104 - the pod's own address
        {"name": "OUTLAST_HEALTH_PORT", "value": str(HEALTH_PORT)},
    ]
    ports: list[Doc] = [{"name": "health", "containerPort": HEALTH_PORT}]
    if part.serves:
        container["env"] += [
            {"name": "OUTLAST_HOST", "value": "0.0.0.0"},  # noqa: S104 - it wants API keys there
            {"name": "OUTLAST_PORT", "value": str(API_PORT)},
        ]
        ports.append({"name": "http", "containerPort": API_PORT})
        # Whoever still sends requests learns first that this pod goes.
        container["lifecycle"] = {"preStop": {"exec": {"command": ["sleep", "5"]}}}
    container["ports"] = ports
    live: Doc = {"httpGet": {"path": "/livez", "port": "health"}, "timeoutSeconds": 3}
    container["startupProbe"] = {**live, "periodSeconds": 2, "failureThreshold": 60}
    container["livenessProbe"] = {**live, "periodSeconds": 10, "failureThreshold": 6}
    container["readinessProbe"] = {
        "httpGet": {"path": "/readyz", "port": "health"},
        "timeoutSeconds": 4,  # the ledger has two seconds to answer, and the API one
        "periodSeconds": 5,
    }
    return container


def _budget(plan: Plan, part: Part) -> Doc:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(plan, f"{plan.name}-{part.name}", part),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": _labels(plan, part)}},
    }


def _service(plan: Plan, part: Part) -> Doc:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(plan, f"{plan.name}-{part.name}", part),
        "spec": {
            "selector": _labels(plan, part),
            "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
        },
    }
