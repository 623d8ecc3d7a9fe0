"""Did the generator copy its training images?"""
