//! Frames: of the attach socket, of ttrpc.

use proto_shim::Message;
use proto_shim::{events_ttrpc, task};

use crate::input::{block_on, folder};

/// What a shim sends to the daemon.
pub fn attach_daemon(bytes: &[u8]) {
    block_on(flows::doors::attach_frames(bytes));
}

/// What a client sends to the shim.
pub fn attach_shim(bytes: &[u8]) {
    let folder = folder();
    block_on(containerd_shim_runtimed_v2::doors::attach_frames(bytes, &folder.path().join("attach")));
}

/// ttrpc's frames as they come, with the requests in them.
pub fn ttrpc(bytes: &[u8]) {
    block_on(async {
        let mut rest = bytes;
        while let Ok(message) = ::ttrpc::proto::GenMessage::read_from(&mut rest).await {
            assert!(message.payload.len() <= bytes.len());
            if let Ok(request) = ::ttrpc::proto::Request::parse_from_bytes(&message.payload) {
                requests(&request.payload);
            }
        }
    });
}

/// The requests of the shim's services, and the event that a shim forwards.
pub fn task_request(bytes: &[u8]) {
    requests(bytes);
}

/// What is understood is written, and understood again.
fn requests(bytes: &[u8]) {
    fn one<M: Message + PartialEq>(bytes: &[u8]) {
        if let Ok(message) = M::parse_from_bytes(bytes) {
            let again = message.write_to_bytes().expect("a message is written");
            assert!(M::parse_from_bytes(&again).is_ok());
        }
    }
    one::<task::v3::CreateTaskRequest>(bytes);
    one::<task::v3::ExecProcessRequest>(bytes);
    one::<task::v3::UpdateTaskRequest>(bytes);
    one::<task::v3::StateResponse>(bytes);
    one::<task::v3::PidsResponse>(bytes);
    one::<events_ttrpc::ForwardRequest>(bytes);
}
