"""An Audit → one HTML page that needs nothing else: styles and plots inside, no script."""

from fitbot.audit.kinds import KINDS
from fitbot.audit.plots import plot_leaks, plot_lengths, plot_rules
from fitbot.audit.report import Audit
from fitbot.report.page import render


def html_page(audit: Audit) -> str:
    """Write the whole page."""
    train, *val = [file.path for file in audit.files]
    return render(
        "audit/page.html.j2",
        audit=audit,
        train=train,
        against=f" against {', '.join(val)}" if val else "",
        kinds=KINDS,
        shortcuts=[(report, plot_rules(report.rules)) for report in audit.shortcuts],
        leaks=[(report, plot_leaks(report)) for report in audit.leaks],
        files=[(file, plot_lengths(file.tokens)) for file in audit.files],
    )
