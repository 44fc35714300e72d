"""The house rules as data, for `test_architecture.py`: the order of packages, sizes, words."""

from __future__ import annotations

ORDER = "core < nn, data < evaluation < runtime, training < predict, distill, compress < bench < pipelines < cli"
"""An import goes to the left only. Packages between two `<` are siblings and never import each other."""

MAX_LINES, MAX_METHODS = 300, 10
FORBIDDEN_WORDS = {"manager", "handler", "helper", "util", "base", "factory", "wrapper", "engine", "processor", "impl"}
FORBIDDEN_WORDS |= {"helpers", "utils", "common", "misc"}
EVERYWHERE = {"numpy", "torch", "PIL", "safetensors"}
"""What may be imported at the top of a module; everything else waits inside a function until it is needed."""
ON_TOP = {
    "training": {"accelerate"},  # the loop is nothing without it, and only training loads the loop
    "cli": {"tyro"},  # a verb's flags are its signature
}
CORE_NEEDS = {"numpy", "PIL", "matplotlib"}  # matplotlib for its rarer colour maps, inside a function
PICKLES = ["leadline.data.layouts.cifar", "leadline.nn.pretrained.fastdepth_authors"]
"""The only modules that read pickles, with unpicklers that build arrays or tensors and nothing else."""
WITHOUT_TORCH = ("core", "evaluation", "predict", "runtime")
"""Packages that can be imported where torch is not installed."""
