"""What TFOD 2 (last released in 2022) needs to run on today's TensorFlow, one function a repair.

`tfod` calls `apply` before it imports `object_detection`. Each repair first looks whether its
cause is there, steps aside (returns False) where it is gone, and else repairs it at run time
(returns True); nothing in site-packages is edited.
"""

import ast
import functools
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import types
import warnings


@functools.cache
def apply():
    """Applies every repair that is needed here, once a process.

    Returns:
        The names of the repairs made, as a tuple; those that stepped aside are not among them.
    """
    return tuple(repair.__name__ for repair in REPAIRS if repair())


def legacy_keras():
    """Makes tf.keras Keras 2.

    Broke with TensorFlow 2.16, whose tf.keras is Keras 3: TFOD's models are Keras 2 layers.
    tf-keras keeps Keras 2 alive, where TF_USE_LEGACY_KERAS is set before tf.keras is first
    touched. Can go when TFOD is ported to Keras 3.
    """
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    import tensorflow as tf

    if getattr(tf.keras, "__version__", "").startswith("3"):
        raise RuntimeError(
            "tf.keras is already Keras 3 and TFOD needs Keras 2: import lowlight.tfod before "
            "anything else uses tf.keras."
        )
    return tf.keras.layers.Layer.__module__.startswith("tf_keras.")


def old_protos():
    """Loads TFOD's generated protobuf modules on protobuf's fast (upb) runtime.

    Broke with protobuf 4.21: "Descriptors cannot be created directly". The modules were written by
    a protoc before 3.19 and build their descriptors field by field, which the upb runtime refuses.
    Each holds its whole file descriptor as bytes besides, so an import hook hands those bytes to
    the descriptor pool, as a module written by today's protoc does. Can go when TFOD's package is
    generated anew.
    """
    spec = importlib.util.find_spec("object_detection.protos.pipeline_pb2")
    if isinstance(spec.loader, _OldProtoLoader) or not _is_old_proto(spec):
        return False
    sys.meta_path.insert(0, _OldProtoFinder())
    return True


def _is_old_proto(spec):
    """Returns whether a module spec is of a generated module that protoc < 3.19 wrote."""
    return "serialized_pb=" in (spec.loader.get_source(spec.name) or "")


class _OldProtoFinder(importlib.abc.MetaPathFinder):
    """Finds the object_detection.protos.*_pb2 modules that are of the old form."""

    def find_spec(self, fullname, path=None, target=None):
        if not (fullname.startswith("object_detection.protos.") and fullname.endswith("_pb2")):
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or not _is_old_proto(spec):
            return None
        spec.loader = _OldProtoLoader(fullname, spec.origin)
        return spec


class _OldProtoLoader(importlib.machinery.SourceFileLoader):
    """Makes a generated module's messages from the file descriptor that its source holds."""

    def exec_module(self, module):
        from google.protobuf import descriptor_pool
        from google.protobuf.internal import builder

        imports, descriptor = _read_old_proto(self.get_source(self.name))
        for name in imports:
            importlib.import_module(name)
        names = vars(module)
        names["DESCRIPTOR"] = descriptor_pool.Default().AddSerializedFile(descriptor)
        builder.BuildMessageAndEnumDescriptors(names["DESCRIPTOR"], names)
        builder.BuildTopDescriptorsAndMessages(names["DESCRIPTOR"], self.name, names)


def _read_old_proto(source):
    """Returns ([names of the *_pb2 modules it imports], serialized FileDescriptorProto)."""
    imports, descriptor = [], None
    for node in ast.parse(source).body:
        if isinstance(node, ast.ImportFrom):
            imports += [f"{node.module}.{a.name}" for a in node.names if a.name.endswith("_pb2")]
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "DESCRIPTOR":
            values = {keyword.arg: keyword.value for keyword in node.value.keywords}
            descriptor = ast.literal_eval(values["serialized_pb"])
    return imports, descriptor


def moved_control_flow():
    """Gives tf-slim the control flow functions that it calls by their old place.

    Broke with TensorFlow 2.14: cond, case and while_loop left
    tensorflow.python.ops.control_flow_ops, where tf-slim 1.1.0, the last, calls them to decode
    images. They are the same functions as tf.compat.v1's. Can go when TFOD no longer uses tf-slim.
    """
    import tensorflow as tf
    from tensorflow.python.ops import control_flow_ops

    return _add_missing(
        control_flow_ops,
        {name: getattr(tf.compat.v1, name) for name in ("case", "cond", "while_loop")},
    )


def _add_missing(owner, members):
    """Sets the members that owner lacks; returns whether it lacked any."""
    missing = {name: value for name, value in members.items() if not hasattr(owner, name)}
    for name, value in missing.items():
        setattr(owner, name, value)
    return bool(missing)


class StandIn(types.ModuleType):
    """A module that answers only to the members it was made with.

    Any other name is an AttributeError that says why, `__file__` and `__path__` among them:
    `inspect` asks every loaded module for those. `importlib.util.find_spec` wants a `__spec__`.
    """

    def __init__(self, name, why, **members):
        super().__init__(name, why)
        spec = importlib.machinery.ModuleSpec(name, loader=None)
        vars(self).update(members, __spec__=spec)

    def __getattr__(self, name):
        raise AttributeError(f"{self.__name__}.{name}: {self.__doc__}")


def removed_estimator():
    """Puts a stand-in with ModeKeys where TFOD looks for Estimators.

    Broke with TensorFlow 2.16, which removed tf.estimator: TFOD's inputs and model_lib import it.
    Its TF 2 code needs only the three mode names; the rest serves TF 1. Can go when TFOD drops TF
    1.
    """
    # Imported as TFOD does: tf.compat.v1 may be another copy of this module.
    import tensorflow.compat.v1 as tf1

    keys = types.SimpleNamespace(TRAIN="train", EVAL="eval", PREDICT="infer")
    why = "Estimators left TensorFlow with 2.16; this part of TFOD needs TensorFlow 1."
    stand_in = StandIn("tensorflow.compat.v1.estimator", why, ModeKeys=keys)
    return _add_missing(tf1, {"estimator": stand_in})


class _LateTensorFlowIO(StandIn):
    """Loads the real tensorflow_io when `experimental`, the one part TFOD uses, is asked for."""

    def __getattr__(self, name):
        if name != "experimental":
            return super().__getattr__(name)
        del sys.modules["tensorflow_io"]
        try:
            self.experimental = importlib.import_module("tensorflow_io").experimental
        except Exception as error:
            sys.modules["tensorflow_io"] = self
            raise ImportError(f"{self.__doc__} ({error})") from error
        return self.experimental


def late_tensorflow_io():
    """Puts off the import of tensorflow_io until DeepMAC uses it.

    Broke with TensorFlow 2.17: the compiled part of the last tensorflow-io (0.37.1), built for
    2.16, doesn't load, which its import says in two long warnings; for Python 3.13 there is none at
    all. TFOD's model builder imports it by way of DeepMAC, the one model that calls it, for a
    colour conversion that is Python. Can go when TFOD imports it where it is used.
    """
    if "tensorflow_io" in sys.modules:
        return False
    why = "DeepMAC's color consistency loss needs the package tensorflow-io; nothing else does."
    sys.modules["tensorflow_io"] = _LateTensorFlowIO("tensorflow_io", why)
    return True


def missing_lvis():
    """Stands in for lvis where it can't be imported.

    Breaks wherever OpenCV can't load (no libGL.so.1 on servers and slim containers) or lvis isn't
    installed: TFOD's evaluators derive from its classes when they are imported, though only LVIS
    metrics use them. Can go when lvis no longer needs OpenCV.
    """
    try:
        import lvis  # noqa: F401
    except ImportError as error:
        why = f"LVIS metrics need the package lvis, which can't be imported here: {error}"
        parts = {"lvis": "LVIS", "eval": "LVISEval", "results": "LVISResults"}
        stand_ins = {
            part: StandIn(f"lvis.{part}", why, **{name: _refusing_class(name, why)})
            for part, name in parts.items()
        }
        sys.modules["lvis"] = StandIn("lvis", why, **stand_ins)
        return True
    return False


def _refusing_class(name, why):
    """Returns a class that can be derived from; making an object of it raises ImportError."""

    def refuse(cls, *args, **kwargs):
        raise ImportError(why)

    return type(name, (), {"__new__": refuse})


def removed_font_size():
    """Gives Pillow's fonts the getsize that TFOD's drawing calls.

    Broke with Pillow 10, which removed it in favour of getbbox: without it TFOD's evaluation dies
    when it draws its first side-by-side image. Can go when TFOD calls getbbox.
    """
    from PIL import ImageFont

    def getsize(font, text):
        """Returns (width, height) in pixels from the drawing origin to the text's far corner."""
        return tuple(font.getbbox(text)[2:])

    fonts = ImageFont.FreeTypeFont, ImageFont.ImageFont
    return sum(_add_missing(font, {"getsize": getsize}) for font in fonts) > 0


def removed_numpy_names():
    """Gives NumPy back the aliases that TFOD still uses.

    Broke with NumPy 1.24 (np.bool, np.float, np.int, np.object; 2.0 has a np.bool again) and 2.0
    (np.NAN, np.string_). Can go when TFOD uses the builtin types and np.nan.
    """
    import numpy as np

    aliases = {"bool": bool, "float": float, "int": int, "object": object}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # NumPy warns of some names it has removed
        return _add_missing(np, {**aliases, "NAN": np.nan, "string_": np.bytes_})


def private_resnet():
    """Gives keras.applications.resnet the builder that TFOD makes ResNet-18 and -34 with.

    Broke with Keras 2.13, which hid ResNet(stack_fn, ...) from its public names; since Keras 3,
    moreover, the module called keras isn't the Keras that TFOD's layers belong to. Can go when TFOD
    imports it from tf.keras.
    """
    from keras.applications import resnet

    if hasattr(resnet, "ResNet"):
        return False
    from tf_keras.src.applications.resnet import ResNet

    resnet.ResNet = ResNet
    return True


REPAIRS = (
    legacy_keras,
    old_protos,
    moved_control_flow,
    removed_estimator,
    late_tensorflow_io,
    missing_lvis,
    removed_font_size,
    removed_numpy_names,
    private_resnet,
)
