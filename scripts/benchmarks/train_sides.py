"""The sides that bench_train.py compares, each run in a process of its own."""

import os
import resource
import tempfile
import time
from collections.abc import Callable
from typing import NamedTuple


class Side(NamedTuple):
    """What a process does in its turns."""

    kind: str  # "train" or "input"
    is_stock: bool
    mixed_precision: bool = False
    switch_on: Callable = lambda: None  # called before anything is built


class Turn(NamedTuple):
    """What a step took in a turn, or an image for input."""

    wall: float  # seconds
    cpu: float  # seconds of all cores together
    gpu_bytes: int  # the most that tensors took on the first GPU, since the process began


def _compile_clusters():
    """Has XLA compile what it can of each graph, for GPUs alone."""
    import tensorflow as tf

    tf.config.optimizer.set_jit("autoclustering")


def _make_repeatable():
    """Does as train.py --seed, for which a GPU takes other algorithms."""
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    tf.keras.utils.set_random_seed(0)


SIDES = {
    "stock": Side("train", True),
    "float32": Side("train", False),
    "mixed": Side("train", False, mixed_precision=True),
    "xla": Side("train", False, switch_on=_compile_clusters),
    "mixed_xla": Side("train", False, mixed_precision=True, switch_on=_compile_clusters),
    "repeatable": Side("train", False, switch_on=_make_repeatable),
    "stock_input": Side("input", True),
    "input": Side("input", False),
}
_WARM_UP = 2  # turns that aren't counted: tracing, and filling of buffers


def run_side(name, config_path, records, batch_size, steps, batches, connection):
    """Runs one side, a turn for each message received, and sends each turn's seconds.

    Args:
        name: a key of SIDES.
        config_path: the pipeline config.
        records: the folder with train.tfrecord and label_map.txt.
        batch_size: images a step; steps: steps of a training turn; batches: of an input turn.
        connection: multiprocessing Connection. "ready" is sent after the warm-up; then for each
            "go" a Turn.
    """
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # there may be other sides
    from lowlight.tfod import model as tfod

    config = tfod.read_config(config_path)
    reader = config.train_input_reader
    reader.label_map_path = f"{records}/label_map.txt"
    reader.tf_record_input_reader.input_path[:] = [f"{records}/train.tfrecord"]
    config.train_config.batch_size = batch_size
    config.train_config.fine_tune_checkpoint = ""
    side = SIDES[name]
    side.switch_on()
    if side.kind == "input":
        take_turn = _input_turn(config, side, batches)
        count = batches * batch_size
    elif side.is_stock:
        _train_stock(config, steps, _Turns(connection, steps))
        return
    else:
        take_turn = _training_turn(config, side, steps)
        count = steps
    turns = _Turns(connection, count)
    while True:
        take_turn()
        turns.end()


class _Turns:
    """Measures turns; between them it waits for a message."""

    def __init__(self, connection, count):
        self._connection, self._count, self._ended = connection, count, 0
        self._start = None

    def end(self):
        """Sends the figures of the turn that ends, and waits for the next."""
        if self._ended == _WARM_UP:
            self._connection.send("ready")
        elif self._ended > _WARM_UP:
            wall, cpu = (now - then for now, then in zip(_clocks(), self._start, strict=True))
            self._connection.send(Turn(wall / self._count, cpu / self._count, _gpu_bytes()))
        if self._ended >= _WARM_UP:
            self._connection.recv()
        self._ended += 1
        self._start = _clocks()


def _clocks():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter(), usage.ru_utime + usage.ru_stime


def _gpu_bytes():
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        return 0
    return tf.config.experimental.get_memory_info("GPU:0")["peak"]


def _input_turn(config, side, batches):
    import tensorflow as tf
    from object_detection import inputs

    from lowlight.tfod import model as tfod
    from lowlight.training.step import TrainingInput

    model = tfod.build_model(config, is_training=True)
    if side.is_stock:
        parts = config.train_config, config.train_input_reader, config.model
        dataset = inputs.train_input(*parts, model=model).repeat()
    else:
        dataset = TrainingInput(config, 0).batches(tf.distribute.get_strategy(), 0, model)
    iterator = iter(dataset)

    def take_turn():
        for _ in range(batches):
            next(iterator)

    return take_turn


def _training_turn(config, side, steps):
    import tensorflow as tf

    from lowlight.tfod.training import make_trainee
    from lowlight.training.step import TrainingInput, TrainStep, choose_precision

    precision = choose_precision(side.mixed_precision)
    strategy = tf.distribute.MirroredStrategy()
    with strategy.scope():
        trainee, batches = make_trainee(
            config,
            lambda model: TrainingInput(config, 0).batches(strategy, 0, model),
            mixed_precision=precision,
        )
    step = TrainStep(trainee.model, config, trainee.optimizer, strategy, precision, seed=0)
    iterator = iter(batches)

    def take_turn():
        for _ in range(steps):
            values = step(*next(iterator))
            trainee.schedule_step.assign_add(1)
            float(values["Loss/total_loss"])

    return take_turn


def _train_stock(config, steps, turns):
    """Runs TFOD's own loop, in blocks of a turn's steps, for ever."""
    import tensorflow as tf
    from google.protobuf import text_format
    from object_detection import model_lib_v2

    v2 = model_lib_v2.tf.compat.v2

    def on_scalar(name, *_, **__):
        if name == "steps_per_sec":  # written once a block
            turns.end()

    v2.summary.scalar = on_scalar
    record_if = v2.summary.record_if
    v2.summary.record_if = lambda _: record_if(False)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "stock.config")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text_format.MessageToString(config))
        with tf.distribute.MirroredStrategy().scope():
            model_lib_v2.train_loop(
                path,
                folder,
                train_steps=10**9,
                checkpoint_every_n=10**9,
                num_steps_per_iteration=steps,
            )
