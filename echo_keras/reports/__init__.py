"""What to know of a trained model before it is published: `audit` and `report`."""

from .audit import CHECKS, audit
from .finding import Audit, Finding
from .hub import push_to_hub, write_for_hub
from .report import report

__all__ = [
    "CHECKS",
    "Audit",
    "Finding",
    "audit",
    "push_to_hub",
    "report",
    "write_for_hub",
]
