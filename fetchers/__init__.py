"""One file per remote API: credentials, targets and days in, values and failures out."""
