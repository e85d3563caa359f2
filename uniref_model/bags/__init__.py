"""rosbag2 bags in and out without ROS, by the library rosbags: `source.BagSource` reads images,
`writer.BagWriter` writes what was seen."""
