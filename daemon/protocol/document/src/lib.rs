//! Instruction documents: XML to a checked program.
