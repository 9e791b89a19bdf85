"""Tells what a training step's time goes to, by kind of operation, with TensorFlow's profiler."""

import re
import tempfile
from collections import Counter
from pathlib import Path

# The first that is found in "name:type" of an operation is its kind.
_KINDS = {
    "waiting for images": r":.*(GetNext|Iterator)",
    "decoding and resizing of images": r":.*(Jpeg|Parse|ResizeBilinear|CropAndResize)",
    "losses and targets": r"^(gradient_tape/)?Loss/|AnchorGenerator|:Pow$",
    "weights: optimizer, decay, norm": r"Regularizer|:ResourceApply|:L2Loss|global_norm",
    "depthwise, gradients": r":.*Depthwise.*Backprop",
    "depthwise, forward": r":.*Depthwise",
    "convolutions, gradients": r":.*Conv2DBackprop|gradient_tape.*:.*MatMul",
    "convolutions, forward": r":.*(Conv2D|MatMul)",
    "batch norm, gradients": r":.*FusedBatchNormGrad",
    "batch norm, forward": r":.*FusedBatchNorm|:AssignVariableOp",
    "activations": r":.*Swish|:Sigmoid",
}
_COMPILED, _REST = "compiled: swish's gradient, gates", "sums, resampling and others"
KINDS = (*_KINDS, _COMPILED, _REST)
_XLA = re.compile(r"(call|\w*fusion)(\.\d+)?")  # what XLA's own events are called
_CALLS = re.compile(r":(Stateful|Stateless)?(PartitionedCall|While|If|Case)$")


class StepProfile:
    """Records what runs from its making to `seconds`."""

    def __init__(self):
        import tensorflow as tf

        self._folder = tempfile.TemporaryDirectory()
        tf.profiler.experimental.start(self._folder.name)

    def seconds(self):
        """Ends it; returns {kind: seconds}, each operation's from its start to its end.

        Operations run beside each other, so that all take longer together than a clock shows.
        """
        import tensorflow as tf
        from tensorflow.tsl.profiler.protobuf import xplane_pb2

        tf.profiler.experimental.stop()
        space, found = xplane_pb2.XSpace(), Counter()
        (path,) = Path(self._folder.name).rglob("*.xplane.pb")
        space.ParseFromString(path.read_bytes())
        self._folder.cleanup()
        for plane in space.planes:
            kinds = {number: _kind(event) for number, event in plane.event_metadata.items()}
            for event in (event for line in plane.lines for event in line.events):
                found[kinds[event.metadata_id]] += event.duration_ps / 1e12
        found.pop(None, None)
        return dict(found)


def _kind(event):
    """Returns the kind of an event's operation; None of what isn't one, or calls others."""
    name = event.name
    if not event.display_name:
        return _COMPILED if _XLA.fullmatch(name) else None
    if _CALLS.search(name):
        return None
    return next((kind for kind, pattern in _KINDS.items() if re.search(pattern, name)), _REST)
