"""The clock: which moments `beat_schedule` means, the rows by which beats agree, and what people do to it."""
