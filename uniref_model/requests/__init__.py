"""What people and programs ask of the trackers in messages (words, commands, masks), carried out; whoever
brings the messages: the node, or a bag that is replayed."""
