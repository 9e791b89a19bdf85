"""Finds objects in images with a model in each of many workers, by Ray.

What needs PyArrow, which comes with Ray, is imported where Ray is known to be installed.
"""

import contextlib
import logging
import os
import secrets
import socket
from collections import deque
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import lowlight
from lowlight.core.errors import DataError, name_some, noted_signals
from lowlight.core.parallel import Progress
from lowlight.core.sources import SourceFile, file_on_disk
from lowlight.core.tensorflow import silent_stderr
from lowlight.inference.inputs import find_images, is_archive
from lowlight.inference.steps import Job, detect_each

if TYPE_CHECKING:
    from lowlight.inference.parts import DetectionParts

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
_MOST_IMAGES = 32  # given to a worker at a time; as many are repeated after it was killed
_ROUNDS = 4  # and at least so many times, for all workers to end at about the same time
_RETRIES = 3  # of images whose worker died, before they are tried one by one


class Share(NamedTuple):
    """How many workers there are, and what each has of its machine."""

    workers: int
    cores: int
    gpus: int

    def __str__(self) -> str:
        """Returns it as people say it."""
        return f"{self.workers} of {self.cores} CPU cores" + (" and a GPU" if self.gpus else "")


def load_ray() -> ModuleType:
    """Returns the module ray, made quiet; raises DataError where it isn't installed."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import pyarrow  # noqa: F401 - comes with it
        import ray
    except ImportError as error:
        raise DataError(
            f"Ray isn't installed ({error}).\n  pip install -r requirements/ray.txt"
        ) from error
    return ray


def _keep_private() -> None:
    """Keeps a Ray of this machine alone from asking around and from writing into the home folder.

    The process that shows the dashboard asks clouds' hosts which of them this is, for a report that
    isn't made, and does nothing else where there is no dashboard.
    """
    from ray._private import services

    services.start_api_server = lambda *_, **__: (None, None)  # as one that couldn't start
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex())  # otherwise kept in ~/.ray


@contextlib.contextmanager
def connected(address: str) -> Iterator[ModuleType]:
    """Yields the module ray, connected for the time of the block to the cluster at an address.

    "auto" is that of this machine, HERE starts one on this machine alone.

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
        _keep_private()
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


def nodes_of(ray: ModuleType) -> list[tuple[int, int]]:
    """Returns (cores, GPUs) of each machine of the cluster that is connected."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [(int(node.get("CPU", 0)), int(node.get("GPU", 0))) for node in nodes]


def share_out(
    nodes: list[tuple[int, int]], workers: int | None = None, use_gpus: bool = True
) -> Share:
    """Returns the Share of each worker; raises DataError where there is no room for so many.

    Where there are GPUs to be used a worker has one; otherwise it has two cores, or what there is
    if fewer workers are wanted or cores are few. Without `workers` there are as many as have room.
    """
    gpus = sum(gpu for _, gpu in nodes) if use_gpus else 0
    cores = sum(core for core, _ in nodes)
    workers = workers or min(gpus, cores) or max(sum(core // _CORES for core, _ in nodes), 1)
    for each in range(cores // workers, 0, -1):
        rooms = [min(core // each, gpu) if gpus else core // each for core, gpu in nodes]
        if sum(rooms) >= workers:
            return Share(workers, each, int(gpus > 0))
    there = f"{gpus} GPUs and {cores} cores" if gpus else f"{cores} cores"
    raise DataError(f"--workers={workers}: too many for {there}.\n  Give a smaller number.")


class Worker:
    """A model in a process of its own, an actor of Ray's."""

    def __init__(self, job: Job):
        """Takes a job whose paths are absolute.

        Its model is loaded by the first `detect`, because Ray hides what an actor's beginning says.
        """
        self._job, self._members = job, {}  # of an archive, {name: SourceFile}

    def detect(self, images: list[tuple[str, str]]) -> tuple[list[dict], dict]:
        """Takes (name, path) of images; returns entries, {name: DataError} of the others."""
        if self._job.detector is None:
            self._job = self._job.loaded()
            if is_archive(self._job.source):
                self._members = {file.name: file for file in find_images(self._job.source)}
        files = [self._members.get(name) or file_on_disk(path, name) for name, path in images]
        items = list(detect_each(files, self._job))
        entries = [item.entry for item in items if not item.errors]
        return entries, {i.source.name: e for i in items for e in i.errors}


def detect_in_workers(
    ray: ModuleType,
    files: list[SourceFile],
    job: Job,
    share: Share,
    parts: "DetectionParts",
    progress: Progress,
) -> list[DataError]:
    """Detects on each image in the workers, keeps what was found in DetectionParts, returns errors.

    What workers had in hand when they were killed is done again by others, at last image by image,
    so that one that kills its worker keeps no other from being done. After Ctrl-C what has arrived
    is kept.

    Raises:
        DataError: a worker's, which says why the model can't be run.
        Interrupted: by SIGINT or SIGTERM.
    """
    errors, missing, died = [], {file.name: os.path.abspath(file.place) for file in files}, 0
    most = min(_MOST_IMAGES, -(-len(files) // (share.workers * _ROUNDS)))
    with noted_signals(), contextlib.closing(parts):
        for size in (most, 1):
            for result in _results(ray, list(missing.items()), job, share, size):
                if result is None:
                    died += 1
                    continue
                entries, wrong = result
                parts.collect(entries)
                errors += wrong.values()
                for name in (*wrong, *(entry["file"] for entry in entries)):
                    del missing[name]
                    progress.update()
            if not missing:
                break
    if died:
        print(f"  workers that died: {died}; their images went to others")
    if missing:
        killers = (
            f"{name_some(missing)}: each worker that had one died.\n"
            "  Memory may be short: take fewer --workers, and run the same command again."
        )
        errors.append(DataError(killers))
    return errors


def _results(ray, images, job, share, size) -> Iterator[tuple | None]:
    """Yields what `Worker.detect` returns of `size` images or fewer, and None where a worker died.

    Only a worker that has answered is given images: where there is no room for one, as after a
    machine has gone, the others do them all.
    """
    actor = ray.remote(num_cpus=share.cores, num_gpus=share.gpus)(Worker)
    parts = deque((images[start : start + size], 0) for start in range(0, len(images), size))
    running, idle = {}, []  # {future: (worker, its part and how many died of that, or None)}

    def start():
        worker = actor.remote(job)
        running[worker.__ray_ready__.remote().future()] = worker, None

    for _ in range(share.workers):
        start()
    while parts or any(part for _, part in running.values()):
        done, _ = futures.wait(running, return_when=futures.FIRST_COMPLETED)
        for future in done:
            worker, part = running.pop(future)
            try:
                result = future.result()
            except ray.exceptions.RayTaskError as error:
                raise error.cause from error
            except ray.exceptions.RayError as error:
                if part is None:
                    reason = str(error).splitlines()[0]
                    continue
                yield None
                start()
                some, died = part
                if died < _RETRIES:
                    parts.append((some, died + 1))
                continue
            if part:
                yield result
            idle.append(worker)
        while parts and idle:
            worker, part = idle.pop(), parts.popleft()
            running[worker.detect.remote(part[0]).future()] = worker, part
        if parts and not running:
            raise DataError(f"No worker can start ({reason}).\n  See what Ray says: ray status")
