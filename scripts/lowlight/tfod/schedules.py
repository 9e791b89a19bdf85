"""TFOD's learning-rate schedules: the same course over other steps, and whether one fits them.

A schedule is the `learning_rate` message of a pipeline config's optimizer
(object_detection/protos/optimizer.proto). What they mean is in utils/learning_schedules.py there.
"""

import math

# The fields of each kind that are rates, and those that count steps.
_RATES = {
    "constant_learning_rate": ("learning_rate",),
    "exponential_decay_learning_rate": (
        "initial_learning_rate",
        "burnin_learning_rate",
        "min_learning_rate",
    ),
    "manual_step_learning_rate": ("initial_learning_rate",),
    "cosine_decay_learning_rate": ("learning_rate_base", "warmup_learning_rate"),
}
_STEPS = {
    "exponential_decay_learning_rate": ("decay_steps", "burnin_steps"),
    "cosine_decay_learning_rate": ("warmup_steps", "hold_base_rate_steps"),
}


def schedule_of(train_config):
    """Returns (kind, message) of a train config's schedule, such as "cosine_decay_learning_rate".

    The kind is None where the config has no optimizer or no schedule.
    """
    optimizer = train_config.optimizer.WhichOneof("optimizer")
    if optimizer is None:
        return None, None
    rate = getattr(train_config.optimizer, optimizer).learning_rate
    kind = rate.WhichOneof("learning_rate")
    return kind, getattr(rate, kind) if kind else None


def base_rate(kind, schedule):
    """Returns the rate that a schedule is at its height with, after any warm-up."""
    return getattr(schedule, _RATES[kind][0])


def length_of(train_config):
    """Returns the steps that a config's schedule is made for: a cosine's own, else num_steps."""
    kind, schedule = schedule_of(train_config)
    is_cosine = kind == "cosine_decay_learning_rate"
    return schedule.total_steps if is_cosine else train_config.num_steps


def rescale(kind, schedule, factor, old_steps, new_steps):
    """Makes a schedule's rates `factor` times as high and its course as long as another training.

    Warm-up, hold and every change keep their share of the steps; a cosine ends at the last step.

    Args:
        kind, schedule: as `schedule_of` returns them; the message is changed.
        factor: what each rate is multiplied by.
        old_steps, new_steps: the steps it was made for, and is to be for; > 0.
    """
    for name in _RATES[kind]:
        if getattr(schedule, name):
            setattr(schedule, name, _short(getattr(schedule, name) * factor))
    for name in _STEPS.get(kind, ()):
        if getattr(schedule, name):
            steps = _moved(getattr(schedule, name), old_steps, new_steps)
            if name != "hold_base_rate_steps":
                steps = max(steps, 1)
            setattr(schedule, name, steps)
    if kind == "cosine_decay_learning_rate":
        schedule.total_steps = new_steps
        schedule.warmup_steps = min(schedule.warmup_steps, new_steps - 1)
    if kind == "manual_step_learning_rate":
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


def check_schedule(train_config, num_steps):
    """Holds a schedule against the number of steps.

    Returns:
        A warning with its remedy, "" where the schedule ends with the training.

    Raises:
        ValueError: a schedule that TFOD can't train with; the message says what to change.
    """
    kind, schedule = schedule_of(train_config)
    if kind is None:
        raise ValueError(
            "no optimizer with a learning rate.\n  Copy the optimizer of a config in configs/."
        )
    if kind == "cosine_decay_learning_rate":
        return _check_cosine(schedule, num_steps)
    if kind == "manual_step_learning_rate":
        return _check_manual(schedule, num_steps)
    if kind == "exponential_decay_learning_rate" and not schedule.decay_steps:
        raise ValueError("decay_steps: 0.\n  Give the steps between two decays.")
    return ""


def _check_cosine(schedule, num_steps):
    total, start = schedule.total_steps, schedule.warmup_learning_rate
    base = schedule.learning_rate_base
    if total <= schedule.warmup_steps + schedule.hold_base_rate_steps:
        raise ValueError(
            f"total_steps: {total} isn't over warmup_steps and hold_base_rate_steps together.\n"
            f"  Set total_steps to {num_steps}, the training's, and warmup_steps well below."
        )
    if schedule.warmup_steps and start > base:
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
    if num_steps < schedule.warmup_steps:
        last = start + (base - start) * num_steps / schedule.warmup_steps
    else:
        held = schedule.warmup_steps + schedule.hold_base_rate_steps
        done = max(num_steps - held, 0) / (total - held)
        last = 0.5 * base * (1 + math.cos(math.pi * done))
    return (
        f"the learning rate is still {last:.4g} of {base:g} at step {num_steps:,}: the schedule "
        f"ends at step {total:,}. Set total_steps: {num_steps} and warmup_steps: "
        f"{max(_moved(schedule.warmup_steps, total, num_steps), 1)}, or let make_config.py do it."
    )


def _check_manual(schedule, num_steps):
    steps = [change.step for change in schedule.schedule]
    if not steps or steps[0] < 1 or steps != sorted(set(steps)):
        raise ValueError(
            "manual_step_learning_rate needs one `schedule` or more, with steps over 0 that grow."
            "\n  Correct it, or take another schedule."
        )
    if steps[-1] < num_steps:
        return ""
    missed = sum(step >= num_steps for step in steps)
    return (
        f"{missed} of {len(steps)} changes of the learning rate come after step {num_steps:,}, the "
        "last. Move them in the config, or let make_config.py do it."
    )
