"""Amazon ECS: a task definition and a service for each kind of node, as the API takes them."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from outlast.core.errors import InvalidInputError
from outlast.deploy.plan import API_PORT, HEALTH_PORT, MIB, USER, Part, Plan

Doc = dict[str, Any]
_FARGATE_STOP_S_MAX: Final = 120
# Processor units, and the MiB that go with them: from, to, in steps of.
_FARGATE: Final = (
    (256, 512, 2_048, 512),
    (512, 1_024, 4_096, 1_024),
    (1_024, 2_048, 8_192, 1_024),
    (2_048, 4_096, 16_384, 1_024),
    (4_096, 8_192, 30_720, 1_024),
    (8_192, 16_384, 61_440, 4_096),
    (16_384, 32_768, 122_880, 8_192),
)


def render(plan: Plan) -> Mapping[str, str]:
    """Return for each kind of node what `register-task-definition` and `create-service` take."""
    plan.must_be_shared()
    files = {}
    for part in plan.parts:
        files[f"{part.name}.task.json"] = _json(_task(plan, part))
        files[f"{part.name}.service.json"] = _json(_service(plan, part))
    return files


def _json(document: Doc) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def fitting(cpu: int, memory: int) -> tuple[int, int]:
    """Return the smallest size that Fargate has with as much, in units and MiB.

    >>> fitting(1_000, 1_024), fitting(256, 700)
    ((1024, 2048), (256, 1024))
    """
    for units, low, high, step in _FARGATE:
        if units >= cpu and memory <= high:
            above = max(0, memory - low)
            mib = low + -(-above // step) * step
            return units, 1_024 if (units, mib) == (256, 1_536) else mib
    raise InvalidInputError(
        f"deploy: expected no more than Fargate has, got {cpu} units and {memory} MiB",
        hint="a queue with an instance_type runs on EC2",
    )


def _task(plan: Plan, part: Part) -> Doc:
    ecs = plan.deployment.ecs
    cpu, memory = round(part.size.cpu_millis * 1.024), part.size.memory // MIB
    on_fargate = part.instance_type is None
    if on_fargate:
        cpu, memory = fitting(cpu, memory)
        if plan.stop_s > _FARGATE_STOP_S_MAX:
            raise InvalidInputError(
                f"grace: expected no more than leaves Fargate {_FARGATE_STOP_S_MAX} s to stop "
                f"{part.name}, got {plan.stop_s} s with the margin",
                hint="give a shorter grace; a job that is given back goes on elsewhere",
            )
    task: Doc = {
        "family": f"{plan.name}-{part.name}",
        "requiresCompatibilities": ["FARGATE" if on_fargate else "EC2"],
        "networkMode": "awsvpc",
        "cpu": str(cpu),
        "memory": str(memory),
        "executionRoleArn": ecs.execution_role,
        **({} if ecs.task_role is None else {"taskRoleArn": ecs.task_role}),
        "volumes": [{"name": "tmp"}],
        "containerDefinitions": list(_containers(plan, part)),
    }
    return task


def _containers(plan: Plan, part: Part) -> Iterator[Doc]:
    yield {**_container(plan, "migrate"), "essential": False, "command": ["migrate"]}
    environment = {"OUTLAST_HEALTH_PORT": str(HEALTH_PORT)}
    serving: Doc = {
        **_container(plan, part.name),
        "essential": True,
        "command": list(part.command),
        "dependsOn": [{"containerName": "migrate", "condition": "SUCCESS"}],
        "stopTimeout": plan.stop_s,
        # ECS replaces what is unhealthy, which brings no ledger back: so this asks for life alone.
        "healthCheck": {
            "command": ["CMD", "python", "-m", "outlast.cli.probe", "livez"],
            "interval": 15,
            "timeout": 5,
            "retries": 4,
            "startPeriod": 60,
        },
    }
    if part.serves:
        environment |= {"OUTLAST_HOST": "0.0.0.0", "OUTLAST_PORT": str(API_PORT)}  # noqa: S104
        serving["portMappings"] = [{"containerPort": API_PORT, "protocol": "tcp"}]
    serving["environment"] = [{"name": name, "value": said} for name, said in environment.items()]
    yield serving


def _container(plan: Plan, name: str) -> Doc:
    ecs = plan.deployment.ecs
    return {
        "name": name,
        "image": plan.image,
        "user": f"{USER}:{USER}",
        "readonlyRootFilesystem": True,
        "linuxParameters": {"capabilities": {"drop": ["ALL"]}},
        "mountPoints": [{"sourceVolume": "tmp", "containerPath": "/tmp"}],  # noqa: S108
        # One secret with a field for each variable.
        "secrets": [{"name": name, "valueFrom": f"{ecs.secret}:{name}::"} for name in plan.secrets],
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {
                "awslogs-group": f"/{plan.name}",
                "awslogs-region": ecs.region,
                "awslogs-stream-prefix": name,
            },
        },
    }


def _service(plan: Plan, part: Part) -> Doc:
    ecs = plan.deployment.ecs
    service: Doc = {
        "cluster": ecs.cluster,
        "serviceName": f"{plan.name}-{part.name}",
        "taskDefinition": f"{plan.name}-{part.name}",
        "desiredCount": part.size.replicas,
        "launchType": "FARGATE" if part.instance_type is None else "EC2",
        "networkConfiguration": {
            "awsvpcConfiguration": {
                "subnets": list(ecs.subnets),
                "securityGroups": list(ecs.security_groups),
                "assignPublicIp": "DISABLED",
            }
        },
        "deploymentConfiguration": {
            "minimumHealthyPercent": 100 if part.serves else 0,
            "maximumPercent": 200,
            "deploymentCircuitBreaker": {"enable": True, "rollback": True},
        },
        "propagateTags": "SERVICE",
    }
    if part.instance_type is not None:
        wanted = f"attribute:ecs.instance-type == {part.instance_type}"
        service["placementConstraints"] = [{"type": "memberOf", "expression": wanted}]
    return service
