"""The commands of `lvd`, one file per group: each a thin shell over a public function of the same name."""
