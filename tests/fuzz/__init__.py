"""Fuzz targets, a file for each part of the package: valid, borderline and hostile input for every public function."""
