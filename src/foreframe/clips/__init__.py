"""A clip: frames that know their times, units and place; its scaling, and how it is read."""
