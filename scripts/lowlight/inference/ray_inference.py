"""Finds objects in images with a model in each of many workers, by Ray Data.

What needs PyArrow, which comes with Ray, is imported where Ray is known to be installed.
"""

import contextlib
import logging
import os
import secrets
import socket
import traceback
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import lowlight
from lowlight.core.errors import DataError, name_some, noted_signals
from lowlight.core.parallel import Progress
from lowlight.core.sources import SourceFile, file_on_disk
from lowlight.core.tensorflow import silent_stderr
from lowlight.inference.inputs import find_images
from lowlight.inference.steps import Job, detect_each

if TYPE_CHECKING:
    import pyarrow as pa

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
        import ray
        import ray.data
    except ImportError as error:
        raise DataError(
            f"Ray Data isn't installed ({error}).\n  pip install -r requirements/ray.txt"
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
    """A model in a process of its own. Ray Data gives it tables of images, and takes what it found.

    What isn't an image's fault comes back as an error of no file, because Ray would try the other
    tables as well, and get the same of each.
    """

    def __init__(self, job: Job, archive: str | None):
        """Loads the model; `archive` is the zip archive that holds the images, if one does.

        Paths are absolute, because a worker has another working folder.
        """
        self._name = f"process {os.getpid()} on {socket.gethostname()}"
        self._job, self._error = job, None
        try:
            self._job = job.loaded()
            self._members = {f.name: f for f in find_images(archive)} if archive else None
        except DataError as error:
            self._error = str(error)

    def __call__(self, images: "pa.Table") -> "pa.Table":
        """Takes a table of `file` and `place`; returns one of `parts.result_of`."""
        from lowlight.inference.parts import result_of

        if self._error:
            return result_of([], {None: self._error}, self._name)
        try:
            items = list(detect_each(map(self._file, images.to_pylist()), self._job))
            found = [item.entry for item in items if not item.errors]
            errors = {item.source.name: str(error) for item in items for error in item.errors}
            return result_of(found, errors, self._name)
        except Exception:
            return result_of([], {None: f"{self._name}: {traceback.format_exc()}"}, self._name)

    def _file(self, row):
        if self._members is not None:
            return self._members[row["file"]]
        return file_on_disk(row["place"], row["file"])


def detect_in_workers(
    ray: ModuleType,
    files: list[SourceFile],
    job: Job,
    archive: str | None,
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
    errors, missing, died = [], {file.name: file for file in files}, 0
    most = min(_MOST_IMAGES, -(-len(files) // (share.workers * _ROUNDS)))
    with noted_signals(), contextlib.closing(parts):
        for size in (most, 1):
            workers = set()
            for table in _stream(ray, list(missing.values()), job, archive, share, size):
                workers.update(table["worker"].unique().to_pylist())
                for row in table.select(["file", "error"]).to_pylist():
                    if row["error"] is not None:
                        errors.append(DataError(row["error"]))
                    if row["file"] is None:
                        raise errors[-1]
                    del missing[row["file"]]
                    progress.update()
                found = table.filter(table["error"].is_null())
                parts.collect(found.drop_columns(["error", "worker"]))
            died += max(len(workers) - share.workers, 0)
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


def _stream(ray, files, job, archive, share, size) -> Iterable:
    """Returns tables of what workers found, as soon as they are done, of `size` images or fewer."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.max_errored_blocks = -1  # the other images are done; these are missing
    context.max_consecutive_actor_init_deaths = _RETRIES
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    # There is no other way to limit the retries in this version; the next ones are held back.
    warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")
    rows = [{"file": file.name, "place": os.path.abspath(file.place)} for file in files]
    found = ray.data.from_items(rows, override_num_blocks=-(-len(rows) // size)).map_batches(
        Worker,
        fn_constructor_args=(job, archive),
        concurrency=share.workers,
        num_cpus=share.cores,
        num_gpus=share.gpus,
        max_task_retries=_RETRIES,
        batch_size=size,
        batch_format="pyarrow",
    )
    return found.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
