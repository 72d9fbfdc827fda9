"""The desk of whoever tries something: the page, the faults to order, what is recorded for tests."""
