"""TFOD's learning-rate schedules: the same course over other steps, and whether one fits them.

A schedule is the `learning_rate` message of a pipeline config's optimizer
(object_detection/protos/optimizer.proto). What they mean is in utils/learning_schedules.py there.
"""

import math

from google.protobuf.message import Message

CONSTANT, STEPS = "constant_learning_rate", "manual_step_learning_rate"
COSINE, EXPONENTIAL = "cosine_decay_learning_rate", "exponential_decay_learning_rate"
# The fields of each kind that are rates, the first at its height, and those that count steps.
_RATES = {
    CONSTANT: ("learning_rate",),
    EXPONENTIAL: ("initial_learning_rate", "burnin_learning_rate", "min_learning_rate"),
    STEPS: ("initial_learning_rate",),
    COSINE: ("learning_rate_base", "warmup_learning_rate"),
}
_STEPS = {
    EXPONENTIAL: ("decay_steps", "burnin_steps"),
    COSINE: ("warmup_steps", "hold_base_rate_steps"),
}


def schedule_of(train_config: Message) -> tuple[str | None, Message | None]:
    """Returns (kind, message) of a train config's schedule, such as "cosine_decay_learning_rate".

    The kind is None where the config has no optimizer or no schedule.
    """
    optimizer = train_config.optimizer.WhichOneof("optimizer")
    if optimizer is None:
        return None, None
    rate = getattr(train_config.optimizer, optimizer).learning_rate
    kind = rate.WhichOneof("learning_rate")
    return kind, getattr(rate, kind) if kind else None


def base_rate(kind: str, schedule: Message) -> float:
    """Returns the rate that a schedule is at its height with, after any warm-up."""
    return getattr(schedule, _RATES[kind][0])


def length_of(train_config: Message) -> int:
    """Returns the steps that a config's schedule is made for: a cosine's own, else num_steps."""
    kind, schedule = schedule_of(train_config)
    return schedule.total_steps if kind == COSINE else train_config.num_steps


def rescale(kind: str, schedule: Message, factor: float, old_steps: int, new_steps: int) -> None:
    """Makes a schedule's rates `factor` times as high and its course as long as another training.

    Warm-up, hold and every change keep their share of the steps, each over 0; a cosine ends at the
    last step. The message is changed.
    """
    for name in _RATES[kind]:
        if getattr(schedule, name):
            setattr(schedule, name, _short(getattr(schedule, name) * factor))
    for name in _STEPS.get(kind, ()):
        if getattr(schedule, name):
            least = 0 if name == "hold_base_rate_steps" else 1
            steps = _moved(getattr(schedule, name), old_steps, new_steps)
            setattr(schedule, name, max(steps, least))
    if kind == COSINE:
        schedule.total_steps = new_steps
        schedule.warmup_steps = min(schedule.warmup_steps, new_steps - 1)
    if kind == STEPS:
        earliest = 1
        for change in schedule.schedule:
            change.step = max(_moved(change.step, old_steps, new_steps), earliest)
            change.learning_rate = _short(change.learning_rate * factor)
            earliest = change.step + 1


def _moved(step, old_steps, new_steps):
    return round(step * new_steps / old_steps)


def _short(rate):
    """Returns a rate without the digits that come of a config's floats having 32 bits."""
    return float(f"{rate:.6g}")


def check_schedule(train_config: Message, num_steps: int) -> str:
    """Returns a warning with its remedy, "" where a schedule ends with the training.

    Raises:
        ValueError: a schedule that TFOD can't train with; the message says what to change.
    """
    kind, schedule = schedule_of(train_config)
    if kind is None:
        raise ValueError(
            "no optimizer with a learning rate.\n  Copy the optimizer of a config in configs/."
        )
    if kind == COSINE:
        return _check_cosine(schedule, num_steps)
    if kind == STEPS:
        return _check_steps([change.step for change in schedule.schedule], num_steps)
    if kind == EXPONENTIAL and not schedule.decay_steps:
        raise ValueError("decay_steps: 0.\n  Give the steps between two decays.")
    return ""


def _check_cosine(schedule, num_steps):
    total, warmup = schedule.total_steps, schedule.warmup_steps
    start, base = schedule.warmup_learning_rate, schedule.learning_rate_base
    if total <= warmup + schedule.hold_base_rate_steps:
        raise ValueError(
            f"total_steps: {total} isn't over warmup_steps and hold_base_rate_steps together.\n"
            f"  Set total_steps to {num_steps}, the training's, and warmup_steps well below."
        )
    if warmup and start > base:
        raise ValueError(
            f"warmup_learning_rate: {start:g} is over learning_rate_base: {base:g}.\n"
            "  Lower the one or raise the other."
        )
    if total == num_steps:
        return ""
    if total < num_steps:
        return (
            f"the learning rate is 0 after step {total:,} of {num_steps:,}. "
            f"Set total_steps: {num_steps}."
        )
    return (
        f"the learning rate is still {_cosine_rate(schedule, num_steps):.4g} of {base:g} at step "
        f"{num_steps:,}: the schedule ends at step {total:,}. Set total_steps: {num_steps} and "
        f"warmup_steps: {max(_moved(warmup, total, num_steps), 1)}, or let make_config.py do it."
    )


def _cosine_rate(schedule, step):
    start, base = schedule.warmup_learning_rate, schedule.learning_rate_base
    if step < schedule.warmup_steps:
        return start + (base - start) * step / schedule.warmup_steps
    held = schedule.warmup_steps + schedule.hold_base_rate_steps
    done = max(step - held, 0) / (schedule.total_steps - held)
    return 0.5 * base * (1 + math.cos(math.pi * done))


def _check_steps(steps, num_steps):
    if not steps or steps[0] < 1 or steps != sorted(set(steps)):
        raise ValueError(
            "manual_step_learning_rate needs one `schedule` or more, with steps over 0 that grow."
            "\n  Correct it, or take another schedule."
        )
    missed = sum(step >= num_steps for step in steps)
    if not missed:
        return ""
    return (
        f"{missed} of {len(steps)} changes of the learning rate come after step {num_steps:,}, the "
        "last. Move them in the config, or let make_config.py do it."
    )
