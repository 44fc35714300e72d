"""TVM's tuner (MetaSchedule): tries schedules for each task of a net on this processor and keeps what it measured.

A task is a loop nest, such as a convolution with its bias and ReLU; equal ones count once. The database is a folder
with two JSON files to which each batch of trials is appended, so an interrupted tuning loses a few trials at most.
`tuning.jsonl` beside them tells each task's trials, seconds and best time.

Candidates are built and timed in this process. MetaSchedule's own builder starts new processes for every batch, each of
which first loads TVM's descriptions of GPU instructions (half a minute on a slow core): that took nine tenths of the
time. So that builds here need no time limit, loops are unrolled to at most 64 steps.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from leadline.core.text import read_text, split_lines

BATCH = 16
"""Trials between two writes to the database."""
_TOO_SLOW_S = 0.1  # a candidate whose first run takes longer is not timed any further


def tune(module: Any, target: Any, folder: Path, trials: int, tell: Callable[[str], None] | None = None) -> None:
    """Tune every task of the lowered `module` until the database in `folder` holds `trials` trials of it.

    Those that hold that many already are left alone, and those that were tuned to their end: a small task has fewer
    schedules than that. The heaviest tasks come first. `tell` gets a line for each task.
    """
    from tvm.s_tir import meta_schedule as ms
    from tvm_ffi import structural_hash

    folder.mkdir(parents=True, exist_ok=True)
    logging.getLogger("tvm").setLevel(logging.WARNING)
    database = opened(folder)
    tasks = ms.relax_integration.extract_tasks(module, target)
    done, finished = trials_of(tasks, database), _finished(folder)
    for number, task in enumerate(sorted(tasks, key=lambda t: (-_work(t), str(t.task_name))), 1):
        todo = trials - done[task.task_name]
        key = str(structural_hash(task.dispatched[0]))
        if todo <= 0 or finished.get(key, 0) >= trials:
            continue
        start = time.perf_counter()
        _tune_task(task, target, folder, database, todo)
        best = best_ms(database, task)
        line = {"task": str(task.task_name), "weight": int(task.weight), "new_trials": todo, "trials": trials}
        line |= {"key": key, "best_ms": best, "seconds": round(time.perf_counter() - start, 1)}
        with (folder / "tuning.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        if tell is not None:
            shown = "no schedule ran" if best is None else f"{best:.3f} ms"
            tell(f"task {number} of {len(tasks)}, {task.task_name}: {shown} after {trials} trials")


def _finished(folder: Path) -> dict[str, int]:
    """With how many trials each task was tuned to its end, by its structural hash: names repeat from net to net."""
    path = folder / "tuning.jsonl"
    found: dict[str, int] = {}
    for line in split_lines(read_text(path)) if path.is_file() else []:
        with contextlib.suppress(ValueError):  # a line cut short by a crash
            record = json.loads(line)
            found[str(record.get("key"))] = max(found.get(str(record.get("key")), 0), int(record["trials"]))
    return found


def applied(module: Any, target: Any, folder: Path) -> Any:
    """The lowered `module` with the best known schedule for each task; those without one stay as they are."""
    from tvm import relax

    with target, opened(folder):
        return relax.transform.MetaScheduleApplyDatabase()(module)


def opened(folder: Path) -> Any:
    """The database in `folder`, made if there is none. A line cut short by a crash is dropped first."""
    from tvm.s_tir.meta_schedule.database import JSONDatabase

    names = [folder / "database_workload.json", folder / "database_tuning_record.json"]
    for path in names:
        if path.is_file():
            whole = path.read_bytes()
            path.write_bytes(whole[: whole.rfind(b"\n") + 1])
    return JSONDatabase(*map(str, names), allow_missing=True)


def trials_of(tasks: list[Any], database: Any) -> dict[str, int]:
    """How many trials the database holds of each task, by name."""
    records = database.get_all_tuning_records()
    seen: dict[int, int] = {}
    for record in records:
        key = hash(record.workload)
        seen[key] = seen.get(key, 0) + 1
    return {str(t.task_name): seen.get(hash(database.commit_workload(t.dispatched[0])), 0) for t in tasks}


def best_ms(database: Any, task: Any) -> float | None:
    """The best measured time of a task, None if no trial ran."""
    top = database.get_top_k(database.commit_workload(task.dispatched[0]), 1)
    seconds = min((float(s) for record in top for s in record.run_secs or []), default=1e9)
    return None if seconds > 1e6 else seconds * 1000


def _tune_task(task: Any, target: Any, folder: Path, database: Any, trials: int) -> None:
    from tvm.s_tir import meta_schedule as ms

    space = ms.space_generator.PostOrderApply(sch_rules=_rules())
    search = ms.search_strategy.EvolutionarySearch(
        population_size=64, init_measured_ratio=0.2, init_min_unmeasured=16, max_fail_count=5, genetic_num_iters=2
    )
    # not by `extracted_tasks_to_tune_contexts`: its logs are set up with `logging.config`, which closes every log
    # handler of the process, and absl's (LiteRT's) closes the stream it writes to with itself
    context = ms.TuneContext(
        mod=task.dispatched[0],
        target=task.target,
        space_generator=space,
        search_strategy=search,
        task_name=task.task_name,
        rand_state=1,
        num_threads=int(target.attrs["num-cores"]),
    )
    builder, runner = _here()
    ms.tune.tune_tasks(
        tasks=[context.clone()],
        task_weights=[task.weight],
        work_dir=str(folder),
        max_trials_global=trials,
        num_trials_per_iter=min(BATCH, trials),
        database=database,
        builder=builder,
        runner=runner,
        # without the default callback that removes build folders: ours are files, where it fails
        measure_callbacks=[ms.measure_callback.AddToDatabase(), ms.measure_callback.UpdateCostModel()],
    )


def _rules() -> list[Any]:
    """TVM's rules for processors, without reductions in parts (no task here gains) and with short unrolled loops."""
    from tvm.s_tir.meta_schedule import schedule_rule as rule

    return [
        rule.ApplyCustomRule(),
        rule.InlineConstantScalars(),
        rule.AutoInline(
            into_producer=False,
            into_consumer=True,
            inline_const_tensor=True,
            disallow_if_then_else=True,
            require_injective=True,
            require_ordered=True,
        ),
        rule.MultiLevelTiling(
            structure="SSRSRS",
            max_innermost_factor=64,
            reuse_write=rule.ReuseType(req="may", levels=[1, 2], scope="global"),
        ),
        rule.ParallelizeVectorizeUnroll(
            max_jobs_per_core=16, max_vectorize_extent=64, unroll_max_steps=[0, 16, 64], unroll_explicit=True
        ),
        rule.RandomComputeLocation(),
    ]


def _here() -> tuple[Any, Any]:
    """A builder and a runner for MetaSchedule that work in this process."""
    import tvm
    from tvm.ir.utils import derived_object
    from tvm.s_tir.meta_schedule.builder import BuilderResult, PyBuilder
    from tvm.s_tir.meta_schedule.runner import PyRunner, PyRunnerFuture, RunnerResult
    from tvm.s_tir.transform import RemoveWeightLayoutRewriteBlock

    plain = RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)

    built: dict[str, Any] = {}

    @derived_object
    class Builds(PyBuilder):  # type: ignore[misc]
        def build(self, build_inputs: Any) -> Any:
            return [self._one(item) for item in build_inputs]

        def _one(self, item: Any) -> Any:
            name = f"{len(built)}"
            try:
                built[name] = tvm.driver.build(plain(item.mod), target=item.target)
            except Exception as error:  # a schedule that cannot be compiled is one more bad candidate
                return BuilderResult(None, str(error))
            return BuilderResult(name, None)

    @derived_object
    class Known(PyRunnerFuture):  # type: ignore[misc]
        def __init__(self, result: Any) -> None:
            super().__init__()
            self.found = result

        def done(self) -> bool:
            return True

        def result(self) -> Any:
            return self.found

    @derived_object
    class Runs(PyRunner):  # type: ignore[misc]
        def run(self, runner_inputs: Any) -> Any:
            return [Known(self._one(item)) for item in runner_inputs]

        def _one(self, item: Any) -> Any:
            module, built[str(item.artifact_path)] = built[str(item.artifact_path)], None
            try:
                return RunnerResult(_seconds(module, item.args_info), None)
            except Exception as error:
                return RunnerResult(None, str(error))

    def _seconds(module: Any, infos: Any) -> list[float]:
        rng = np.random.default_rng(0)
        arrays = []
        for info in infos:
            _, dtype, shape = info.as_json()
            values = rng.random([int(n) for n in shape]) * (255 if "int" in str(dtype) else 1)
            arrays.append(tvm.runtime.tensor(values.astype(str(dtype))))
        once = module.time_evaluator("main", tvm.cpu(), number=1)(*arrays).mean
        if once > _TOO_SLOW_S:
            return [once]
        number = max(1, int(0.02 / max(once, 1e-6)))
        return [float(s) for s in module.time_evaluator("main", tvm.cpu(), number=number, repeat=3)(*arrays).results]

    return Builds(), Runs()


def _work(task: Any) -> float:
    from tvm.s_tir.analysis import estimate_tir_flops

    return float(estimate_tir_flops(task.dispatched[0])) * int(task.weight)
