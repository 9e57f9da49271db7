"""HTTP and OpenAI's wire formats over the engine, and nothing else."""
