"""Teachers: whoever can say how far things are in a picture. One small protocol, `Teacher`, whatever is behind it."""

from __future__ import annotations

from leadline.distill.teachers.ensemble import LEAST, Stated, averaged, fused, together
from leadline.distill.teachers.open import asked, open_teacher
from leadline.distill.teachers.teacher import Answer, Teacher

__all__ = ["LEAST", "Answer", "Stated", "Teacher", "asked", "averaged", "fused", "open_teacher", "together"]
