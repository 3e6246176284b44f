"""systemd: one machine, a unit for each kind of node, and a target for all of them."""

import re
from collections.abc import Mapping
from typing import Final

from outlast.deploy.plan import MIB, Part, Plan, head

_WATCHDOG_S: Final = 30
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./:=-]+")


def render(plan: Plan) -> Mapping[str, str]:
    """Return the units; each stands in the file of its name."""
    units = {
        f"{plan.name}-{part.name}{'@' if _is_many(part) else ''}.service": part
        for part in plan.parts
    }
    files = {unit: _service(plan, part) for unit, part in units.items()}
    wanted = [name for unit, part in units.items() for name in _instances(unit, part)]
    files[f"{plan.name}.target"] = "\n".join(
        [
            head("systemd") + "[Unit]",
            f"Description={plan.name}: API and workers",
            f"Wants={' '.join(wanted)}",
            "",
            "[Install]",
            "WantedBy=multi-user.target",
            "",
        ]
    )
    return files


def _is_many(part: Part) -> bool:
    """Whether replicas are instances of a template; a machine needs one API, which has one port."""
    return part.size.replicas > 1 and not part.serves


def _instances(unit: str, part: Part) -> list[str]:
    """Name what of a unit is to run."""
    if not _is_many(part):
        return [unit]
    return [unit.replace("@", f"@{number}") for number in range(1, part.size.replicas + 1)]


def _service(plan: Plan, part: Part) -> str:
    folder = plan.deployment.folder or f"/opt/{plan.name}"
    outlast = f"{folder}/.venv/bin/outlast"
    machine = [] if part.instance_type is None else [f"# For a {part.instance_type}."]
    lines = [
        head("systemd").rstrip(),
        *machine,
        "[Unit]",
        f"Description={plan.name}: {_escaped(part.what)}",
        f"PartOf={plan.name}.target",
        "After=network-online.target",
        "Wants=network-online.target",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        "Type=notify",
        "NotifyAccess=main",
        f"WatchdogSec={_WATCHDOG_S}",
        f"User={plan.name}",
        f"WorkingDirectory={folder}",
        # What is secret stays in a file that root alone can read.
        f"EnvironmentFile=/etc/{plan.name}/{plan.name}.env",
        # Processes that share a ledger in a file meet in one folder, which no PrivateTmp parts.
        f"Environment=TMPDIR=/run/{plan.name}",
        f"ExecStartPre={outlast} migrate",
        f"ExecStart={' '.join([outlast, *map(_quoted, part.command)])}",
        "KillMode=mixed",
        f"TimeoutStopSec={plan.stop_s}",
        "TimeoutStartSec=infinity",
        "Restart=always",
        "RestartSec=2",
        f"MemoryMax={part.size.memory // MIB}M",
        f"CPUQuota={part.size.cpu_millis // 10}%",
        "Delegate=memory pids",
        "DelegateSubgroup=main",
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "ProtectSystem=strict",
        "ProtectHome=yes",
        "ProtectKernelTunables=yes",
        "ProtectKernelModules=yes",
        "PrivateDevices=yes",
        "RestrictSUIDSGID=yes",
        f"StateDirectory={plan.name}",
        f"RuntimeDirectory={plan.name}",
        "RuntimeDirectoryPreserve=yes",
        "UMask=0077",
        "",
    ]
    return "\n".join(lines)


def _quoted(word: str) -> str:
    """Write a word as systemd reads it: quoted where it must be, its own signs doubled."""
    if _PLAIN.fullmatch(word):
        return word
    text = _escaped(word).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{text}"'


def _escaped(text: str) -> str:
    return text.replace("%", "%%")
