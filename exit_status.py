"""The exit statuses of shared contract.md."""

COMPLETE, INCOMPLETE, COULD_NOT_RUN = 0, 1, 2
SIGNAL_BASE, INTERRUPTED = 128, 130
