"""The tracker node as a process, with a synthetic camera and a listener over real DDS."""
