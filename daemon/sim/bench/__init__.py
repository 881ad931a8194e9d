"""`make bench`: what a relayed packet and a call cost, beside rtpengine, in one run on one machine."""
