"""What the jobs are made of. aggregator.py tells the nightly run; the other jobs are files here."""
