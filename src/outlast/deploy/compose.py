"""Docker compose: one machine, a service for each kind of node."""

from collections.abc import Mapping
from typing import Any

from outlast.deploy.plan import API_PORT, HEALTH_PORT, MIB, USER, Part, Plan, as_yaml

Doc = dict[str, Any]


def render(plan: Plan) -> Mapping[str, str]:
    """Return one compose file."""
    services = {"migrate": _migration(plan)}
    services |= {part.name: _service(plan, part) for part in plan.parts}
    document = {"name": plan.name, "services": services, "volumes": {"data": {}}}
    return {"compose.yaml": as_yaml("compose", document)}


def _common(plan: Plan) -> Doc:
    return {
        "image": plan.image,
        "env_file": [f"{plan.name}.env"],  # what is secret stays there
        "user": f"{USER}:{USER}",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "tmpfs": ["/tmp"],  # noqa: S108 - in a container
        "volumes": ["data:/data"],
    }


def _migration(plan: Plan) -> Doc:
    return {
        **_common(plan),
        "command": ["migrate"],
        "restart": "no",
        "healthcheck": {"disable": True},
    }


def _service(plan: Plan, part: Part) -> Doc:
    environment = {"OUTLAST_HEALTH_PORT": str(HEALTH_PORT)}
    service: Doc = {
        **_common(plan),
        "command": list(part.command),
        "depends_on": {"migrate": {"condition": "service_completed_successfully"}},
        "restart": "unless-stopped",
        "stop_grace_period": f"{plan.stop_s}s",
        "environment": environment,
        "healthcheck": {
            "test": ["CMD", "python", "-m", "outlast.cli.probe", "readyz"],
            "interval": "15s",
            "timeout": "5s",
            "retries": 4,
            "start_period": "60s",
        },
        "deploy": {
            "replicas": part.size.replicas,
            "resources": {
                "limits": {
                    "cpus": f"{part.size.cpu_millis / 1_000:g}",
                    "memory": f"{part.size.memory // MIB}M",
                }
            },
        },
        "labels": {"outlast.what": part.what},
    }
    if part.instance_type is not None:
        service["labels"]["outlast.instance-type"] = part.instance_type
    if part.serves:
        environment |= {"OUTLAST_HOST": "0.0.0.0", "OUTLAST_PORT": str(API_PORT)}  # noqa: S104
        # To this machine alone: what is in front of it brings TLS. Replicas share a range.
        last = API_PORT + part.size.replicas - 1
        host = f"{API_PORT}" if last == API_PORT else f"{API_PORT}-{last}"
        service["ports"] = [f"127.0.0.1:{host}:{API_PORT}"]
    return service
