"""From the hub, or a recording, to a judged sign-in."""
