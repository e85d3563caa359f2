"""UniRef without ROS: the network, its runtimes, and a tracker that follows words, masks and clicks through
video."""

__version__ = "0.1.0"
