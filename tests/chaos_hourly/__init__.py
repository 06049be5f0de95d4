"""The hourly rollup under everything at once, compared with the events at every moment.

    python -m tests.chaos_hourly --seconds 600 --seed 1234 --major 15

What is right is worked out here in Python, from the events that the same snapshot shows.
"""
