"""A learning-rate schedule keeps its course when batch and steps change."""

import pytest
from google.protobuf import text_format
from object_detection.protos import train_pb2

from lowlight.tfod.config_parts import check_schedule, rescale, schedule_of

pytestmark = pytest.mark.slow

COSINE = """cosine_decay_learning_rate {
  learning_rate_base: 0.08 total_steps: 1000 warmup_learning_rate: 0.02 warmup_steps: 100
  hold_base_rate_steps: 50
}"""
EXPONENTIAL = """exponential_decay_learning_rate {
  initial_learning_rate: 0.4 decay_steps: 100 decay_factor: 0.5 burnin_learning_rate: 0.1
  burnin_steps: 20 min_learning_rate: 0.01
}"""
# Each schedule, and what becomes of it at a quarter of the batch and half of 1000 steps.
RESCALED = {
    "cosine": (
        COSINE,
        """cosine_decay_learning_rate {
          learning_rate_base: 0.02 total_steps: 500 warmup_learning_rate: 0.005 warmup_steps: 50
          hold_base_rate_steps: 25
        }""",
    ),
    "exponential": (
        EXPONENTIAL,
        """exponential_decay_learning_rate {
          initial_learning_rate: 0.1 decay_steps: 50 decay_factor: 0.5 burnin_learning_rate: 0.025
          burnin_steps: 10 min_learning_rate: 0.0025
        }""",
    ),
    "steps": (
        """manual_step_learning_rate {
          initial_learning_rate: 0.1 warmup: true
          schedule { step: 100 learning_rate: 0.4 } schedule { step: 800 learning_rate: 0.04 }
        }""",
        """manual_step_learning_rate {
          initial_learning_rate: 0.025 warmup: true
          schedule { step: 50 learning_rate: 0.1 } schedule { step: 400 learning_rate: 0.01 }
        }""",
    ),
    "constant": (
        "constant_learning_rate { learning_rate: 0.1 }",
        "constant_learning_rate { learning_rate: 0.025 }",
    ),
}


def train_config(schedule):
    """Returns a TrainConfig with a schedule."""
    text = f"optimizer {{ adam_optimizer {{ learning_rate {{ {schedule} }} }} }}"
    return text_format.Parse(text, train_pb2.TrainConfig())


@pytest.mark.parametrize(("schedule", "expected"), RESCALED.values(), ids=RESCALED)
def test_a_quarter_of_the_batch_and_half_the_steps_rescale_a_schedule(schedule, expected):
    config = train_config(schedule)
    rescale(*schedule_of(config), 0.25, 1000, 500)
    assert config == train_config(expected)


@pytest.mark.parametrize("schedule", [COSINE, EXPONENTIAL], ids=["cosine", "exponential"])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_schedule_made_very_short_can_still_be_trained_with(schedule, steps):
    config = train_config(schedule)
    rescale(*schedule_of(config), 1.0, 1000, steps)
    assert check_schedule(config, steps, "x.config") == ""
