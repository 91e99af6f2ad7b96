"""Foreign tongues: protocols that other people's clients speak, over the same store."""
