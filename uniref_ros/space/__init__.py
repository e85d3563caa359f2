"""Where objects are: depth and camera infos in, surfaces, markers, points and transforms out."""
