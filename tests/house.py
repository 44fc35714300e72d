"""The house rules as data, for `test_architecture.py`: layers, exceptions with their reasons, sizes, words."""

from __future__ import annotations

VERBS = (
    "cli_data", "cli_model", "cli_train", "cli_runtime", "cli_bench", "cli_quantize", "cli_prune", "cli_distill",
)  # fmt: skip
LAYERS = (
    {"spec", "types", "report", "errors", "allowed", "drafts", "text", "orientation", "own", "writing"}
    | {"options", "options_prune", "options_distill"},
    {"nn", "data", "losses", "metrics", "protocols", "tasks", "geometry", "formats", "preprocess", "sources"}
    | {"timing", "machine"},
    {"checkpoint", "foreign", "evaluate", "runtime", "cameras"},
    {"train", "train_state", "train_rate", "optimize", "together", "autotune", "distill", "export", "compress"}
    | {"teachers", "labelling"},
    {"predict", "results", "video", "viz", "bench", "run_sets", "run_parts", "teaching", "narrowing", "pruning"}
    | {"pruning_report"},
    {"cli", "command", "serve", "__main__"} | set(VERBS),
)
# (who, whom) of the same layer.
SIDEWAYS = {
    ("report", "text"): "a table must not move the cursor, whatever is called what",
    ("types", "spec"): "a depth map's kind is a word of the Spec",
    ("losses", "geometry"): "a loss may be defined on aligned or projected depth",
    ("metrics", "geometry"): "so may a metric",
    ("protocols", "geometry"): "a protocol names its alignment",
    ("protocols", "metrics"): "and its metrics",
    ("tasks", "losses"): "a task is a loss and its metrics",
    ("tasks", "metrics"): "a task is a loss and its metrics",
    ("sources", "formats"): "which files count as images is said there",
    ("preprocess", "formats"): "and which formats a photograph may have",
    ("data", "formats"): "so does a data set",
    ("data", "preprocess"): "a data set reads photographs exactly as the demo does",
    ("data", "timing"): "how many cores there are is found out in one place",
    ("data", "geometry"): "intrinsics follow a resize or crop by one formula",
    ("train", "train_state"): "what a run leaves on disk is a file of its own",
    ("train", "train_rate"): "so is how fast it goes",
    ("train", "optimize"): "so is how weights are moved",
    ("train", "together"): "and what several processes tell each other",
    ("autotune", "train"): "it measures the loop's own steps",
    ("distill", "train"): "layer 3 is ordered: train < distill < compress",
    ("compress", "train"): "layer 3 is ordered: train < distill < compress",
    ("compress", "distill"): "layer 3 is ordered: train < distill < compress",
    ("compress", "export"): "what is compressed is judged by its exported file",
    ("results", "viz"): "layer 4 is ordered: viz < results < predict < video",
    ("bench", "predict"): "accuracy is that of the predictor, as in `leadline val`",
    ("run_parts", "predict"): "a run is validated by the predictor, as in `leadline val`",
    ("narrowing", "predict"): "a judge measures with the predictor, as `leadline val` does",
    ("narrowing", "run_parts"): "what is pruned is trained as `leadline train` does",
    ("pruning", "narrowing"): "a pruning run is ordered: run_parts < narrowing < pruning",
    ("pruning_report", "predict"): "so does what compares before and after",
    ("pruning", "run_parts"): "pruning trains as `leadline train` does",
    ("run_parts", "viz"): "and leaves pictures of what it predicts",
    ("predict", "results"): "layer 4 is ordered: viz < results < predict < video",
    **dict.fromkeys(
        [("cli", "command"), *((verb, "command") for verb in VERBS), *(("cli", verb) for verb in VERBS)],
        "the command line is ordered: command < one file per group of verbs < cli",
    ),
    ("cli_bench", "cli_runtime"): "sizes are typed in one way",
    ("cli_quantize", "cli_runtime"): "sizes are typed in one way",
    ("options_prune", "options"): "pruning trains, too",
    **dict.fromkeys(
        [(one, "allowed") for one in ("options", "options_prune", "options_distill")],
        "what an option may be is said where its field is, in words that all share",
    ),
    ("options_distill", "spec"): "the kind of a teacher's numbers is a word of the Spec",
    ("distill", "teachers"): "a loss may ask a teacher; layer 3 is ordered: train, teachers < distill < compress",
    ("labelling", "teachers"): "and so does what keeps the answers",
    ("run_parts", "run_sets"): "what a run reads is a file of its own",
    ("teaching", "run_parts"): "what a teacher has to say is a part of a run",
    ("cli_distill", "cli_train"): "learning from a teacher is a training",
    ("cli_distill", "cli_data"): "so are the flags that say how to read data",
    ("compress", "train_state"): "a search that goes on tells other options as a training does",
    ("cli_prune", "cli_data"): "how to read data is said by the same flags everywhere",
    ("cli_quantize", "cli_data"): "so are the flags that say how to read data",
    ("__main__", "cli"): "`python -m leadline` is the command line",
}
# One module and the one it imports against the rule.
EXCEPTIONS = {("leadline.runtime.eager", "leadline.checkpoint"): "PyTorch's artefact is the checkpoint itself"}
# The total was 10000 for the spine; eight runtimes, quantisation and benchmarks were 4000 lines more, the zoo with its
# training methods (stereo, LiteDepth, caches) is 4000 more, pruning 2500, teachers, labels and distillation
# 2800, with the verb that draws labels, with what labelling says of lost disks, machines and clusters, and with the
# images of labelled sets that have no depth. Checking what comes from outside (files, folders, numbers, names) is 5500.
MAX_LINES, MAX_TOTAL, MAX_METHODS = 300, 30_000, 10
LONGER_FILES: dict[str, str] = {}  # path -> the reason why it is not two files
LARGER_CLASSES: dict[str, str] = {}  # module.Class -> the reason
FORBIDDEN_WORDS = {"manager", "handler", "helper", "util", "base", "factory", "wrapper", "engine", "processor", "impl"}
FORBIDDEN_WORDS |= {"helpers", "utils", "common", "misc"}
# What may be imported at the top of a module; everything else waits inside a function until it is needed.
EVERYWHERE = {"numpy", "torch", "PIL", "safetensors"}
ON_TOP = {
    "train": {"accelerate"},  # the loop is nothing without it, and only training loads the loop
    # a verb's flags are its signature
    **{part: {"tyro"} for part in ("cli", "command", *VERBS)},
}
ONLY = {  # part of the package -> the only third parties it may use at all
    **{part: {"numpy"} for part in LAYERS[0]},
    "preprocess": {"numpy", "PIL"},
    "formats": {"PIL"},
}
PICKLE = {"leadline.foreign": "reads other programs' files with an unpickler that builds tensors and nothing else"}
WITHOUT_TORCH = ("spec", "types", "report", "errors", "text", "formats", "preprocess", "sources", "runtime", "predict")
