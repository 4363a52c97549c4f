"""Make machines for a cluster on this machine, each with its own network, processes, home folder and sshd.

A machine is a set of Linux namespaces. A Ray on it cannot affect this machine (`ray stop` ends every Ray that it can
see). The machine has its own address with sshd on port 22, like a real one. The disk is this machine's, except the
home folder, /run, /dev/shm and Ray's /tmp/ray, so a temporary folder serves as the cluster's shared storage.

Needs root and the Debian packages openssh-server, rsync and iproute2.
"""

import itertools
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

NEEDED = {
    "ssh": "openssh-client",
    "sshd": "openssh-server",
    "rsync": "rsync",
    "ip": "iproute2",
    "unshare": "util-linux",
}
_USES = itertools.count()
USER = "ubuntu"  # as in jobs/cluster.yaml
_SSHD_CONFIG = """
Port 22
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
LogLevel ERROR
"""
# A script for the first process of a machine.
_BOOT = """
set -e
mount --make-rprivate /
hostname {name}
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /dev/shm
mount --bind {folder}/ray /tmp/ray
mount --bind {folder}/passwd /etc/passwd
mkdir /run/sshd
exec {sshd} -D -e -f {folder}/sshd_config
"""


@dataclass(frozen=True)
class Machine:
    """A running machine."""

    name: str
    address: str
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def home(self) -> Path:
        """The home folder of `USER`."""
        return self.folder / "home"

    @property
    def ray_folder(self) -> Path:
        """The folder that is /tmp/ray on the machine."""
        return self.folder / "ray"

    def pull_the_plug(self) -> None:
        """End everything on the machine at once."""
        self.process.kill()
        self.process.wait()


def missing() -> list[str]:
    """Return what this machine lacks for having others on it, each with what to do about it."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    programs = [f"{p}: apt install {d}" for p, d in NEEDED.items() if shutil.which(p, path=path) is None]
    return programs if os.geteuid() == 0 else [*programs, "root: sudo make test-cluster"]


@contextmanager
def machines(folder: Path, count: int) -> Iterator[tuple[list[Machine], Path]]:
    """Start machines; yield them with the private key for their sshd, and remove them with all that runs on them."""
    folder.mkdir()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True)
    # Names and addresses of their own for each use: the kernel removes those of an earlier use a little later.
    number, process = next(_USES), os.getpid()
    bridge, network = (
        f"lk{process}x{number}",
        f"10.{77 + process % 100}.{(process // 100 + 37 * number) % 250}",
    )
    with ExitStack() as stack:
        _ip("link", "add", bridge, "type", "bridge")
        stack.callback(_ip, "link", "del", bridge)
        _ip("addr", "add", f"{network}.254/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        yield (
            [
                stack.enter_context(
                    _machine(folder / f"machine{i}", bridge, f"{network}.{i}", folder / "key.pub")
                )
                for i in range(1, count + 1)
            ],
            folder / "key",
        )


@contextmanager
def _machine(folder: Path, bridge: str, address: str, key: Path) -> Iterator[Machine]:
    name = f"{bridge}-{folder.name}"
    for part in ("home", "ray"):
        (folder / part).mkdir(parents=True)
    _write_settings(folder, key)
    with ExitStack() as stack:
        _ip("netns", "add", name)
        stack.callback(_ip, "netns", "del", name)
        outer = f"{bridge}{folder.name[-1]}"
        _ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "set", outer, "master", bridge, "up")
        _ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
        _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", name, "link", "set", "eth0", "up")
        # Ray finds its own address from the route to a distant one.
        _ip("-n", name, "route", "add", "default", "via", address.rsplit(".", 1)[0] + ".254")
        process = _boot(name, folder)
        stack.callback(process.wait)
        stack.callback(process.kill)
        _wait_for_ssh(address, process, folder)
        yield Machine(name, address, folder, process)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def _write_settings(folder: Path, key: Path) -> None:
    """Write the home folder and sshd's files. The account has root's id, because only root can read pyenv's Pythons."""
    shutil.copytree("/etc/skel", folder / "home", dirs_exist_ok=True)
    with (folder / "home" / ".profile").open("a") as profile:
        profile.write(f"PATH={Path(sys.base_prefix) / 'bin'}:$PATH\n")
    (folder / "authorized_keys").write_bytes(key.read_bytes())
    (folder / "sshd_config").write_text(_SSHD_CONFIG.format(folder=folder))
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "host_key"], check=True)
    others = re.sub(rf"(?m)^{USER}:.*\n", "", Path("/etc/passwd").read_text())
    # The first account with this id, because ssh takes its name from the id when it searches ~ for keys.
    (folder / "passwd").write_text(f"{USER}:x:0:0::{folder / 'home'}:/bin/bash\n{others}")


def _boot(name: str, folder: Path) -> "subprocess.Popen[bytes]":
    Path("/tmp/ray").mkdir(exist_ok=True)  # the machine's own folder is mounted on it
    sshd = shutil.which("sshd", path="/usr/sbin:/sbin:/usr/local/sbin")
    own = ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
    script = _BOOT.format(name=folder.name, folder=folder, sshd=sshd)
    clean: Sequence[str] = ["env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
    with (folder / "sshd.log").open("wb") as log:
        return subprocess.Popen(
            ["ip", "netns", "exec", name, *own, *clean, "bash", "-c", script], stdout=log, stderr=log
        )


def _wait_for_ssh(address: str, process: "subprocess.Popen[bytes]", folder: Path) -> None:
    for _ in range(100):
        try:
            socket.create_connection((address, 22), timeout=1).close()
            return
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.1)
    raise RuntimeError(f"no sshd on {address}: {(folder / 'sshd.log').read_text().strip()}")


if __name__ == "__main__":
    if lacking := missing():
        print("\n".join(["no machines can be made on this one, it lacks:", *lacking]), file=sys.stderr)
        sys.exit(2)
