//! What crosses to the control plane: subjects, CloudEvents, commands.
