"""The core of Candor: CLIP with tunable prompts (`candor.clip`), and calibration (`candor.calibration`)."""
