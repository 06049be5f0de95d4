"""Random answers for every parser: no exception but the named kinds."""
