"""Trains a run: begins it or goes on with it, on whatever devices there are, to its last step."""

import contextlib
import re
from pathlib import Path
from typing import NamedTuple

from lowlight.core.errors import DataError
from lowlight.core.files import existing_file, output_dir
from lowlight.core.interruption import noted_signals
from lowlight.core.run_lock import locked
from lowlight.tfod import model as tfod
from lowlight.training.checkpoints import LOST_WORKER
from lowlight.training.checks import record_files
from lowlight.training.preflight import check_config
from lowlight.training.session import Session
from lowlight.training.workers import Workers, read_cluster


class Options(NamedTuple):
    """How a run is trained, beside its config."""

    num_steps: int | None = None  # the step to train to; the config's num_steps by default
    checkpoint_every_n: int = 1000  # steps between two checkpoints
    summarize_every_n: int = 100  # steps between two TensorBoard summaries
    record_summaries: bool = True  # training images among them
    use_tpu: bool = False  # allows the config's use_bfloat16
    num_workers: int = 1  # processes that train together, as TF_CONFIG names them
    seed: int | None = None  # makes a run repeatable; None draws one
    restart_schedule: bool = False  # begin the learning rate's schedule anew at this step
    eval_every_n: int = 0  # steps between two evaluations; 0 for none
    patience: int = 0  # evaluations without a better score that end the training; 0 for no end
    mixed_precision: bool = False  # compute in float16 on GPUs, in bfloat16 elsewhere
    dry_run: bool = False  # end after the checks
    flags: dict = {}  # what the user gave, for run.json


def train_run(config_path, model_dir, make_strategy, options=None):
    """Trains a run to its last step, going on from its newest whole checkpoint.

    The checkpoints, their names and folder, and TensorBoard's tags are those of TFOD's own loop, so
    each goes on with what the other began.

    Args:
        config_path: the pipeline config to train.
        model_dir: the run's folder, made where it is missing.
        make_strategy: returns the tf.distribute strategy to train under; called after the config
            was checked, since with several workers it waits for all of them.
        options: Options.

    Raises:
        DataError: as `check_config` and `preflight`; a run of another config, or one that is being
            trained, in the folder; a loss that is not a finite number; a disk that refuses a
            checkpoint; another worker that has gone.
        Interrupted: by SIGTERM or Ctrl-C, after a checkpoint was kept.
    """
    options = options or Options()
    config = tfod.read_config(config_path)
    check_config(config, config_path)
    num_steps = options.num_steps or config.train_config.num_steps
    if not num_steps:
        raise DataError(f"{config_path}: no num_steps.\n  Add it, or give --num_train_steps.")
    if options.eval_every_n:
        _check_eval_input(config, config_path)
    cluster = read_cluster(options.num_workers)
    session = Session(Path(model_dir), config_path, config, num_steps, options)
    if options.dry_run:
        session.check(make_strategy().num_replicas_in_sync)
        print("nothing was trained (--dry_run)")
        return
    output_dir(model_dir)
    with locked(session.dir) if cluster.index == 0 else contextlib.nullcontext():
        try:
            strategy = make_strategy()
            with noted_signals() as signals:
                session.train(strategy, Workers(strategy, cluster), signals)
        except LOST_WORKER as error:
            if options.num_workers == 1:
                raise
            reason = re.sub(r"\{\{.*?\}\} ", "", str(error).splitlines()[0])
            raise DataError(
                f"{model_dir}: another worker has gone ({reason}).\n"
                "  See what it says, and start all workers again: they go on from the newest "
                "checkpoint."
            ) from error


def _check_eval_input(config, path):
    """Raises DataError unless a config names test records and a label map that are there."""
    if not config.eval_input_reader:
        raise DataError(f"{path}: no eval_input_reader to evaluate on.\n  Add one.")
    reader = config.eval_input_reader[0]
    existing_file(reader.label_map_path, f"Correct the eval_input_reader's in {path}.")
    record_files(reader.tf_record_input_reader.input_path, path)
