"""A clip: frames with their times, units and location; scaling, and reading on demand."""
