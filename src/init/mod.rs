//! init: PID 1. Signals, reaping, starting and stopping processes; nothing else.
