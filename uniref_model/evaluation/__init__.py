"""Scoring: metrics, dataset readers, evaluation protocols. Imports neither ROS nor, until it is asked for,
torch."""
