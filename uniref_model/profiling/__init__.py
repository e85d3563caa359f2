"""What a frame costs on this machine: latency by step, memory over a long run, what each saving saves."""
