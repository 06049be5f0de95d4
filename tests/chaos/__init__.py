"""`make chaos`: thousands of sequences of the fault test, then random answers for the parsers."""
