"""The fault test: a state machine drives the sandbox, the database and the program.

- world.py: made-up numbers that say themselves whose they are; properties that move
- heard.py: the sandbox with a witness: what each source said of each cell, whom it refused and when
- wire.py, stores.py: the database over psycopg and over REST, and everything that can befall it
- program.py, children.py: the one place that calls the program: here, or as a child to be killed
- plans.py: what a night may meet: hypothesis strategies of faults, changes, arguments, settings
- evidence.py: what a run was asked for, and what it left behind
- invariants.py, together.py, recovery.py: what must hold after a run, after two at once, in the end
- stage.py: clocks, sites, arming and disarming: all of that for one sequence
- machine.py, run.py: the rules, and how many sequences
- imports.py, import_invariants.py, visits_said.py, visit_changes.py: the visit log's share of that
- counts.py, count_invariants.py: the hourly rollup's: events are written, and counted
- socials.py, social_invariants.py, social_said.py, social_changes.py: the social platforms' share

The visit log has sites of its own in the same Matomo, and tables of its own in the same database;
imports, counts, collections and nightly runs take turns in a sequence. Over REST an import or a
count is told that it cannot run. The rollup goes by the database's clock, which no sequence
changes. The platforms have two connections each, stored when a sequence first collects.

A job that is added later joins like this:

1. `Heard` notes what its API says, keyed by what its table stores (a `hear_...` beside the others).
2. `program.py` gets a function that runs it; `evidence.py` reads its table.
3. `invariants.py` gets its sentences; those of secrets, refusals, rates and the run history hold as
   they are, since they only look at a `Trace`.
4. `machine.py` gets one rule that draws a plan, arms, runs, disarms and checks, as `a_night` does.

New kinds of faults in `sandbox.faults.KINDS` take part by themselves: `plans.py` deals from it.
"""
