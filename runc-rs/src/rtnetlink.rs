//! Network interfaces by rtnetlink(7), as far as moving one takes: look it up, read its addresses, move it, set them again.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

use crate::error::{Error, Result};

// Message types (include/uapi/linux/netlink.h, rtnetlink.h).
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;

const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;

const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;
const IFF_UP: u32 = 1;

const IFA_LABEL: u16 = 3;
const IFA_CACHEINFO: u16 = 6;
const IFA_FLAGS: u16 = 8;
const IFA_F_PERMANENT: u8 = 0x80;
const RT_SCOPE_UNIVERSE: u8 = 0;

const HEADER: usize = 16;
const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;
const BUFFER: usize = 64 << 10;

/// A socket to the kernel's table of interfaces, in the network namespace it was opened in.
#[derive(Debug)]
pub struct Rtnetlink {
    socket: OwnedFd,
    sequence: u32,
}

/// An address of an interface, as the kernel tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    family: u8,
    prefix: u8,
    scope: u8,
    attributes: Vec<(u16, Vec<u8>)>,
}

/// One message of an answer.
struct Reply {
    kind: u16,
    body: Vec<u8>,
}

impl Rtnetlink {
    /// Opens the table of this process's network namespace.
    pub fn open() -> Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        // No protocol is NETLINK_ROUTE, number 0.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)
            .map_err(|e| Error::call("socket AF_NETLINK", e))?;
        Ok(Rtnetlink { socket, sequence: 0 })
    }

    /// The index of an interface.
    pub fn index(&mut self, name: &str) -> Result<u32> {
        let mut body = link_header(0, 0, 0);
        attribute(&mut body, IFLA_IFNAME, &c_text(name));
        let failed = |e| Error::call(format_args!("network device {name}"), e);
        let replies = self.ask(RTM_GETLINK, NLM_F_ACK, &body).map_err(failed)?;
        let found = replies.iter().find(|r| r.kind == RTM_NEWLINK).and_then(|r| word(&r.body, 4));
        found.ok_or_else(|| Error::new(format!("network device {name}: the kernel gave no answer")))
    }

    /// Its global addresses that were set by hand: others come by themselves.
    pub fn addresses(&mut self, index: u32) -> Result<Vec<Address>> {
        let replies = self
            .ask(RTM_GETADDR, NLM_F_DUMP, &[0; ADDRESS_HEADER])
            .map_err(|e| Error::call("read addresses of network devices", e))?;
        let of_it = |r: &&Reply| r.kind == RTM_NEWADDR && word(&r.body, 4) == Some(index);
        Ok(replies.iter().filter(of_it).filter_map(|r| address(&r.body)).collect())
    }

    /// Sets it down and moves it into a network namespace, under a name.
    pub fn move_to(&mut self, index: u32, namespace: BorrowedFd<'_>, name: &str) -> Result<()> {
        let mut body = link_header(index, 0, IFF_UP);
        attribute(&mut body, IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes());
        attribute(&mut body, IFLA_IFNAME, &c_text(name));
        self.ask(RTM_NEWLINK, NLM_F_ACK, &body)
            .map(drop)
            .map_err(|e| Error::call(format_args!("move network device to the container as {name}"), e))
    }

    /// Gives it an address.
    pub fn add_address(&mut self, index: u32, address: &Address) -> Result<()> {
        let mut body = vec![address.family, address.prefix, 0, address.scope];
        body.extend(index.to_ne_bytes());
        for (kind, value) in &address.attributes {
            attribute(&mut body, *kind, value);
        }
        self.ask(RTM_NEWADDR, NLM_F_ACK | 0x600, &body)
            .map(drop)
            .map_err(|e| Error::call("set an address of a network device", e))
    }

    /// Sets it up.
    pub fn set_up(&mut self, index: u32) -> Result<()> {
        self.ask(RTM_NEWLINK, NLM_F_ACK, &link_header(index, IFF_UP, IFF_UP))
            .map(drop)
            .map_err(|e| Error::call("set a network device up", e))
    }

    /// One request and all of its answer.
    fn ask(&mut self, kind: u16, flags: u16, body: &[u8]) -> std::result::Result<Vec<Reply>, Errno> {
        self.sequence += 1;
        let length = (HEADER + body.len()) as u32;
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend((flags | NLM_F_REQUEST).to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend([0; 4]);
        message.extend(body);
        sendto(&self.socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        let mut replies = Vec::new();
        let mut buffer = vec![0; BUFFER];
        loop {
            let (_, size) = recv(&self.socket, buffer.as_mut_slice(), RecvFlags::empty())?;
            if take(buffer.get(..size).unwrap_or_default(), self.sequence, &mut replies)? {
                return Ok(replies);
            }
        }
    }
}

/// Takes the messages of a packet; whether the answer is whole.
fn take(packet: &[u8], sequence: u32, replies: &mut Vec<Reply>) -> std::result::Result<bool, Errno> {
    let mut rest = packet;
    while let (Some(length), Some(kind)) = (word(rest, 0), half(rest, 4)) {
        let length = length as usize;
        let Some(body) = rest.get(HEADER..length) else { return Err(Errno::BADMSG) };
        if word(rest, 8) == Some(sequence) {
            match kind {
                NLMSG_DONE => return Ok(true),
                NLMSG_ERROR => {
                    let number = word(body, 0).unwrap_or_default().cast_signed();
                    return if number == 0 { Ok(true) } else { Err(Errno::from_raw_os_error(-number)) };
                }
                kind => replies.push(Reply { kind, body: body.to_vec() }),
            }
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// struct ifinfomsg.
fn link_header(index: u32, flags: u32, change: u32) -> Vec<u8> {
    let mut body = vec![0; LINK_HEADER - 12];
    body.extend(index.to_ne_bytes());
    body.extend(flags.to_ne_bytes());
    body.extend(change.to_ne_bytes());
    body
}

fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.resize(body.len().next_multiple_of(4), 0);
    body.extend((4 + value.len() as u16).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

fn c_text(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

/// The address in a struct ifaddrmsg with its attributes, if it is one to keep. A label holds the old name, and how long
/// the address has been there is of no account.
fn address(body: &[u8]) -> Option<Address> {
    let (&family, &prefix, &flags, &scope) = (body.first()?, body.get(1)?, body.get(2)?, body.get(3)?);
    if flags & IFA_F_PERMANENT == 0 || scope != RT_SCOPE_UNIVERSE {
        return None;
    }
    let dropped = [IFA_LABEL, IFA_CACHEINFO, IFA_FLAGS];
    let attributes = attributes(body.get(ADDRESS_HEADER..)?);
    let attributes = attributes.into_iter().filter(|(kind, _)| !dropped.contains(kind)).collect();
    Some(Address { family, prefix, scope, attributes })
}

fn attributes(mut rest: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut all = Vec::new();
    while let (Some(length), Some(kind)) = (half(rest, 0), half(rest, 2)) {
        let Some(value) = rest.get(4..usize::from(length)) else { break };
        all.push((kind, value.to_vec()));
        rest = rest.get(usize::from(length).next_multiple_of(4)..).unwrap_or_default();
    }
    all
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_known_and_another_is_named() {
        let mut table = Rtnetlink::open().unwrap();
        let index = table.index("lo").unwrap();
        assert!(index > 0);
        // 127.0.0.1 is of the host's scope.
        assert_eq!(table.addresses(index).unwrap(), []);
        let e = table.index("nosuch0").unwrap_err().to_string();
        assert_eq!(e, "network device nosuch0: no such device");
    }

    #[test]
    fn attributes_come_back() {
        let mut body = vec![2, 24, IFA_F_PERMANENT, 0, 7, 0, 0, 0];
        attribute(&mut body, 1, &[10, 0, 0, 1]);
        attribute(&mut body, IFA_LABEL, b"eth0\0");
        let found = address(&body).unwrap();
        assert_eq!((found.family, found.prefix), (2, 24));
        assert_eq!(found.attributes, [(1, vec![10, 0, 0, 1])]);
        assert_eq!(word(&body, 4), Some(7));
    }

    proptest::proptest! {
        #[test]
        fn odd_packets_do_no_harm(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = take(&bytes, 1, &mut Vec::new());
            let _ = address(&bytes);
        }
    }
}
