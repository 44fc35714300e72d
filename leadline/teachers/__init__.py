"""Teachers: whoever can say how far things are in a picture. One small protocol, `Teacher`, whatever is behind it."""

from __future__ import annotations

from leadline.teachers.joined import LEAST, Stated, averaged, fused, together
from leadline.teachers.opening import asked, open_teacher
from leadline.teachers.teacher import Answer, Teacher

__all__ = ["LEAST", "Answer", "Stated", "Teacher", "asked", "averaged", "fused", "open_teacher", "together"]
