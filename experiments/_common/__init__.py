"""What the experiments share: flags, devices, folders of runs, checkpoints and figures."""
