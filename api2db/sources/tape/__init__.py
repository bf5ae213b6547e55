"""What a source was asked and answered, on tape, and played back instead of asking again."""
