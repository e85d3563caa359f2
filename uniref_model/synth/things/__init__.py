"""Things that can be shown from any side: drawn, rendered or cut out, with their names and colours."""
