"""Teachers: nets, files and ensembles that predict the depth of a picture, behind one small protocol, `Teacher`."""

from __future__ import annotations

from leadline.distill.teachers.ensemble import LEAST, Stated, ensemble, to_metric, with_test_time_augmentation
from leadline.distill.teachers.open import build_teacher, open_teacher
from leadline.distill.teachers.teacher import Answer, Teacher

__all__ = [
    "LEAST",
    "Answer",
    "Stated",
    "Teacher",
    "build_teacher",
    "ensemble",
    "open_teacher",
    "to_metric",
    "with_test_time_augmentation",
]
