"""The training loop and what it needs: phases, state, processes, logs."""
