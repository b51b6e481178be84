"""The scrubber: reads all committed bytes again and again, marks what is damaged, and moves to good bytes."""
