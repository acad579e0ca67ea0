//! Programs that are started before it is known what for.
//!
//! Starting a program takes the kernel, the linker and the C library longer than many a program then takes for its work. Who will soon need
//! one starts it beforehand, to stand by; and tells it later, in one packet, what a command line would have told: arguments, changes of
//! the environment, the working folder and descriptors. From then on it is the process that it would have been, to whoever looks at
//! /proc, too.
//!
//! ```ignore
//! // who starts it
//! let standby = Standby::prepare(&mut command, whom, ROOM)?;
//! let child = command.spawn()?;
//! standby.go_ahead()?;                                  // its limits are set: it may start others
//! standby.call(&Call::of(&later, folder, descriptors))?;
//! // the program, before it does anything else
//! let words = match Waiting::new()? {
//!     None => std::env::args_os().skip(1).collect(),
//!     Some(waiting) => waiting.call()?,                 // `None`: nobody will ever call
//! };
//! ```
//!
//! It ends when who started it has ended, or has let go of it. Both ends are one release of this project, or the program refuses to stand by:
//! the packet is no interface.

mod called;
mod caller;
mod packet;

pub use called::{Waiting, stands_by};
pub use caller::{Call, Refused, Standby};

/// The first argument of a program that stands by.
pub const WORD: &str = "--stand-by";

/// What the words about whom begin with where an executor waits to delete a container: it prepares for nothing else.
pub const TO_DELETE: &str = "delete ";

/// The word that the second argument begins with: programs may be replaced on disk while who starts them runs.
const RELEASE: &str = env!("CARGO_PKG_VERSION");
/// The most bytes of a packet. A command line that is longer goes the usual way.
const LONGEST: usize = 32 << 10;
/// The most descriptors of a packet.
const DESCRIPTORS: usize = 8;
/// Says that the program may start others.
const GO_AHEAD: &[u8] = b"+";
