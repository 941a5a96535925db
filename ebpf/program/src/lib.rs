//! Empty: the daemon's build script depends on this library so that cargo rebuilds the programs beside it.
#![no_std]
