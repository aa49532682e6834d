"""What one worker process is made of: the engine that runs jobs, and the threads that keep it honest."""
