"""The analyses that ship with the workbench, one file each; a new file here is a new analysis everywhere."""
