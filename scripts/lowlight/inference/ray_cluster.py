"""Connects to Ray, on this machine or a cluster, and shares its cores and GPUs out."""

import contextlib
import logging
import os
import socket
from pathlib import Path
from typing import NamedTuple

import lowlight
from lowlight.core.errors import DataError
from lowlight.core.tensorflow import silent_stderr

HERE = "local"  # the address of this machine alone
_SECONDS = 10  # that a cluster has for its answer
_CORES = 2  # of a worker without a GPU
# Messages of Ray that nobody can act on, and the report of its use to its makers.
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


class Share(NamedTuple):
    """How many workers there are, and what each has of its machine."""

    workers: int
    cores: int
    gpus: int

    def __str__(self):
        """Returns it as people say it."""
        return f"{self.workers} of {self.cores} CPU cores" + (" and a GPU" if self.gpus else "")


def load_ray():
    """Returns the module ray, made quiet; raises DataError where it isn't installed."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise DataError(
            f"Ray Data isn't installed ({error}).\n  pip install -r requirements/ray.txt"
        ) from error
    return ray


@contextlib.contextmanager
def connected(address):
    """Yields the module ray, connected to a cluster for the time of the block.

    Args:
        address: of a cluster; "auto" is that of this machine, HERE starts one on this machine
            alone.

    Raises:
        DataError: Ray isn't installed, or no cluster is there.
    """
    if address.startswith("ray://"):
        raise DataError(
            f"--address={address}: Ray Client can't do this.\n"
            "  Give the cluster's own address: auto, or host:6379, or use ray job submit."
        )
    ray = load_ray()
    options = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address == HERE:
        options["include_dashboard"] = False
    else:  # other machines may not have this code
        options["runtime_env"] = {"py_modules": [str(Path(lowlight.__file__).parent)]}
    try:
        with silent_stderr():  # it tells that RAY_BACKEND_LOG_LEVEL is set
            _check_port(address)
            ray.init(address, **options)
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise DataError(
            f"--address={address}: no Ray cluster can be used ({reason}).\n"
            "  Start one with: ray start --head"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_port(address):
    """Raises OSError where nobody listens at host:port; Ray itself would try for minutes.

    "auto" is the address that Ray noted last, which a cluster that was killed leaves behind.
    """
    if address == "auto":
        from ray._private.services import canonicalize_bootstrap_address

        address = canonicalize_bootstrap_address(address)
    host, _, port = address.rpartition(":")
    if port.isdecimal():
        socket.create_connection((host, int(port)), _SECONDS).close()


def share_out(nodes, workers=None, use_gpus=True):
    """Returns the Share of each worker.

    Where there are GPUs a worker has one; otherwise it has two cores, or what there is if fewer
    workers are wanted or cores are few.

    Args:
        nodes: [(cores, GPUs)] of each machine.
        workers: how many; None for as many as there is room for.
        use_gpus: False runs on the CPUs of machines with GPUs, too.

    Raises:
        DataError: there is no room for so many.
    """
    gpus = sum(gpu for _, gpu in nodes) if use_gpus else 0
    cores = sum(core for core, _ in nodes)
    workers = workers or min(gpus, cores) or max(sum(core // _CORES for core, _ in nodes), 1)
    for each in range(cores // workers, 0, -1):
        if sum(_room(*node, each, gpus) for node in nodes) >= workers:
            return Share(workers, each, int(gpus > 0))
    there = f"{gpus} GPUs and {cores} cores" if gpus else f"{cores} cores"
    raise DataError(f"--workers={workers}: too many for {there}.\n  Give a smaller number.")


def _room(cores, gpus, each, uses_gpus):
    """Returns how many workers of so many cores a machine has room for."""
    return min(cores // each, gpus) if uses_gpus else cores // each


def share_cluster(ray, workers, use_gpus):
    """Returns the Share of each worker in the cluster that is connected; as `share_out`."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    nodes = [(int(node.get("CPU", 0)), int(node.get("GPU", 0))) for node in nodes]
    return share_out(nodes, workers, use_gpus)
