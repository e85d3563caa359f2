"""Follow-me in a small simulation: a rendered room, a differential robot, the real nodes."""
