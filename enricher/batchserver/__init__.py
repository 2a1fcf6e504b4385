"""An OpenAI-compatible batch server of our own: the embedded default, batch mode for any model, and the test bench."""
