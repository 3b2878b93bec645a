"""How the agent runs over Kafka: all stages in one process (`whole_input`), or apart (`stages`)."""
