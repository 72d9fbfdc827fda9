"""From rows to surveys at 8x8, and back from its logs."""
