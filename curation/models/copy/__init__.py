"""SSCD, a copy descriptor; and edits, frames and look-alikes that judges of copies are fitted and tried on."""
