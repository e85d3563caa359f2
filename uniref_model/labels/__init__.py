"""Results as labels: frames worth keeping (`choice`), doubtful ones (`review`), kept as a part (`part`);
parts as data sets in the layouts of COCO, YOLO and DAVIS."""
