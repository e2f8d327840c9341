"""Trains the network of `FaceScanner` on drawn scenes of real faces, of which CenterFace gave the boxes."""
