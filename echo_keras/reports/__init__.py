"""What to know of a trained model before it is published: `audit` and `report`."""

from .audit import CHECKS, audit
from .finding import Audit, Finding

__all__ = ["CHECKS", "Audit", "Finding", "audit"]
