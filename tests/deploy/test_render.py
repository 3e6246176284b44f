"""Rendered deployments, held to the schemas that the platforms publish."""

import copy
import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import botocore.session
import jsonschema
import kubernetes_validate
import pytest
import yaml
from botocore.validate import ParamValidator
from click.testing import CliRunner
from kubernetes_validate.utils import all_versions

from outlast.cli.commands import cli
from outlast.core.errors import InvalidInputError
from outlast.deploy import TARGETS, Plan, render
from outlast.sdk.settings import Settings
from tests.conftest import needs_systemd

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "deploy"
SECRET = "hunter2"
GRACE_S = 60


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("OUTLAST_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def plan():
    return Plan.of(Settings.load(config=str(EXAMPLES / "outlast.yaml")))


def manifests(plan):
    (text,) = render("kubernetes", plan).values()
    return list(yaml.safe_load_all(text))


def of_kind(plan, kind):
    return {doc["metadata"]["name"]: doc for doc in manifests(plan) if doc["kind"] == kind}


def pods(plan):
    return {
        name: doc["spec"]["template"]["spec"] for name, doc in of_kind(plan, "Deployment").items()
    }


def composed(plan):
    return yaml.safe_load(render("compose", plan)["compose.yaml"])


def compose_schema():
    where = files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json"
    return json.loads(where.read_text("utf-8"))


def ecs(plan, kind):
    return {
        name: json.loads(text)
        for name, text in render("ecs", plan).items()
        if name.endswith(f".{kind}.json")
    }


def ecs_report(operation, document):
    model = botocore.session.get_session().get_service_model("ecs")
    return ParamValidator().validate(document, model.operation_model(operation).input_shape)


@pytest.mark.parametrize("target", TARGETS)
def test_the_examples_are_what_is_rendered_today(plan, target):
    """Made anew by the command in deploy/outlast.yaml."""
    rendered = dict(render(target, plan))

    there = {path.name: path.read_text("utf-8") for path in (EXAMPLES / target).iterdir()}

    assert there == rendered


@pytest.mark.parametrize("version", all_versions()[-3:])
def test_kubernetes_takes_every_manifest_and_nothing_it_does_not_know(plan, version):
    version = re.match(r"\d+\.\d+", version)[0]

    for manifest in manifests(plan):
        kubernetes_validate.validate(manifest, version, strict=True)


def test_a_wrong_manifest_is_refused():
    plan = Plan.of(Settings.load(config=str(EXAMPLES / "outlast.yaml")))
    wrong = copy.deepcopy(of_kind(plan, "Deployment")["studio-api"])
    wrong["spec"]["template"]["spec"]["terminationGracePeriod"] = 30

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.31", strict=True)


def test_compose_takes_the_file(plan):
    schema, document = compose_schema(), composed(plan)

    jsonschema.validate(document, schema)

    document["services"]["api"]["stop_grace"] = "30s"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema)


def test_ecs_takes_every_task_definition_and_service(plan):
    tasks, services = ecs(plan, "task"), ecs(plan, "service")

    reports = [ecs_report("RegisterTaskDefinition", task) for task in tasks.values()]
    reports += [ecs_report("CreateService", service) for service in services.values()]

    assert [report.generate_report() for report in reports if report.has_errors()] == []
    wrong = {**next(iter(tasks.values())), "stopTimeout": 1}
    assert ecs_report("RegisterTaskDefinition", wrong).has_errors()


def test_systemd_takes_the_units(plan, tmp_path):
    needs_systemd(shutil.which("systemd-analyze"))
    folder = tmp_path / "studio"
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/bin/outlast").symlink_to("/bin/true")
    units = render("systemd", in_folder(plan, folder))
    for name, text in units.items():
        (tmp_path / name).write_text(text, "utf-8")

    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(tmp_path / name for name in units)],
        capture_output=True, text=True, check=False, env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
    )  # fmt: skip

    # DelegateSubgroup came with release 254, and older ones say that they leave it out.
    ours = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "studio" in line]
    assert [line for line in ours if "DelegateSubgroup" not in line] == []


def test_a_wrong_unit_is_noticed(plan, tmp_path):
    needs_systemd(shutil.which("systemd-analyze"))
    unit = tmp_path / "wrong.service"
    unit.write_text("[Service]\nType=notfy\nExecStart=/nowhere/outlast\n", "utf-8")

    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False
    )

    assert "notfy" in done.stderr
    assert "/nowhere/outlast" in done.stderr


def in_folder(plan, folder):
    return replace(plan, deployment=replace(plan.deployment, folder=str(folder)))


def test_each_queue_has_nodes_of_its_instance_type_and_the_rest_works_on_no_such_queue(plan):
    found = pods(plan)

    types = {name: pod.get("nodeSelector") for name, pod in found.items()}
    commands = {name: pod["containers"][0]["args"] for name, pod in found.items()}
    assert types["studio-worker-fast"] == {"node.kubernetes.io/instance-type": "t3.medium"}
    assert types["studio-worker-slow"] == {"node.kubernetes.io/instance-type": "c5.xlarge"}
    assert types["studio-api"] is None
    assert commands["studio-worker-slow"] == ["worker", "app.py", "--queue", "slow"]
    rest = ["worker", "app.py", "--except-queue", "fast", "--except-queue", "slow"]
    assert commands["studio-worker"] == rest
    services = ecs(plan, "service")
    assert services["worker-fast.service.json"]["placementConstraints"] == [
        {"type": "memberOf", "expression": "attribute:ecs.instance-type == t3.medium"}
    ]
    labels = composed(plan)["services"]["worker-fast"]["labels"]
    assert labels["outlast.instance-type"] == "t3.medium"
    assert "# For a c5.xlarge." in render("systemd", plan)["studio-worker-slow@.service"]


def test_every_rendered_command_is_one_that_the_command_line_takes(plan):
    for part in plan.parts:
        command, *arguments = part.command
        found = cli.get_command(None, command)

        found.make_context(command, list(arguments))  # raises for what it does not know


def test_a_node_has_more_time_to_stop_than_its_jobs_have_to_end(plan):
    assert all(pod["terminationGracePeriodSeconds"] >= GRACE_S + 10 for pod in pods(plan).values())
    for name, service in composed(plan)["services"].items():
        assert name == "migrate" or int(service["stop_grace_period"][:-1]) >= GRACE_S + 10
    for name, task in ecs(plan, "task").items():
        assert task["containerDefinitions"][1]["stopTimeout"] >= GRACE_S + 10, name
    for name, unit in render("systemd", plan).items():
        stop = re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
        assert name.endswith(".target") or int(stop[1]) >= GRACE_S + 10


def test_the_schema_comes_first(plan):
    for pod in pods(plan).values():
        assert pod["initContainers"][0]["args"] == ["migrate"]
    for name, service in composed(plan)["services"].items():
        wanted = {"migrate": {"condition": "service_completed_successfully"}}
        assert name == "migrate" or service["depends_on"] == wanted
    for task in ecs(plan, "task").values():
        first, second = task["containerDefinitions"]
        assert (first["command"], first["essential"]) == (["migrate"], False)
        assert second["dependsOn"] == [{"containerName": "migrate", "condition": "SUCCESS"}]
    for name, unit in render("systemd", plan).items():
        assert name.endswith(".target") or "/outlast migrate\nExecStart=" in unit


def test_nothing_runs_as_root_or_writes_where_its_program_is(plan):
    for pod in pods(plan).values():
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["runAsUser"] > 0
        for container in pod["containers"] + pod["initContainers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"]
            assert not container["securityContext"]["allowPrivilegeEscalation"]
    for service in composed(plan)["services"].values():
        assert service["read_only"]
        assert not service["user"].startswith("0")
    for task in ecs(plan, "task").values():
        for container in task["containerDefinitions"]:
            assert container["readonlyRootFilesystem"]
            assert not container["user"].startswith("0")
    for name, unit in render("systemd", plan).items():
        assert name.endswith(".target") or {"User=studio", "ProtectSystem=strict"} <= set(
            unit.splitlines()
        )


def test_only_a_dead_node_is_replaced_and_never_one_whose_ledger_is_away(plan):
    for pod in pods(plan).values():
        (container,) = pod["containers"]
        assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    for task in ecs(plan, "task").values():
        assert task["containerDefinitions"][1]["healthCheck"]["command"][-1] == "livez"


def test_no_variable_of_the_platform_is_taken_for_a_setting(plan):
    assert {pod["enableServiceLinks"] for pod in pods(plan).values()} == {False}


def test_disruptions_take_one_node_of_a_kind_at_a_time(plan):
    budgets = of_kind(plan, "PodDisruptionBudget")

    assert budgets.keys() == of_kind(plan, "Deployment").keys()
    assert {budget["spec"]["maxUnavailable"] for budget in budgets.values()} == {1}


@pytest.mark.parametrize("target", TARGETS)
def test_no_url_and_no_password_is_ever_written(target, tmp_path):
    url = f"postgresql://ann:{SECRET}@db.example/jobs"
    said = {"app": "app.py", "image": "studio:1"}
    settings = Settings(
        ledger=url,
        blobs=f"s3://key:{SECRET}@bucket",
        broker=f"redis://:{SECRET}@cache",
        events=f"kafka://ann:{SECRET}@kafka/jobs",
        deploy=said,
    )

    text = "".join(render(target, Plan.of(settings)).values())

    assert SECRET not in text
    assert "db.example" not in text
    if target in {"kubernetes", "ecs"}:
        names = [f"OUTLAST_{place}" for place in ("LEDGER", "BLOBS", "BROKER", "EVENTS")]
        assert all(name in text for name in names)
    else:
        assert "outlast.env" in text


@pytest.mark.parametrize("target", ["kubernetes", "ecs"])
def test_a_ledger_in_a_file_is_refused_where_there_are_several_machines(target):
    settings = Settings(ledger="sqlite:////data/jobs.db", deploy={"app": "a.py", "image": "a:1"})

    with pytest.raises(InvalidInputError, match="ledger: expected postgresql://"):
        render(target, Plan.of(settings))


def test_a_grace_that_fargate_would_cut_short_is_refused(plan):
    with pytest.raises(InvalidInputError, match="120 s"):
        render("ecs", replace(plan, stop_s=121))


def test_all_that_is_wrong_is_told_at_once_with_its_place(tmp_path):
    (tmp_path / "outlast.yaml").write_text(
        "deploy:\n  name: Studio!\n  imag: x\n  api: {replicas: -1}\n  ecs: 3\n", "utf-8"
    )

    result = CliRunner().invoke(cli, ["deploy", "render", "--target", "compose"])

    assert result.exit_code == 2
    for place in ("deploy.name", "deploy.imag:", "deploy.api.replicas", "deploy.ecs"):
        assert place in result.stderr


@pytest.mark.parametrize(
    ("said", "told"),
    [({}, "deploy.app"), ({"app": "a.py"}, "deploy.image"),
     ({"app": "a.py", "queues": {"none": {}}}, "deploy.queues")],
)  # fmt: skip
def test_what_is_missing_is_named(said, told):
    with pytest.raises(InvalidInputError, match=told):
        render("compose", Plan.of(Settings(deploy=said)))


def test_names_of_queues_become_labels_that_differ():
    settings = Settings(
        deploy={"app": "a.py", "image": "a:1"},
        queue_settings={name: {} for name in ("Mail & more", "mail more", "x" * 100, "été", "a-")},
    )

    names = list(pods(Plan.of(settings)))

    assert len(set(names)) == 7
    assert all(re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name) for name in names)


def test_files_are_written_or_printed(tmp_path):
    config = ("--config", str(EXAMPLES / "outlast.yaml"))
    run = CliRunner()

    written = run.invoke(
        cli, ["deploy", "render", "--target", "ecs", *config, "--out", "here", "--json"]
    )
    printed = run.invoke(
        cli, ["deploy", "render", "--target", "compose", "--image", "x:2", *config]
    )

    paths = json.loads(written.stdout)["files"]
    assert sorted(map(str, Path("here").iterdir())) == sorted(paths)
    assert yaml.safe_load(printed.stdout)["services"]["api"]["image"] == "x:2"
