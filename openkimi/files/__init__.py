"""Files as texts: Markdown of what people upload, made in a process that can do no harm."""
