"""What a frame costs on this machine: latency by stage, memory over a long run, what each saving saves."""
