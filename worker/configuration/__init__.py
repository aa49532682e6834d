"""What the platform configures: integrations, how they are called, how answers are mapped, and rates."""
