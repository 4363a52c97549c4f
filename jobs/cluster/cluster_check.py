"""Check, from the machine that submits, what a cluster file and its machines lack."""

import functools
import importlib.metadata
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from augmentor.errors import InputError
from jobs.cluster.check_result import Finding

PROGRAMS = {
    "ssh": "apt install openssh-client",
    "rsync": "apt install rsync",
    "ray": "make setup, then . .venv/bin/activate",
}
SUPPORTED = ("3.10", "3.11", "3.12", "3.13")
_PLACEHOLDER = re.compile(r"[A-Z]+(_[A-Z]+)+")
_SSH_SECONDS = 10
# A script for a login shell, like those of Ray. It prints lines `likeness.name=value`.
_PROBE = """
python=$(command -v python{minor} || command -v python3)
echo "likeness.python=$($python -c 'import sys; print(*sys.version_info[:3], sep=".")' 2>/dev/null)"
echo "likeness.venv=$($python -c 'import ensurepip, venv; print("yes")' 2>/dev/null)"
echo "likeness.rsync=$(command -v rsync)"
echo "likeness.ssh=$(command -v ssh)"
echo "likeness.ready=$(~/likeness-env/bin/python -c 'import jobs.preflight; print("yes")' 2>/dev/null)"
"""


def cluster_findings(path: Path, data: str | None, out: str | None) -> list[Finding]:
    """Check everything about a cluster that can be checked from this machine.

    Args:
        path: the cluster file.
        data: the job's --data; None to leave it out.
        out: the job's --out; None to leave it out.

    Raises:
        InputError: the cluster file cannot be read.
    """
    config = read_cluster(path)
    findings = [*programs(), local_ray(), *placeholders(config), *_relative(data, out)]
    provider = config["provider"]
    if provider.get("type") != "local":
        return [*findings, *_cloud(provider)]
    if any(not finding.ok for finding in placeholders(config)) or shutil.which("ssh") is None:
        return findings  # there are no addresses to connect to, or no ssh to connect with
    head = str(provider.get("head_ip", ""))
    workers = [str(address) for address in provider.get("worker_ips", ())]
    look = functools.partial(findings_of_node, config, data=data, out=out)
    with ThreadPoolExecutor(16) as pool:
        nodes = pool.map(lambda node: look(node, needs_ssh=node == head and bool(workers)), [head, *workers])
        return [*findings, *(finding for node in nodes for finding in node)]


def read_cluster(path: Path) -> dict[str, Any]:
    """Read a cluster file.

    Raises:
        InputError: the file cannot be read, or is not a cluster file.
    """
    import yaml  # comes with Ray, which may be missing

    try:
        config = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML ({error})") from error
    if not isinstance(config, dict) or not isinstance(config.get("provider"), dict):
        raise InputError(f"{path}: not a cluster file, it has no provider; see jobs/cluster.yaml")
    return config


def programs() -> list[Finding]:
    """Check for ray and the programs that `ray up` calls."""
    return [
        Finding(f"{name}: {shutil.which(name) or 'not installed'}", shutil.which(name) is not None, way_out)
        for name, way_out in PROGRAMS.items()
    ]


def local_ray(lock: Path = Path("requirements.lock")) -> Finding:
    """Check whether the Ray on this machine is the one in the lock file, which the nodes get."""
    try:
        installed = importlib.metadata.version("ray")
    except importlib.metadata.PackageNotFoundError:
        return Finding("Ray here: not installed", False, "make setup")
    if not lock.is_file():
        return Finding(
            f"{lock}: not here",
            False,
            "run this command and ray in the root of the checkout, which is copied to the nodes",
        )
    pinned = re.search(r"(?m)^ray==(\S+)", lock.read_text("utf-8"))
    want = pinned[1] if pinned else "none"
    return Finding(f"Ray here: {installed}, in {lock} {want}", installed == want, "make setup")


def placeholders(config: Mapping[str, Any]) -> list[Finding]:
    """Find values that still have to be filled in, like HEAD_ADDRESS."""
    texts = {text for key in ("provider", "auth", "available_node_types") for text in _texts(config.get(key))}
    return [
        Finding(f"{text}: still in the cluster file", False, "replace it by your own")
        for text in sorted(texts)
        if _PLACEHOLDER.fullmatch(text)
    ]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)


def _relative(data: str | None, out: str | None) -> Iterator[Finding]:
    for name, uri in (("--data", data), ("--out", out)):
        if uri and "://" not in uri and not uri.startswith("/"):
            yield Finding(f"{name} {uri}: a relative path", False, "use one that is the same on every node")


def _cloud(provider: Mapping[str, Any]) -> list[Finding]:
    if provider.get("type") != "aws":
        return []
    there = importlib.util.find_spec("boto3") is not None
    return [Finding(f"boto3: {'installed' if there else 'not installed'}", there, "pip install boto3")]


def findings_of_node(
    config: Mapping[str, Any],
    address: str,
    *,
    needs_ssh: bool,
    data: str | None = None,
    out: str | None = None,
) -> list[Finding]:
    """Check one machine by ssh.

    Args:
        config: the cluster file.
        address: address of the machine.
        needs_ssh: the machine has to reach others.
        data: the job's --data, which the machine checks if the package is installed there.
        out: the job's --out, likewise.
    """
    minor = pinned_python(config)
    answer = _ask(config.get("auth", {}), address, _PROBE.format(minor=minor or 3))
    if isinstance(answer, Finding):
        return [answer]
    values = dict(re.findall(r"(?m)^likeness\.(\w+)=(.*?)\r?$", answer))
    version = values.get("python") or "none"
    wanted = (minor,) if minor else SUPPORTED
    name = f"python{minor}" if minor else "python3"
    needed = {"rsync": "rsync", "venv": f"{name}-venv"} | ({"ssh": "openssh-client"} if needs_ssh else {})
    findings = [
        Finding(f"{address}: reached by ssh"),
        Finding(
            f"{address}: Python {version}",
            version.rpartition(".")[0] in wanted,
            f"apt install {name} there; the cluster file wants {' or '.join(wanted)}",
        ),
        *(
            Finding(f"{address}: {what}", bool(values.get(what)), f"apt install {package} there")
            for what, package in needed.items()
        ),
    ]
    return findings + (_in_depth(config, address, data, out) if values.get("ready") else [])


def pinned_python(config: Mapping[str, Any]) -> str:
    """Return the minor version of Python that the cluster file's set-up wants, as `3.12`; empty if any will do."""
    wanted = re.search(r"\bwant=(3\.\d+)\b", " ".join(map(str, config.get("setup_commands") or ())))
    return wanted[1] if wanted else ""


def _in_depth(config: Mapping[str, Any], address: str, data: str | None, out: str | None) -> list[Finding]:
    """Let a machine that is set up check itself, and return its findings."""
    named = [
        part for name, uri in (("--data", data), ("--out", out)) if uri for part in (name, shlex.quote(uri))
    ]
    command = " ".join(["~/likeness-env/bin/python -m jobs.preflight --here --json", *named])
    answer = _ask(config.get("auth", {}), address, f"{command} || true", seconds=120)
    if isinstance(answer, Finding):
        return [answer]
    try:
        findings = json.loads(answer.strip().splitlines()[-1])["findings"]
        return [Finding(f"{address}: {one['what']}", one["ok"], one["way_out"]) for one in findings]
    except (ValueError, LookupError, TypeError):
        return [Finding(f"{address}: no answer from its jobs.preflight", False, "ray up again")]


def _ask(
    auth: Mapping[str, Any], address: str, script: str, seconds: int = 3 * _SSH_SECONDS
) -> str | Finding:
    """Run a script on a machine and return what it prints, or a finding that says why it cannot be run there."""
    user = auth.get("ssh_user", "")
    key = auth.get("ssh_private_key")
    way_out = (
        f"try: ssh {'-i ' + key + ' ' if key else ''}{user}@{address} true; if it asks for a password: "
        f"ssh-copy-id {user}@{address}"
    )
    try:
        result = subprocess.run(
            [*ssh_command(auth), f"{user}@{address}", f"bash --login -c {shlex.quote(script)}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        return Finding(f"{address}: no answer in {seconds} s", False, way_out)
    if result.returncode != 0:
        reason = (result.stderr.strip().splitlines() or [f"ssh ended with {result.returncode}"])[-1]
        return Finding(f"{address}: not reached by ssh ({reason.strip()})", False, way_out)
    return result.stdout


def ssh_command(auth: Mapping[str, Any]) -> list[str]:
    """Return the ssh command as Ray calls it, except that it never asks for anything."""
    options = {
        "BatchMode": "yes",
        "ConnectTimeout": str(_SSH_SECONDS),
        "StrictHostKeyChecking": "no",
        "UserKnownHostsFile": os.devnull,
        "LogLevel": "ERROR",
        "IdentitiesOnly": "yes",
    }
    if auth.get("ssh_proxy_command"):
        options["ProxyCommand"] = str(auth["ssh_proxy_command"])
    key = auth.get("ssh_private_key")
    named = ["-i", str(Path(str(key)).expanduser())] if key else []
    return ["ssh", *named, *(part for name, value in options.items() for part in ("-o", f"{name}={value}"))]
