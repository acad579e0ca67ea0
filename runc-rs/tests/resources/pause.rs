//! `pause` and `resume`.

use crate::bundle::Bundle;

#[test]
fn a_paused_container_says_so_until_it_is_resumed() {
    let Some(b) = Bundle::new(&["sleep", "100"]) else { return };
    b.run_detached();
    assert!(b.fails(&["resume", &b.id]).contains("container not paused"));
    b.ok(&["pause", &b.id]);
    assert_eq!(b.status(), "paused");
    assert!(b.fails(&["pause", &b.id]).contains("container not running"));
    b.ok(&["resume", &b.id]);
    assert_eq!(b.status(), "running");
}

#[test]
fn a_paused_container_can_be_deleted() {
    let Some(b) = Bundle::new(&["sleep", "100"]) else { return };
    b.run_detached();
    b.ok(&["pause", &b.id]);
    b.ok(&["delete", "--force", &b.id]);
    assert!(b.fails(&["state", &b.id]).contains("container does not exist"));
}
