"""From the paths that MindFormers' users have to an open `skywork_rt.Generator`."""
