"""`make demo`: a carrier, a phone, an application server and a control plane around a real Postern."""
