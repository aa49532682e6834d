"""Rating: a quote's premium is right to the cent, explained step by step, and up to date with what is filed."""
