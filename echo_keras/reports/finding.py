"""What an audit returns: findings, and what it did not find or could not look for."""

import dataclasses
import textwrap
from collections.abc import Iterator
from typing import Any

SEVERITIES = ("error", "warning", "note")


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that an audit found.

    Attributes:
        name: What was found, the same text in every release: "posterior_collapse".
        severity: "error" where numbers of the model mean something else than they say;
            "warning" where something is probably not wanted; "note" for what has to be
            known to read them.
        evidence: A sentence with the numbers.
        remedy: A sentence that says what to do.
        numbers: The numbers of the evidence by name, as JSON holds them.

    Example:

    >>> print(Finding("example", "note", "z1 is 0 nats.", "Leave it out.", {"z1": 0.0}))
    note: example
        z1 is 0 nats.
        Leave it out.
    """

    name: str
    severity: str
    evidence: str
    remedy: str
    numbers: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        lines = [
            textwrap.fill(text, 80, initial_indent=" " * 4, subsequent_indent=" " * 4)
            for text in (self.evidence, self.remedy)
        ]
        return "\n".join([f"{self.severity}: {self.name}", *lines])


@dataclasses.dataclass(frozen=True)
class Audit:
    """The findings of an audit; `print` shows them.

    It iterates over its findings, the most severe first, has their number as its
    length, and `"posterior_collapse" in audit` and `audit["posterior_collapse"]` go by
    name.

    Attributes:
        findings: Each `Finding`.
        clean: Names of what was looked for and not found.
        skipped: From the name of what could not be looked for to the reason.

    Example:

    >>> audit = Audit((), ("posterior_collapse",), {})
    >>> len(audit), "posterior_collapse" in audit
    (0, False)
    >>> print(audit)
    Nothing found. Looked for: posterior_collapse.
    """

    findings: tuple[Finding, ...]
    clean: tuple[str, ...]
    skipped: dict[str, str]

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    def __contains__(self, name: object) -> bool:
        return any(finding.name == name for finding in self.findings)

    def __getitem__(self, name: str) -> Finding:
        for finding in self.findings:
            if finding.name == name:
                return finding
        raise KeyError(name)

    def __str__(self) -> str:
        lines = [str(finding) for finding in self.findings] or ["Nothing found."]
        looked = f"Looked for: {', '.join(self.clean)}." if self.clean else ""
        if not self.findings and looked:
            lines = [f"{lines[0]} {looked}"]
        elif looked:
            lines.append(f"Not found: {', '.join(self.clean)}.")
        lines += [
            f"Not looked for: {name}: {why}" for name, why in self.skipped.items()
        ]
        return "\n".join(lines)
