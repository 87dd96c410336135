"""What serves language models: requests and answers in OpenAI's form, and the engine."""
